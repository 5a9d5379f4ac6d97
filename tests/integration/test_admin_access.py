"""Who may use the operations of operators, and on whom. Every operation under /admin is tried."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest

from handstamp.domain.grant import Grant
from handstamp.domain.session import FRESH_MS
from handstamp.domain.totp import Totp
from handstamp.errors import TooManyAttempts
from handstamp.web.operation import Operation
from handstamp.web.routing import OPERATIONS
from tests.administering import Service, bearer, serving
from tests.builders import SECOND_MS
from tests.deployment import ISSUER
from tests.integration.helpers import expect_problem
from tests.serving import cookie_name

pytestmark = pytest.mark.anyio
OPERATORS = [operation for operation in OPERATIONS if operation.path.startswith("/admin")]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run the service."""
    async with serving(tmp_path) as running:
        yield running


async def ask(
    service: Service, operation: Operation, headers: dict[str, str] | None = None, auth: httpx.BasicAuth | None = None
) -> httpx.Response:
    """Send a bare request about an account that does not exist."""
    path = operation.path.replace("{id}", "nobodys")
    return await service.client.request(operation.method, path, headers=headers, auth=auth)


async def expect_refused(service: Service, status: int, code: str, headers: dict[str, str], auth: httpx.BasicAuth | None) -> None:
    """Assert that each operation refuses these headers."""
    for operation in OPERATORS:
        problem = expect_problem(await ask(service, operation, headers, auth), status, code)
        assert "nobodys" not in problem["detail"], operation.path


def test_an_operation_is_for_operators_only_by_its_path() -> None:
    """Neither can one under /admin be declared for others, nor can one elsewhere be for operators."""
    assert len(OPERATORS) > 10
    for path, credential in (("/admin/x", "access"), ("/admin", None), ("/administer", None), ("/x", "operator")):
        with pytest.raises(ValueError, match="operators"):
            msgspec.structs.replace(OPERATORS[0], path=path, credential=credential)
    assert {operation.own_pages_only for operation in OPERATORS} == {True}


