"""Operators whose session is bound to a device: a copy of their tokens gives nobody a way in that outlives it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from handstamp.assemble.deployment import Deployment
from handstamp.crypto.passwords import COSTS
from handstamp.domain.account import Account
from handstamp.web.routing import OPERATIONS
from tests.deployment import ISSUER, caller, settings_in
from tests.integration.helpers import expect_problem, set_cookies
from tests.integration.test_bad_input import FIELDS
from tests.integration.test_device_bound import ACCESS, DELIVERIES, PASS, Browser, Site, site_in
from tests.integration.test_dpop import Program
from tests.serving import EMAIL, PASSWORD

pytestmark = pytest.mark.anyio
PERSON = "bob@example.com"
KEY = "a-key-of-the-tests-of-operators"
BOUND_COOKIE = {"cookie": ACCESS, "split": PASS}
WAYS_IN = {
    "admin_impersonate",
    "admin_make_impersonation_link",
    "admin_create_credential",
    "admin_create_account",
    "admin_rename_account",
    "admin_set_password",
    "admin_grant_role",
    "admin_enable_account",
    "admin_reset_factors",
}
"""Operations that give somebody a way in. A new one belongs here, or below."""
OTHERS = {
    "admin_change_account",
    "admin_delete_account",
    "admin_disable_account",
    "admin_end_session",
    "admin_sign_out",
    "admin_drop_mail",
    "admin_remove_credential",
    "admin_retire_key",
    "admin_retry_mails",
    "admin_revoke_role",
    "admin_rotate_keys",
    "admin_send_reset_mail",
    "admin_unlock_account",
    "admin_void_key",
}


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash with little work: other files test that."""
    monkeypatch.setitem(COSTS, "owasp", (1, 8, 1))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Return a service whose only account administers, and in which support may read."""
    async with administered(tmp_path) as running:
        yield running


def administered(folder: Path, **settings: Any) -> Any:
    """Run a service in which support may read."""
    return site_in(folder, impersonation="read", **settings)


async def _grace(site: Site, sid: str) -> None:
    """Let the account of a session administer, and the session be proved with two factors."""
    await site.running.accounts.grant_role(EMAIL, "admin", caller(site.clock))
    strong = msgspec.structs.replace(await site.row(sid), acr="mfa")
    await site.running.store.transact(lambda rows: rows.sessions.update(strong))


async def _scene(site: Site, delivery: str) -> tuple[Browser, Account]:
    """Return the browser of an administrator, and the account of a person."""
    browser = await site.browser().bound(delivery)
    await _grace(site, browser.sid)
    return browser, await site.running.create_account(PERSON, None, caller(site.clock))


def _forms(ada: Account) -> dict[str, tuple[str, dict[str, str]]]:
    """Return the path and the fields of each form that gives somebody a way in, by what it does."""
    person = {
        "rename": {"email": "eve@example.com"},
        "password": {"new_password": PASSWORD},
        "grant": {"role": "editor"},
        "enable": {},
        "reset_factors": {"sure": "yes"},
    }
    forms = {action: ("/admin/person", {"action": action, "id": ada.id} | fields) for action, fields in person.items()}
    return forms | {
        "look": ("/admin/look", {"id": ada.id, "reason": "Ticket 4711"}),
        "credential": ("/admin/service", {"action": "create", "name": "night", "scopes": "both"}),
        "account": ("/admin/new-person", {"email": "new@example.com", "new_password": PASSWORD}),
    }


async def _send(browser: Browser, path: str, fields: dict[str, str]) -> httpx.Response:
    return await browser.client.post(path, data=fields | {"idempotency_key": KEY})


@DELIVERIES
async def test_a_form_that_gives_a_way_in_waits_for_a_new_proof(site: Site, delivery: str) -> None:
    """The browser proves the key and sends the form again by itself. A copy of its cookies gets as far as the question."""
    browser, ada = await _scene(site, delivery)
    for name, (path, fields) in _forms(ada).items():
        thief = browser.copied()
        before = await site.snapshot(browser.sid), await site.running.credentials.list_all()
        asked = await _send(thief, path, fields)
        assert asked.status_code == 307, name
        there = asked.headers["location"]
        assert there.startswith(f"{path}?proof=")
        assert set_cookies(asked)[BOUND_COOKIE[delivery]].attributes["max-age"] == "0", "so that the browser renews it"
        thief.client.cookies.update(browser.client.cookies)
        refused = await _send(thief, there, fields)
        assert (refused.status_code, "bound to its device" in refused.text) == (403, True), name
        assert (await site.snapshot(browser.sid), await site.running.credentials.list_all()) == before

        asked = await _send(browser, path, fields)
        site.clock.advance(seconds=1)
        assert (await browser.renew()).status_code == 200
        done = await _send(browser, asked.headers["location"], fields)
        assert done.status_code in (200, 303), (name, done.text)
        assert "bound to its device" not in done.text
    assert {"credential_added", "account_renamed", "role_granted", "password_changed"} <= set(await _kinds(site))


async def test_a_tag_is_for_one_form_and_the_next_proofs(site: Site) -> None:
    """One from the browser's history brings nothing: neither for another form, nor with a later copy of the cookies."""
    browser, ada = await _scene(site, "split")
    path, fields = _forms(ada)["look"]
    asked = await _send(browser, path, fields)
    there = asked.headers["location"]
    site.clock.advance(seconds=1)
    await browser.renew()
    thief = browser.copied()
    other = await _send(thief, there, fields | {"reason": "Another ticket"})
    assert other.status_code == 403
    elsewhere = await _send(thief, f"/admin/person?{there.partition('?')[2]}", _forms(ada)["rename"][1])
    assert elsewhere.status_code == 403
    assert "/look?token=" in (await _send(browser, there, fields)).text
    for _ in range(3):
        site.clock.advance(seconds=20)
        await browser.renew()
    assert (await _send(browser, there, fields)).status_code == 403


