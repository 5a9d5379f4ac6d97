"""Support looks at an account as its person: who may, what they can do, how it ends, and what the person learns."""

from __future__ import annotations

import asyncio
import inspect
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from handstamp.clock import now_ms
from handstamp.config.secret_file import load_master_secret
from handstamp.domain.account import Account
from handstamp.domain.history import tell_event
from handstamp.domain.impersonation import LIFETIME_MS, LINK_MS
from handstamp.domain.mail import SupportLooks
from handstamp.errors import HandstampError, Impersonated
from handstamp.service.mailing.notices import Notices
from handstamp.service.mailing.outbox import Letters
from handstamp.service.parts.devices import EarlierSignIns
from handstamp.web.operation import Operation
from handstamp.web.pages import routes
from handstamp.web.routing import OPERATIONS
from tests.administering import PASSWORD, Service, bearer, serving
from tests.deployment import ISSUER
from tests.integration.helpers import expect_ended, expect_problem
from tests.integration.test_bad_input import FIELDS
from tests.postgres import fresh_database
from tests.serving import cookie_name

pytestmark = pytest.mark.anyio
REASON = "Ticket 4711: the invoice is missing"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"
REFRESH = cookie_name("refresh", ISSUER)
MAIL: dict[str, Any] = {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "no-reply@example.com"}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run a service in which support may read."""
    async with serving(
        tmp_path, impersonation="read", smtp_url="smtp://127.0.0.1:1", mail_from="no-reply@example.com"
    ) as running:
        yield running


class Scene:
    """Grace administers, Ada needs help, and Grace looks at her account."""

    def __init__(self, service: Service, ada: Account, grace: Account, own: Any) -> None:
        """Keep who is there. `own` is Grace's own session."""
        self.service, self.ada, self.grace, self.own = service, ada, grace, own
        self.look: dict[str, Any] = {}

    @classmethod
    async def begin(cls, service: Service, **body: Any) -> Scene:
        """Let Grace look at Ada's account."""
        ada = await service.account("ada@example.com", "editor", password=PASSWORD, name="Ada")
        grace = await service.account("grace@example.com", "admin", name="Grace Hopper")
        scene = cls(service, ada, grace, await service.sign_in(grace))
        answer = await scene.ask(**body)
        assert answer.status_code == 200, answer.text
        scene.look = answer.json()
        return scene

    async def ask(self, account: Account | None = None, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        """Ask to look at an account."""
        path = f"/admin/accounts/{(account or self.ada).id}/impersonate"
        return await self.service.client.post(path, headers=headers or bearer(self.own), json={"reason": REASON} | body)

    @property
    def headers(self) -> dict[str, str]:
        """The header with the access token of the look."""
        return {"authorization": f"Bearer {self.look['accessToken']}"}

    async def profile(self) -> httpx.Response:
        """Read the person's profile."""
        return await self.service.client.get("/profile", headers=self.headers)

    async def expect_over(self, reason: str) -> None:
        """Assert that the look is over: for reading, for renewing, and in the feed for the verifiers elsewhere."""
        expect_ended(await self.profile(), reason)
        expect_ended(await self.service.client.post("/refresh", json={"refreshToken": self.look["refreshToken"]}), reason)
        found = await self.service.running.store.read(lambda rows: rows.revocations.list_since(0, limit=500))
        assert self.look["sessionId"] in {each.name for each in found}


# --- who may


async def test_who_may_not_look(tmp_path: Path) -> None:
    """It is off by default. No credential may, nobody whose proof is old, and nobody looks at an administrator."""
    for folder in ("off", "read"):
        (tmp_path / folder).mkdir()
    async with serving(tmp_path / "off") as off:
        scene = Scene(off, await off.account("ada@example.com"), *await _administrator(off))
        expect_problem(await scene.ask(), 404, "not_found")
        link = f"/admin/accounts/{scene.ada.id}/impersonation-link"
        expect_problem(await off.client.post(link, headers=bearer(scene.own), json={"reason": REASON}), 404, "not_found")
        assert (await off.client.get("/look?token=x")).status_code == 404
    async with serving(tmp_path / "read", impersonation="read") as service:
        scene = Scene(service, await service.account("ada@example.com"), *await _administrator(service))
        path = f"/admin/accounts/{scene.ada.id}/impersonate"
        by_program = await service.client.post(path, auth=await service.credential("admin"), json={"reason": REASON})
        expect_problem(by_program, 403, "person_required")
        weak = await service.sign_in(scene.grace, acr="pwd")
        expect_problem(await scene.ask(headers=bearer(weak)), 401, "insufficient_user_authentication")
        expect_problem(await scene.ask(headers=bearer(await service.sign_in(scene.ada))), 403, "insufficient_scope")
        for other in (scene.grace, await service.account("root@example.com", "admin", "editor")):
            expect_problem(await scene.ask(other), 403, "administrator_protected")
        gone = await service.account("gone@example.com")
        await service.running.accounts.disable(gone.id, service.caller)
        for missing in (gone, msgspec.structs.replace(gone, id="nobodys")):
            expect_problem(await scene.ask(missing), 404, "not_found")
        for reason in ("", "  ", "two\nlines", "x" * 201):
            expect_problem(await scene.ask(reason=reason), 422, "invalid_request")
        problem = expect_problem(await scene.ask(write=True), 422, "invalid_request")
        assert problem["fields"][0]["name"] == "write"
        assert {event.kind for event in await service.events()} & {"impersonation_begun", "mail_requested"} == set()


async def _administrator(service: Service) -> tuple[Account, Any]:
    grace = await service.account("grace@example.com", "admin")
    return grace, await service.sign_in(grace)


async def test_the_tokens_say_who_acts_and_that_they_read(service: Service) -> None:
    """The subject is the person and the actor the operator. No route takes it for a recent or a strong proof of the person."""
    scene = await Scene.begin(service)
    verifier = service.running.verifier
    with pytest.raises(Impersonated):  # what does not look at the actor is not given such a token
        verifier.verify(scene.look["accessToken"])
    claims = verifier.verify(scene.look["accessToken"], impersonation=True)
    assert (claims.sub, claims.sid, claims.scope, claims.roles) == (scene.ada.id, scene.look["sessionId"], "read", ("editor",))
    assert claims.actor is not None
    assert (claims.actor.sub, claims.actor.sid) == (scene.grace.id, scene.own.session_id)
    assert (claims.acr, claims.amr, claims.auth_time, claims.is_read_only) == (None, (), 1, True)
    assert verifier.verify(scene.own.access_token).actor is None
    form = {"token": scene.look["accessToken"]}
    active = (await service.client.post("/introspect", data=form, auth=await service.credential("read"))).json()
    assert (active["active"], active["act"], active["sub"]) == (
        True,
        {"sub": scene.grace.id, "sid": scene.own.session_id},
        scene.ada.id,
    )
    profile = (await scene.profile()).json()
    assert profile["session"]["actor"] == {"id": scene.grace.id, "reason": REASON, "write": False}
    assert profile["email"] == "ada@example.com"


async def test_a_look_whose_answer_was_lost_is_answered_again(service: Service) -> None:
    """With the same key: the current tokens of the same session, and no second mail. It is not answered once it is over."""
    ada = await service.account("ada@example.com")
    scene = Scene(service, ada, *await _administrator(service))
    headers = {**bearer(scene.own), "idempotency-key": "4711-of-the-tests-of-support"}
    first, second = [(await scene.ask(headers=headers)).json() for _ in range(2)]
    assert [first["sessionId"], first["refreshToken"]] == [second["sessionId"], second["refreshToken"]]
    mails = await service.running.store.read(lambda rows: rows.mails.list_of(ada.id, limit=9))
    assert [mail.kind for mail in mails] == ["support_looks"]
    expect_problem(await scene.ask(headers=headers, reason="Ticket 4712"), 422, "invalid_request")
    await service.running.sign_out.end_one(first["sessionId"], service.caller)
    assert (await scene.ask(headers=headers)).json()["sessionId"] != first["sessionId"]


async def test_writing_is_a_scope_where_the_setting_allows_it(tmp_path: Path) -> None:
    """It is for applications: this service itself lets an operator change nothing."""
    async with serving(tmp_path, impersonation="write") as service:
        scene = await Scene.begin(service, write=True)
        claims = service.running.verifier.verify(scene.look["accessToken"], impersonation=True)
        assert (claims.scope, claims.is_read_only) == ("read write", False)
        answer = await service.client.post("/profile", headers=scene.headers, json={"name": "Mallory"})
        expect_problem(answer, 403, "impersonated")
        assert (await scene.ask()).json()["sessionId"] != scene.look["sessionId"]


# --- what the service itself serves

SERVES = {"profile", "list_sessions"}
"""Operations that serve an operator who acts in the place of the person. They read, and nothing about credentials."""
OWN = {"logout", "refresh", "start_device_session", "refresh_device_session"}
"""Operations of the operator's own session: they renew it, bind it to its device, and end it."""
IN_SESSION = ("/totp", "/passkeys/options", "/email/verify")
"""Operations that take the session of the access token if the body names nothing else."""
BODIES: dict[str, dict[str, Any]] = {**FIELDS, **{path: {} for path in IN_SESSION}}


@pytest.mark.parametrize("writes", [False, True])
async def test_every_operation_for_the_person_refuses_support(tmp_path: Path, *, writes: bool) -> None:
    """A new operation fails here until it refuses, or is put into one of the sets above: what changes something never is."""
    async with serving(tmp_path, impersonation="write", sign_in_by_code="on", **MAIL) as service:
        scene = await Scene.begin(service, write=writes)
        before = await _snapshot(scene)
        refused = [each for each in OPERATIONS if each.credential not in (None, "client") or each.path in IN_SESSION]
        assert {each.run.__name__ for each in refused} >= SERVES | OWN
        for operation in refused:
            if operation.run.__name__ in OWN:
                continue
            answer = await _ask(scene, operation, BODIES.get(operation.path))
            if operation.run.__name__ in SERVES:
                assert (operation.method, answer.status_code) == ("GET", 200), operation.path
            else:
                expect_problem(answer, 403, "impersonated")
        for operation in (each for each in OPERATIONS if each.credential is None and each.method != "GET"):
            await _ask(scene, operation, BODIES.get(operation.path))
        assert await _snapshot(scene) == before
        assert (await scene.profile()).status_code == 200


async def _ask(scene: Scene, operation: Operation, body: dict[str, Any] | None) -> httpx.Response:
    path = operation.path.replace("{id}", "nobodys").replace("{provider}", "google")
    return await scene.service.client.request(operation.method, path, headers=scene.headers, json=body)


async def _snapshot(scene: Scene) -> tuple[Any, ...]:
    """Return all of the person's account that an operation could change."""
    running, person = scene.service.running, scene.ada.id
    sessions, _ = await running.sessions.list_all(person, scene.service.caller)
    factors = await running.accounts.list_factors(person, scene.service.caller)
    return factors, [(each.id, each.authenticated_at_ms, each.bound_key) for each in sessions]


async def test_the_use_cases_refuse_support_too(service: Service) -> None:
    """So that an edge that forgets to ask changes nothing: what changes an account reads its session in the transaction."""
    scene = await Scene.begin(service)
    session, account = await service.running.sessions.require_living(scene.look["sessionId"], service.clock())
    running, caller = service.running, service.caller
    for attempt in (
        running.change_profile(session, account, caller, name="Mallory"),
        running.delete_account(session, account, "ada@example.com", caller),
        running.export_data(session, account, caller),
        running.step_up(session, account, caller, password=PASSWORD),
        running.change_password(session, account, PASSWORD, "another kelp lantern of the tests", caller),
    ):
        with pytest.raises(HandstampError) as refused:
            await attempt
        assert refused.value.code in ("impersonated", "insufficient_user_authentication")
    with pytest.raises(Impersonated):
        running.administration.admit_account(msgspec.structs.replace(session, acr="phr"), scene.grace, caller)


# --- how it ends

End = Callable[[Scene], Awaitable[object]]


async def _revoke_role(scene: Scene) -> None:
    await scene.service.running.accounts.revoke_role(scene.grace.id, "admin", scene.service.caller)


async def _steal(scene: Scene) -> None:
    """Use an old copy of the operator's refresh token, after two renewals."""
    token = scene.own.refresh_token
    for _ in range(2):
        scene.service.clock.advance(seconds=20)
        answer = await scene.service.client.post("/refresh", json={"refreshToken": token})
        token = answer.json()["refreshToken"]
    expect_ended(await scene.service.client.post("/refresh", json={"refreshToken": scene.own.refresh_token}), "reuse")


async def _end_as_person(scene: Scene) -> None:
    own = bearer(await scene.service.sign_in(scene.ada))
    listed = (await scene.service.client.get("/sessions", headers=own)).json()["sessions"]
    (theirs,) = [each for each in listed if "actor" in each]
    assert (theirs["actor"]["reason"], theirs["ip"], theirs["userAgent"]) == (REASON, "", "")
    assert (await scene.service.client.delete(f"/sessions/{theirs['id']}", headers=own)).status_code == 204


ENDS: dict[str, tuple[End, str]] = {
    "the operator's refresh token is stolen": (_steal, "impersonation_ended"),
    "the operator signs out": (
        lambda scene: scene.service.client.post("/logout", headers=bearer(scene.own)),
        "impersonation_ended",
    ),
    "the operator signs out everywhere": (
        lambda scene: scene.service.client.post("/logout-everywhere", headers=bearer(scene.own)),
        "impersonation_ended",
    ),
    "the operator's session is ended": (
        lambda scene: scene.service.running.sign_out.end_by_operator(scene.own.session_id, scene.service.caller),
        "impersonation_ended",
    ),
    "the operator loses the role": (_revoke_role, "impersonation_ended"),
    "the operator gets another password": (
        lambda scene: scene.service.running.accounts.set_password(scene.grace.id, PASSWORD, scene.service.caller),
        "impersonation_ended",
    ),
    "the operator is disabled": (
        lambda scene: scene.service.running.accounts.disable(scene.grace.id, scene.service.caller),
        "impersonation_ended",
    ),
    "the operator is deleted": (
        lambda scene: scene.service.running.accounts.delete(scene.grace.id, scene.service.caller),
        "impersonation_ended",
    ),
    "the operator stops": (lambda scene: scene.service.client.post("/logout", headers=scene.headers), "impersonation_ended"),
    "the operator looks again": (lambda scene: scene.ask(), "impersonation_ended"),
    "the person becomes an administrator": (
        lambda scene: scene.service.running.accounts.grant_role(scene.ada.id, "admin", scene.service.caller),
        "impersonation_ended",
    ),
    "another operator ends it": (
        lambda scene: scene.service.running.sign_out.end_by_operator(scene.look["sessionId"], scene.service.caller),
        "admin",
    ),
    "the person ends it": (_end_as_person, "logout"),
    "the person signs out everywhere": (
        lambda scene: scene.service.running.sign_out.end_all(scene.ada.id, scene.service.caller),
        "logout_everywhere",
    ),
    "the person is disabled": (
        lambda scene: scene.service.running.accounts.disable(scene.ada.id, scene.service.caller),
        "disabled",
    ),
}


@pytest.mark.parametrize("how", ENDS)
async def test_it_ends_at_once_and_everywhere(service: Service, how: str) -> None:
    """For reading, for renewing and in the feed, in the same moment. The person's own sessions go on unless they end, too."""
    scene = await Scene.begin(service)
    end, reason = ENDS[how]
    await end(scene)
    await scene.expect_over(reason)


async def test_it_ends_after_half_an_hour_whatever_is_renewed(service: Service) -> None:
    """And no later than the operator's session would end by itself."""
    scene = await Scene.begin(service)
    assert scene.look["refreshExpiresIn"] == LIFETIME_MS // 1000
    for _ in range(4):
        service.clock.advance(seconds=LIFETIME_MS // 4000 - 1)
        renewed = await service.client.post("/refresh", json={"refreshToken": scene.look["refreshToken"]})
        scene.look = renewed.json()
        assert (await scene.profile()).status_code == 200
        assert service.running.verifier.verify(scene.look["accessToken"], impersonation=True).scope == "read"
    service.clock.advance(seconds=4)
    expect_ended(await scene.profile(), "expired")
    expect_ended(await service.client.post("/refresh", json={"refreshToken": scene.look["refreshToken"]}), "expired")


async def test_it_ends_with_an_operator_session_that_is_not_renewed(tmp_path: Path) -> None:
    """The operator's session may be idle sooner."""
    async with serving(tmp_path, impersonation="read", refresh_idle_lifetime="10m", access_lifetime="5m") as service:
        scene = await Scene.begin(service)
        assert scene.look["refreshExpiresIn"] == 600


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_whoever_stops_the_operator_at_the_same_time_wins(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """A look that begins while the operator signs out, loses the role or is disabled is refused, or is over."""
    settings: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        if kind == "postgres":
            url = await stack.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
            settings = {"database": url, "secret": secrets.token_urlsafe(32), "now_ms": now_ms()}
        await _race(await stack.enter_async_context(serving(tmp_path, impersonation="read", **settings)))


async def _race(service: Service) -> None:
    ada = await service.account("ada@example.com")
    stops: list[End] = [
        ENDS[how][0] for how in ENDS if how.startswith("the operator ") and "sto" not in how and "again" not in how
    ]
    stops.append(ENDS["the person becomes an administrator"][0])
    assert len(stops) == 7
    for number, stop in enumerate(stops * 2):
        person = await service.account(f"ada-{number}@example.com") if number else ada
        grace = await service.account(f"grace-{number}@example.com", "admin")
        scene = Scene(service, person, grace, await service.sign_in(grace))
        order = [scene.ask(), stop(scene)] if number % 2 else [stop(scene), scene.ask()]
        answers = await asyncio.gather(*order, return_exceptions=True)
        begun = answers[0 if number % 2 else 1]
        assert isinstance(begun, httpx.Response)
        if begun.status_code == 200:
            scene.look = begun.json()
            await scene.expect_over("impersonation_ended")
        else:
            assert begun.json()["code"] in ("session_ended", "insufficient_scope", "administrator_protected"), begun.text


async def test_a_sign_out_between_the_steps_of_a_look_wins(
    tmp_path: Path, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL runs both at once. The look has read the operator's session, which then ends; it must not outlive that."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(fresh_database(postgres_server))
        settings: dict[str, Any] = {"database": url, "secret": secrets.token_urlsafe(32), "now_ms": now_ms()}
        service = await stack.enter_async_context(serving(tmp_path, impersonation="read", **settings))
        watching = await asyncpg.connect(url)
        stack.push_async_callback(watching.close)
        scene = Scene(service, await service.account("ada@example.com"), *await _administrator(service))
        tell, signing_out = Notices.tell, list[asyncio.Task[bool]]()

        async def sign_out_first(notices: Notices, *args: Any) -> None:
            if not signing_out:
                end = service.running.sign_out.end_one(scene.own.session_id, service.caller)
                signing_out.append(asyncio.create_task(end))
                while not (signing_out[0].done() or await watching.fetchval(_IS_WAITING)):  # noqa: ASYNC110 - of the server
                    await asyncio.sleep(0.01)
            await tell(notices, *args)

        monkeypatch.setattr(Notices, "tell", sign_out_first)
        begun = await scene.ask()
        assert signing_out, begun.text
        assert await signing_out[0]
        if begun.status_code == 200:
            scene.look = begun.json()
            await scene.expect_over("impersonation_ended")
        else:
            expect_ended(begun, "logout")


_IS_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


# --- what the person learns


async def test_the_person_is_told_and_nothing_counts_as_their_sign_in(service: Service) -> None:
    """By mail, in the list of sessions and in the history; and the operator's device stays unknown."""
    scene = await Scene.begin(service)
    mails = await service.running.store.read(lambda rows: rows.mails.list_of(scene.ada.id, limit=9))
    letters = [Letters(load_master_secret(service.running.settings)).open(mail) for mail in mails]
    (letter,) = [each for each in letters if each.content.__struct_config__.tag == "support_looks"]
    assert letter.content == SupportLooks(by="Grace Hopper", reason=REASON)
    assert (letter.to, letter.ip, letter.user_agent) == ("ada@example.com", "", "")
    assert len(letters) == 1, "no mail about a new device"
    (begun,) = [event for event in await service.events() if event.kind == "impersonation_begun"]
    assert (begun.actor, begun.operator, begun.subject) == ("operator", f"account:{scene.grace.id}", scene.ada.id)
    assert (begun.detail["reason"], begun.detail["access"], begun.sid) == (REASON, "read", scene.look["sessionId"])
    assert str(tell_event(begun)) == f"Support began to look at the account as the person: “{REASON}”."
    devices = service.running.devices
    for token in (scene.look["accessToken"], scene.look["refreshToken"]):
        assert devices.find(scene.ada.id, EarlierSignIns(tokens=(token,))) is None
    own = await service.sign_in(scene.ada)
    assert devices.find(scene.ada.id, EarlierSignIns(tokens=(own.refresh_token,))) == own.session_id
    exported = (await service.client.get("/me/export", headers=bearer(own))).raise_for_status().json()
    (looked,) = [each for each in exported["sessions"] if each["impersonator"]]
    assert (looked["impersonator"], looked["ip"], looked["userAgent"]) == (scene.grace.id, "", "")
    await service.client.post("/logout", headers=scene.headers)
    history = await service.running.histories.of(scene.ada.id, service.caller)
    assert "The session ended, because support stopped looking at the account." in {entry.sentence for entry in history.entries}
    (ended,) = [event for event in await service.events() if event.kind == "session_ended"]
    assert (ended.actor, ended.operator) == ("operator", f"account:{scene.grace.id}")


async def test_an_old_copy_of_the_look_ends_it_without_blaming_the_person(service: Service) -> None:
    """The person did not sign in: no mail says that a sign-in of theirs was copied."""
    scene = await Scene.begin(service)
    first = scene.look["refreshToken"]
    for _ in range(2):
        service.clock.advance(seconds=20)
        answer = await service.client.post("/refresh", json={"refreshToken": scene.look["refreshToken"]})
        scene.look["refreshToken"] = answer.json()["refreshToken"]
    expect_ended(await service.client.post("/refresh", json={"refreshToken": first}), "reuse")
    mails = await service.running.store.read(lambda rows: rows.mails.list_of(scene.ada.id, limit=9))
    assert [mail.kind for mail in mails] == ["support_looks"]


async def test_the_sessions_of_the_person_are_not_pushed_out(tmp_path: Path) -> None:
    """A look begins however many sessions the person has, and ends none of them."""
    async with serving(tmp_path, impersonation="read", sessions_per_account=1) as service:
        ada = await service.account("ada@example.com")
        own = await service.sign_in(ada)
        scene = Scene(service, ada, *await _administrator(service))
        assert (await scene.ask()).status_code == 200
        assert (await service.client.get("/profile", headers=bearer(own))).status_code == 200


# --- by a link, in a browser


async def _make_link(scene: Scene, **body: Any) -> str:
    path = f"/admin/accounts/{scene.ada.id}/impersonation-link"
    answer = await scene.service.client.post(path, headers=bearer(scene.own), json={"reason": REASON} | body)
    assert (answer.status_code, answer.json()["expiresIn"]) == (201, LINK_MS // 1000), answer.text
    link = answer.json()["link"]
    assert link.startswith(f"{ISSUER}/look?token=")
    return str(link).partition("token=")[2]


PAGE = {"sec-fetch-site": "same-origin", "user-agent": FIREFOX}


async def _press(service: Service, token: str, **fields: str) -> httpx.Response:
    return await service.client.post("/look", data={"token": token} | fields, headers=PAGE | {"cookie": ""})


async def test_a_link_that_is_pressed_twice_begins_one_look(service: Service) -> None:
    """As by a double click, or after a lost answer: the second gets the tokens of the first. Another press is refused."""
    ada = await service.account("ada@example.com")
    scene = Scene(service, ada, *await _administrator(service))
    token, key = await _make_link(scene), "a-key-of-the-page-behind-the-link"
    first, second = [await _press(service, token, idempotency_key=key) for _ in range(2)]
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["set-cookie"].partition(";")[0] == second.headers["set-cookie"].partition(";")[0]
    assert [event.kind for event in await service.events()].count("impersonation_begun") == 1
    mails = await service.running.store.read(lambda rows: rows.mails.list_of(ada.id, limit=9))
    assert [mail.kind for mail in mails] == ["support_looks"]
    for fields in ({}, {"idempotency_key": "another-key-of-that-page"}):
        assert (await _press(service, token, **fields)).status_code == 422


async def test_a_link_that_is_made_twice_is_harmless(service: Service) -> None:
    """The operation takes no `Idempotency-Key`. Nothing begins, nobody is told, and the first that is used voids the other."""
    ada = await service.account("ada@example.com")
    scene = Scene(service, ada, *await _administrator(service))
    before = len(await service.events())
    first, second = [await _make_link(scene) for _ in range(2)]
    assert (first != second, len(await service.events())) == (True, before)
    assert await service.running.store.read(lambda rows: rows.mails.list_of(ada.id, limit=9)) == []
    assert [(await _press(service, token)).status_code for token in (second, first)] == [303, 422]
    living, _ = await service.running.sessions.list_all(ada.id, service.caller)
    assert len(living) == 1


async def test_a_link_begins_a_look_once_in_a_browser_without_a_session(service: Service) -> None:
    """Loading it begins nothing. In the operator's own browser it is refused and stays good, so that they stay signed in."""
    ada = await service.account("ada@example.com", name="Ada")
    scene = Scene(service, ada, *await _administrator(service))
    token = await _make_link(scene)
    for _ in range(2):
        page = await service.client.get(f"/look?token={token}", headers=PAGE)
        assert (page.status_code, "ada@example.com" in page.text, "set-cookie" in page.headers) == (200, True, False)
    busy = await service.client.post("/look", data={"token": token}, headers=PAGE | {"cookie": f"{REFRESH}=x"})
    assert (busy.status_code, "private window" in busy.text) == (400, True)
    begun = await _press(service, token)
    assert (begun.status_code, begun.headers["location"]) == (303, "/account")
    assert [event.kind for event in await service.events()].count("impersonation_begun") == 1
    cookies = begun.headers.get_list("set-cookie")
    assert [each.partition("=")[0] for each in cookies] == [REFRESH], "above all no cookie of a known device"
    assert (await _press(service, token)).status_code == 422
    service.client.cookies.clear()
    browser = PAGE | {"cookie": cookies[0].partition(";")[0]}
    account = await service.client.get("/account", headers=browser)
    text = " ".join(account.text.split())
    assert account.status_code == 200
    assert "You look at this account for support" in text
    assert REASON in text
    for form in ("/account/profile", "/account/sign-out-everywhere", "/account/end-session", "/account/sign-in"):
        assert f'"{form}"' not in text
    assert "Support of this service" in text
    history = await service.client.get("/account/history", headers=browser)
    assert "You look at this account for support" in history.text
    assert "198.51.100" not in history.text
    await _expect_pages_refuse(service, browser)
    stopped = await service.client.post("/account/sign-out", headers=browser | {"origin": ISSUER})
    assert stopped.status_code == 303
    service.client.cookies.clear()
    assert (await service.client.get("/account", headers=browser)).headers["location"] == "/sign-in"


async def _expect_pages_refuse(service: Service, browser: dict[str, str]) -> None:
    """Every page of the account but three refuses, with the banner, and its forms too."""
    declared = re.findall(r'\("(GET|POST)", "(/[^"]+)"', inspect.getsource(routes))
    own = {(method, path) for method, path in declared if path.startswith(("/account", "/admin", "/passkey-offer", "/confirm"))}
    serves = {("GET", "/account"), ("GET", "/account/history"), ("POST", "/account/sign-out")}
    aside = {("GET", "/passkey-offer"), ("POST", "/passkey-offer/decline")}
    assert len(own) > 20
    for method, path in sorted(own - serves - aside):
        data = {"x": "y"} if method == "POST" else None
        answer = await service.client.request(method, path, headers=browser | {"origin": ISSUER}, data=data)
        assert answer.status_code == 403, (method, path, answer.status_code)
        assert "You look at this account for support" in answer.text, path
    service.client.cookies.clear()


async def test_a_link_is_good_for_two_minutes_and_while_the_operator_may(service: Service) -> None:
    """It is also void once the account has changed, and leads on to trusted addresses alone."""
    ada = await service.account("ada@example.com")
    scene = Scene(service, ada, *await _administrator(service))
    late = await _make_link(scene)
    service.clock.advance(seconds=LINK_MS // 1000)
    assert (await _press(service, late)).status_code == 422
    orphaned = await _make_link(scene)
    await service.running.accounts.revoke_role(scene.grace.id, "admin", service.caller)
    assert (await _press(service, orphaned)).status_code == 403
    await service.running.accounts.grant_role(scene.grace.id, "admin", service.caller)
    void = await _make_link(scene)
    await service.running.sign_out.end_all(ada.id, service.caller)
    assert (await _press(service, void)).status_code == 422
    left = await _make_link(scene)
    await service.running.sign_out.end_one(scene.own.session_id, service.caller)
    assert (await _press(service, left)).headers["location"] == "/sign-in"
    assert [event for event in await service.events() if event.kind == "impersonation_begun"] == []
    scene.own = await service.sign_in(scene.grace)
    path = f"/admin/accounts/{ada.id}/impersonation-link"
    body = {"reason": REASON, "returnTo": "https://evil.example"}
    expect_problem(await service.client.post(path, headers=bearer(scene.own), json=body), 422, "invalid_request")
    onward = await _press(service, await _make_link(scene, returnTo="/somewhere", delivery="cookie"))
    assert onward.headers["location"] == "/account"