@pytest.mark.parametrize(
    ("who", "status", "code"),
    [
        ("nobody", 401, "missing_token"),
        ("a wrong credential", 401, "invalid_client"),
        ("a credential for reading", 403, "insufficient_scope"),
        ("an ordinary account", 403, "insufficient_scope"),
        ("a role of the token alone", 403, "insufficient_scope"),
        ("without a second factor", 401, "insufficient_user_authentication"),
        ("long ago", 401, "insufficient_user_authentication"),
        ("disabled", 401, "session_ended"),
    ],
)
async def test_who_is_refused_at_every_operation(service: Service, who: str, status: int, code: str) -> None:
    """A stranger, a credential or an account that may not: each gets the same answer at each operation, before anything else."""
    headers, auth = {}, None
    person = await service.account("ada@example.com", *(() if "account" in who or "token" in who else ("admin",)))
    match who:
        case "a wrong credential":
            auth = httpx.BasicAuth("nobodys", "secret")
        case "a credential for reading":
            auth = await service.credential("read")
        case "nobody":
            pass
        case "without a second factor":
            headers = bearer(await service.sign_in(person, acr="pwd"))
        case "a role of the token alone":
            headers = bearer(await service.sign_in(person, granted=Grant(roles=("admin",))))
        case _:
            headers = bearer(await service.sign_in(person))
    if who == "long ago":
        service.clock.advance(seconds=FRESH_MS // SECOND_MS)
    if who == "disabled":
        await service.running.accounts.disable(person.email, service.caller)
    await expect_refused(service, status, code, headers, auth)


async def test_the_refusal_says_what_would_be_enough(service: Service) -> None:
    """A client reads what to prove from the challenge (RFC 9470 §3)."""
    person = await service.account("ada@example.com", "admin")
    answer = await ask(service, OPERATORS[0], bearer(await service.sign_in(person, acr="pwd")))
    challenge = answer.headers["www-authenticate"]
    assert 'error="insufficient_user_authentication"' in challenge
    assert f'max_age="{FRESH_MS // SECOND_MS}"' in challenge
    assert 'acr_values="mfa"' in challenge


@pytest.mark.parametrize("acr", ["mfa", "phr"])
async def test_an_administrator_is_admitted(service: Service, acr: str) -> None:
    """With a second factor or a passkey, until ten minutes have passed; and with a credential for it."""
    person = await service.account("ada@example.com", "admin")
    headers = bearer(await service.sign_in(person, acr=acr))
    service.clock.advance(seconds=FRESH_MS // SECOND_MS - 1)
    assert (await ask(service, OPERATORS[0], headers)).status_code == 200
    assert (await ask(service, OPERATORS[0], auth=await service.credential("admin"))).status_code == 200


async def test_a_role_that_is_taken_away_counts_at_once(service: Service) -> None:
    """The account is asked, and not the token, which still has the role."""
    person = await service.account("ada@example.com", "admin")
    headers = bearer(await service.sign_in(person))
    await service.running.accounts.revoke_role(person.email, "admin", service.caller)
    expect_problem(await ask(service, OPERATORS[0], headers), 403, "insufficient_scope")


async def test_the_role_has_another_name_or_none(tmp_path: Path) -> None:
    """Where applications use the role `admin` for themselves, it gives no power here."""
    for role, admitted in (("operator", ["operator"]), ("off", [])):
        (tmp_path / role).mkdir()
        async with serving(tmp_path / role, admin_role=role) as service:
            for each in ("admin", "operator", "off"):
                person = await service.account(f"{each}@example.com", each)
                status = (await ask(service, OPERATORS[0], bearer(await service.sign_in(person)))).status_code
                assert status == (200 if each in admitted else 403), (role, each)


async def test_other_sites_cannot_use_the_cookie_of_an_administrator(tmp_path: Path) -> None:
    """Neither a foreign page nor one of a trusted origin, nor a request that does not say where it comes from."""
    async with serving(tmp_path, trusted_origins="https://app.example.com") as service:
        person = await service.account("ada@example.com", "admin")
        pair = await service.sign_in(person, delivery="cookie")
        cookie = {"cookie": f"{cookie_name('access', ISSUER)}={pair.access_token}"}
        for operation in OPERATORS:
            for origin in ({}, {"origin": "https://app.example.com"}, {"origin": "https://evil.example"}, {"origin": "null"}):
                expect_problem(await ask(service, operation, cookie | origin), 403, "cross_site")
            site = {"origin": ISSUER, "sec-fetch-site": "same-site"}
            expect_problem(await ask(service, operation, cookie | site), 403, "cross_site")
        own = cookie | {"origin": ISSUER, "sec-fetch-site": "same-origin"}
        answer = await service.client.post("/admin/accounts/nobodys/disable", headers=own)
        expect_problem(answer, 404, "not_found")
        assert (await service.client.get("/admin/accounts", headers=own)).status_code == 200


async def test_a_credential_that_is_removed_is_refused_at_once(service: Service) -> None:
    """And one for administration reads no revocations and introspects nothing: each scope is for itself."""
    auth = await service.credential("admin")
    for method, path in (("GET", "/revocations"), ("GET", "/metrics")):
        expect_problem(await service.client.request(method, path, auth=auth), 403, "insufficient_scope")
    refused = await service.client.post("/introspect", auth=auth, data={"token": "x"})
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    both = await service.credential("read", "admin")
    assert (await service.client.post("/introspect", auth=both, data={"token": "x"})).status_code == 200
    assert (await ask(service, OPERATORS[0], auth=both)).status_code == 200
    for credential in await service.running.credentials.list_all():
        await service.running.credentials.remove(credential.id, service.caller)
    expect_problem(await ask(service, OPERATORS[0], auth=both), 401, "invalid_client")


async def test_one_operator_has_a_budget(service: Service) -> None:
    """One that is used too fast waits; another one does not."""
    admin = await service.account("ada@example.com", "admin")
    pair = await service.sign_in(admin)
    session, _ = await service.running.sessions.require_living(pair.session_id, service.clock())
    use = partial(service.running.administration.admit_account, session, admin, service.caller)
    with pytest.raises(TooManyAttempts):
        deque(iter(use, None), maxlen=0)  # in one go: requests may be slower than the budget grows
    _, other = await service.administrator("other@example.com")
    assert (await ask(service, OPERATORS[0], other)).status_code == 200


# --- whom an operator may change


CHANGES: list[tuple[str, str, dict[str, object] | None]] = [
    ("PATCH", "", {"name": "Mallory"}),
    ("DELETE", "", None),
    ("POST", "/email", {"email": "mallory@example.com"}),
    ("POST", "/password", {"password": "another kelp lantern rivet of the tests"}),
    ("POST", "/grant", {"role": "editor"}),
    ("POST", "/revoke", {"role": "admin"}),
    ("POST", "/disable", None),
    ("POST", "/enable", None),
    ("POST", "/unlock", None),
    ("POST", "/reset-factors", None),
]


LOOKS = ("/impersonate", "/impersonation-link")
"""They change nothing of the account: see test_impersonation.py."""


async def test_every_body_is_read_strictly(service: Service) -> None:
    """Wrong and unknown fields are named, and what cannot be read is refused, once the sender is admitted."""
    auth = await service.credential("admin")
    bodies = [(method, f"/admin/accounts/nobodys{path}", body) for method, path, body in CHANGES if body]
    bodies.append(("POST", "/admin/accounts", {"email": "grace@example.com"}))
    bodies.append(("POST", "/admin/credentials", {"name": "orders"}))
    bodies += [("POST", f"/admin/accounts/nobodys{path}", {"reason": "Ticket 4711"}) for path in LOOKS]
    assert len(bodies) == len([each for each in OPERATORS if each.body])
    for method, path, body in bodies:
        for wrong in (body | {name: 1} for name in body):
            problem = expect_problem(await service.client.request(method, path, json=wrong, auth=auth), 422, "invalid_request")
            assert [each["name"] for each in problem["fields"]] == [name for name in body if wrong[name] == 1]
        unknown = await service.client.request(method, path, json=body | {"actor": "x"}, auth=auth)
        assert expect_problem(unknown, 422, "invalid_request")["fields"][0]["name"] == "actor"
        for content, status in ((b"{", 400), (b" " * (64 * 1024 + 1), 413)):
            json = {"content-type": "application/json"}
            answer = await service.client.request(method, path, content=content, headers=json, auth=auth)
            expect_problem(answer, status, "invalid_request")
        expect_problem(await service.client.request(method, path, data={"a": "b"}, auth=auth), 415, "invalid_request")


def test_every_change_of_an_account_is_in_the_list() -> None:
    """So that the tests below try all of them."""
    declared = {(each.method, each.path) for each in OPERATORS if each.path.startswith("/admin/accounts/{id}")}
    read_only = {("GET", path) for _, path in declared}
    assert declared - read_only == {(method, f"/admin/accounts/{{id}}{path}") for method, path, _ in CHANGES} | {
        ("POST", f"/admin/accounts/{{id}}{path}") for path in ("/sign-out", "/reset-mail", *LOOKS)
    }


EVENTS = {
    "": "profile_changed",
    "/email": "account_renamed",
    "/password": "password_changed",
    "/grant": "role_granted",
    "/revoke": "role_revoked",
    "/disable": "account_disabled",
    "/enable": "account_enabled",
    "/unlock": "account_unlocked",
}


async def test_each_action_is_recorded_with_who_did_it(service: Service) -> None:
    """By a program and by a person, and its person reads what an operator did."""
    _, headers = await service.administrator("root@example.com")
    admin = await service.running.accounts.get("root@example.com")
    auth = await service.credential("admin")
    (credential,) = await service.running.credentials.list_all()
    for name, by in ((f"account:{admin.id}", {"headers": headers}), (f"credential:{credential.id}", {"auth": auth})):
        made = await service.client.post("/admin/accounts", json={"email": "ada@example.com", "roles": ["editor"]}, **by)
        assert made.status_code == 201
        path = f"/admin/accounts/{made.json()['id']}"
        await service.client.post(f"{path}/grant", json={"role": "other"}, **by)
        expected = [("account_created", name), ("role_granted", name)]
        for part, kind in EVENTS.items():
            (method, body) = next((method, body) for method, at, body in CHANGES if at == part)
            body = {"role": "editor"} if part == "/revoke" else {"role": "writer"} if part == "/grant" else body
            answer = await service.client.request(method, f"{path}{part}", json=body, **by)
            assert answer.status_code == 204, (part, answer.text)
            expected.append((kind, name))
        assert (await service.client.delete(path, **by)).status_code == 204
        expected.append(("account_deleted", name))
        done = [event for event in await service.events() if event.operator == name]
        assert [(event.kind, event.operator) for event in done] == expected
        assert {event.actor for event in done} == {"operator"}


async def test_lost_factors_are_reset(service: Service) -> None:
    """That is recorded, and an account without any says so."""
    auth = await service.credential("admin")
    person = await service.account("ada@example.com")
    expect_problem(await service.client.post(f"/admin/accounts/{person.id}/reset-factors", auth=auth), 404, "not_found")
    app = Totp(account_id=person.id, sealed=b"x", created_at_ms=0, last_step=0, used_at_ms=0)
    await service.running.store.transact(lambda rows: rows.totp.save(app))
    assert (await service.client.post(f"/admin/accounts/{person.id}/reset-factors", auth=auth)).status_code == 204
    (event,) = [each for each in await service.events() if each.kind == "factors_reset"]
    assert (event.operator or "").startswith("credential:")


@pytest.mark.parametrize("who", ["own account", "a credential"])
async def test_administrators_are_protected(service: Service, who: str) -> None:
    """An administrator does not change the own account here, and a credential changes no administrator. Nothing changes."""
    admin, headers = await service.administrator()
    auth = await service.credential("admin") if who == "a credential" else None
    before = len(await service.events())
    for method, path, body in CHANGES:
        answer = await service.client.request(
            method, f"/admin/accounts/{admin.id}{path}", json=body, headers={} if auth else headers, auth=auth
        )
        expect_problem(answer, 403, "administrator_protected")
    assert await service.running.accounts.get(admin.id) == admin
    assert len(await service.events()) == before


async def test_a_credential_makes_no_administrator(service: Service) -> None:
    """Neither a new account nor an existing one gets the role. Who steals it does not become one."""
    auth = await service.credential("admin")
    person = await service.account("ada@example.com")
    made = {"email": "mallory@example.com", "roles": ["editor", "admin"]}
    expect_problem(await service.client.post("/admin/accounts", json=made, auth=auth), 403, "administrator_protected")
    granted = await service.client.post(f"/admin/accounts/{person.id}/grant", json={"role": "admin"}, auth=auth)
    expect_problem(granted, 403, "administrator_protected")
    assert [account.email for account in await service.running.accounts.list_page()] == ["ada@example.com"]
    assert (await service.running.accounts.get(person.id)).roles == ()


async def test_two_administrators_cannot_remove_each_other(service: Service) -> None:
    """Of two who do so at once, one wins, and stays: an administrator is left whatever happens."""
    (first, his), (second, hers) = await service.administrator("a@example.com"), await service.administrator("b@example.com")
    answers = await asyncio.gather(
        service.client.post(f"/admin/accounts/{second.id}/disable", headers=his),
        service.client.post(f"/admin/accounts/{first.id}/disable", headers=hers),
    )
    assert sorted(answer.status_code for answer in answers) in ([204, 401], [204, 403])
    left = [await service.running.accounts.get(each.id) for each in (first, second)]
    assert sum(account.disabled_at_ms is None for account in left) == 1