async def test_other_forms_and_unbound_sessions_need_no_proof(site: Site) -> None:
    """What ends things or saves a name works at once: the browser may sign six times in nine minutes."""
    browser, ada = await _scene(site, "split")
    for action in ("profile", "unlock", "sign_out", "disable"):
        done = await _send(browser, "/admin/person", {"action": action, "id": ada.id, "name": "Ada"})
        assert (done.status_code, done.headers["location"]) == (303, f"/admin/person?id={ada.id}&done={action}")
    unbound = site.browser()
    await unbound.sign_in("split")
    await _grace(site, unbound.sid)
    assert "/look?token=" not in (await _send(unbound, *_forms(ada)["look"])).text, "the account is disabled"
    assert (await _send(unbound, *_forms(ada)["enable"])).status_code == 303
    assert "/look?token=" in (await _send(unbound, *_forms(ada)["look"])).text


@DELIVERIES
async def test_the_api_gives_no_way_in_to_an_access_token_of_a_bound_browser(site: Site, delivery: str) -> None:
    """Scripts can prove no key of the browser, so it is done on the pages. A new operation fails here until it is classed."""
    browser, ada = await _scene(site, delivery)
    token = browser.client.cookies.get(ACCESS) or (await browser.client.post("/refresh")).json()["accessToken"]
    thief = site.browser().client
    refused = set()
    asked = [each for each in OPERATIONS if each.credential == "operator" and each.method != "GET"]
    for operation in asked:
        path = operation.path.replace("{id}", ada.id if "accounts" in operation.path else "nobodys")
        body = _BODIES.get(operation.run.__name__, FIELDS.get(operation.path, {}))
        if operation.method == "DELETE" and "accounts" in operation.path:
            path = path.replace(ada.id, "nobodys")
        answer = await thief.request(operation.method, path, headers={"authorization": f"Bearer {token}"}, json=body or None)
        if answer.status_code == 403:
            expect_problem(answer, 403, "proof_required")
            refused.add(operation.run.__name__)
    assert refused == WAYS_IN
    assert {each.run.__name__ for each in asked} == WAYS_IN | OTHERS


_BODIES: dict[str, dict[str, Any]] = {
    "admin_impersonate": {"reason": "Ticket 4711"},
    "admin_make_impersonation_link": {"reason": "Ticket 4711"},
    "admin_create_credential": {"name": "night", "scopes": ["read"]},
    "admin_create_account": {"email": "new@example.com"},
    "admin_change_account": {"name": "Ada"},
    "admin_rename_account": {"email": "eve@example.com"},
    "admin_set_password": {"password": PASSWORD},
    "admin_grant_role": {"role": "editor"},
    "admin_revoke_role": {"role": "editor"},
}


@pytest.mark.parametrize("binding", ["preferred", "off"])
async def test_a_look_of_a_program_is_bound_to_the_key_of_its_operator(tmp_path: Path, binding: str) -> None:
    """Also if new sessions are not bound any more. Without the key, its tokens neither read nor renew."""
    async with administered(tmp_path) as before:
        program = Program(before)
        await _grace(before, (await program.sign_in()).json()["sessionId"])
        ada = await before.running.create_account(PERSON, None, caller(before.clock))
        path, body = f"/admin/accounts/{ada.id}/impersonate", {"reason": "Ticket 4711"}
        bare = await program.client.post(path, json=body, headers={"authorization": f"Bearer {program.access}"})
        expect_problem(bare, 401, "invalid_token")
    running = Deployment(settings_in(tmp_path, impersonation="read", device_binding=binding), clock=before.clock)
    async with running.open():
        site = Site(running, before.clock)
        program.site, program.client = site, httpx.AsyncClient(transport=site.transport, base_url=ISSUER)
        proof = {"authorization": f"DPoP {program.access}", "dpop": program.prove("POST", path, access=program.access)}
        look = (await program.client.post(path, json=body, headers=proof)).json()
        assert look["tokenType"] == "DPoP"
        thief = Program(site)
        thief.access, thief.refresh_token = look["accessToken"], look["refreshToken"]
        expect_problem(await thief.profile(scheme="Bearer", proof=""), 401, "invalid_token")
        expect_problem(await thief.profile(), 401, "invalid_token")
        for copy in (thief.prove("POST", "/refresh"), ""):
            expect_problem(await thief.refresh(copy), 400, "invalid_dpop_proof")
        program.access, program.refresh_token = look["accessToken"], look["refreshToken"]
        assert (await program.profile()).json()["email"] == PERSON
        assert (await program.refresh()).json()["tokenType"] == "DPoP"


async def _kinds(site: Site) -> list[str]:
    found = await site.running.store.read(
        lambda rows: rows.events.list_page(after=0, until=10**9, since_ms=0, before_ms=2**60, limit=500)
    )
    return [event.kind for _, event in found]
