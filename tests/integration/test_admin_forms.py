"""The forms with which administrators look after accounts: who may send them, what they do, and what they leave."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from handstamp.domain.account import Account
from handstamp.domain.session import FRESH_MS
from handstamp.domain.totp import Totp
from handstamp.web.pages.person import ACTIONS
from tests.administering import PASSWORD, Service, serving
from tests.builders import SECOND_MS
from tests.integration.helpers import expect_problem
from tests.integration.test_admin_pages import visit
from tests.integration.test_factor_pages import visiting

pytestmark = pytest.mark.anyio
Visitor = dict[str, str]
MAIL = {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "no-reply@example.com"}
"""No mail leaves the outbox in these tests."""
FORMS = {
    "/admin/person": {"action": "enable"},
    "/admin/person?": {"action": "export"},
    "/admin/new-person": {"email": "eve@example.com"},
    "/admin/service": {"action": "create", "name": "orders"},
}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run the service with mail."""
    async with serving(tmp_path, trusted_origins="https://app.example.com", **MAIL) as running:
        yield running


async def send(service: Service, visitor: Visitor, path: str = "/admin/person", **fields: str) -> httpx.Response:
    """Send a form."""
    return await service.client.post(path, data=fields, headers=visitor)


async def follow(service: Service, visitor: Visitor, answer: httpx.Response) -> str:
    """Return the page to which a form leads."""
    assert answer.status_code == 303, answer.text
    page = await service.client.get(answer.headers["location"], headers=visitor)
    assert page.status_code == 200, page.text
    return html.unescape(page.text)


async def a_person(service: Service, email: str = "ada@example.com") -> tuple[Account, str]:
    """Create a person with an app who is signed in once. Return the account and the id of the session."""
    account = await service.account(email, "editor", name="Ada")
    app = Totp(account_id=account.id, sealed=b"x", created_at_ms=0, last_step=0, used_at_ms=0)
    await service.running.store.transact(lambda rows: rows.totp.save(app))
    await service.sign_in(account)
    ((session,), _) = await service.running.sessions.list_all(account.id, service.caller)
    return account, session.id


def fields_of(action: str, account: Account, sid: str) -> dict[str, str]:
    """Return what a visitor sends with a form of the page. The key is one that a page had, for this person."""
    typed = {
        "profile": {"name": "Ada Lovelace", "language": "fr"},
        "rename": {"email": "Countess@Example.com"},
        "grant": {"role": "author"},
        "revoke": {"role": "editor"},
        "end_session": {"session": sid},
        "delete": {"email": account.email.upper(), "sure": "yes"},
        "reset_factors": {"sure": "yes"},
    }
    return {"id": account.id, "action": action, "idempotency_key": f"of-a-page-{account.id}"} | typed.get(action, {})


EVENTS = {
    "profile": "profile_changed",
    "rename": "account_renamed",
    "grant": "role_granted",
    "revoke": "role_revoked",
    "disable": "account_disabled",
    "enable": "account_enabled",
    "unlock": "account_unlocked",
    "reset": "mail_requested",
    "end_session": "session_ended",
    "sign_out": "logged_out_everywhere",
    "reset_factors": "factors_reset",
    "delete": "account_deleted",
}


async def test_each_form_does_what_it_says_and_is_recorded(service: Service) -> None:
    """The next page says so, and the audit trail names the administrator. Sent twice, it has one effect."""
    root = await visit(service, "root@example.com", "admin")
    root_id = (await service.running.accounts.get("root@example.com")).id
    assert set(EVENTS) == set(ACTIONS) - {"password"}  # which is for services without mail
    for action, kind in EVENTS.items():
        account, sid = await a_person(service)
        fields, before = fields_of(action, account, sid), len(await service.events())
        answer = await send(service, root, **fields)
        assert ACTIONS[action].done in await follow(service, root, answer), action
        events = (await service.events())[before:]
        assert [each.kind for each in events] == [kind], action
        assert (events[0].actor, events[0].operator) == ("operator", f"account:{root_id}"), action
        again = await send(service, root, **fields)
        assert again.headers["location"].partition("?")[0] == answer.headers["location"].partition("?")[0], action
        assert len(await service.events()) == before + 1, action
        if action != "delete":
            await service.running.accounts.delete(account.id, service.caller)


async def test_the_forms_change_what_they_name(service: Service) -> None:
    """The account after all of them."""
    root = await visit(service, "root@example.com", "admin")
    account, sid = await a_person(service)
    for action in ("profile", "rename", "grant", "revoke", "reset_factors", "disable"):
        assert (await send(service, root, **fields_of(action, account, sid))).status_code == 303
    after = await service.running.accounts.list_factors(account.id, service.caller)
    assert (after.account.name, after.account.language, after.account.email) == ("Ada Lovelace", "fr", "countess@example.com")
    assert (after.account.roles, after.factors.is_any, after.account.disabled_at_ms) == (("author",), False, service.clock())
    assert (await service.running.sessions.list_all(account.id, service.caller))[0] == []


async def test_all_data_of_a_person_is_downloaded(service: Service) -> None:
    """The same file as the API's, with the same event, for administrators with a recent factor alone. The page's CSP stays."""
    root = await visit(service, "root@example.com", "admin")
    root_id = (await service.running.accounts.get("root@example.com")).id
    account, _ = await a_person(service)
    answer = await send(service, root, id=account.id, action="export", idempotency_key="a-key-of-the-page-of-a-person")
    headers = {name: answer.headers[name] for name in ("content-disposition", "content-type", "cache-control")}
    assert headers == {
        "content-disposition": 'attachment; filename="person.json"',
        "content-type": "application/json",
        "cache-control": "no-store",
    }
    by_api = await service.client.get(f"/admin/accounts/{account.id}/export", auth=await service.credential("admin"))
    assert by_api.headers["content-disposition"] == headers["content-disposition"]
    told, again = answer.json(), by_api.json()
    assert {name: rows for name, rows in told.items() if name != "events"} == {
        name: rows for name, rows in again.items() if name != "events"
    }
    (event,) = [each for each in told["events"] if each["kind"] == "data_exported"]
    assert (event["actor"], event["operator"]) == ("operator", f"account:{root_id}")
    assert (await send(service, root, id="nobodys", action="export")).status_code == 404
    service.clock.advance(seconds=FRESH_MS // SECOND_MS)
    asked = await send(service, root, id=account.id, action="export")
    assert "Confirm that it is you" in asked.text
    page = await service.client.get(f"/admin/person?id={account.id}", headers=await visit(service, "eve@example.com", "admin"))
    assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
    assert "<script" not in page.text.partition("<body")[2]


async def test_the_page_has_a_form_for_each_action_that_makes_sense(service: Service) -> None:
    """And none that does not: an account that is disabled is enabled."""
    root = await visit(service, "root@example.com", "admin")
    account, _ = await a_person(service)

    async def offered() -> set[str]:
        page = await service.client.get(f"/admin/person?id={account.id}", headers=root)
        return set(re.findall(r'name="action" value="(\w+)"', page.text))

    assert await offered() == {"export", *ACTIONS} - {"enable", "unlock", "password"}
    await service.running.accounts.disable(account.id, service.caller)
    assert await offered() == {"export", *ACTIONS} - {"disable", "unlock", "password", "reset", "end_session", "sign_out"}


async def test_an_administrator_does_not_change_the_own_account_here(service: Service) -> None:
    """No form but those that end sessions; and who sends one nevertheless is told, and nothing changes."""
    root = await visit(service, "root@example.com", "admin")
    account = await service.running.accounts.get("root@example.com")
    page = await service.client.get(f"/admin/person?id={account.id}", headers=root)
    assert set(re.findall(r'name="action" value="(\w+)"', page.text)) == {"end_session", "sign_out", "export"}
    assert "This is your own account." in page.text
    for action in ("disable", "revoke", "delete", "reset_factors", "rename", "grant"):
        answer = await send(service, root, **fields_of(action, account, ""))
        assert (answer.status_code, "Ask another administrator" in answer.text) == (403, True), action
    assert await service.running.accounts.get(account.id) == account


@pytest.mark.parametrize("path", FORMS)
async def test_nobody_else_can_send_a_form(service: Service, path: str) -> None:
    """A stranger, a person without the role, a page of another site, and one of a trusted origin."""
    account, _ = await a_person(service)
    root = await visit(service, "root@example.com", "admin")
    plain = await visit(service, "bob@example.com")
    fields = {"id": account.id} | FORMS[path]
    before = await service.events()
    own = {"sec-fetch-site": "same-origin"}
    assert (await send(service, own, path, **fields)).headers["location"].endswith("/sign-in")
    assert (await send(service, plain, path, **fields)).status_code == 403
    for foreign in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "https://app.example.com"},
        {"sec-fetch-site": "cross-site", "origin": "https://app.example.com"},
    ):
        answer = await send(service, root | foreign, path, **fields)
        assert answer.status_code == 403
        # Nor by way of the page that asks for a proof and goes on with a form.
        carried = {"wanted": path, "carried": str(httpx.QueryParams(fields)), "way": "totp", "code": "123456"}
        assert (await send(service, root | foreign, "/confirm", **carried)).status_code == 403
    assert await service.events() == before


async def test_a_form_waits_for_a_fresh_proof_and_goes_on(tmp_path: Path) -> None:
    """The second factor is asked for, and then the form does what it was sent for, and a page is shown with its query."""
    async with visiting(tmp_path, **MAIL) as (root, browser):
        operator = Service(root.running, root.clock, root.client)
        await root.running.accounts.grant_role("ada@example.com", "admin", operator.caller)
        await browser.sign_in()
        await browser.send("/sign-in/second-step", code=root.next_code())
        for action, kind in EVENTS.items():
            account, sid = await a_person(operator, "bob@example.com")
            root.clock.advance(ms=FRESH_MS)
            assert "Confirm that it is you" in await browser.go(f"/admin/person?id={account.id}")
            assert "<h1><bdi>bob@example.com</bdi></h1>" in await browser.send("/confirm", code=root.next_code()), action
            root.clock.advance(ms=FRESH_MS)
            before = len(await operator.events())
            fields = fields_of(action, account, sid)
            browser.answer = await browser.client.post("/admin/person", data=fields, headers={"sec-fetch-site": "same-origin"})
            assert "Confirm that it is you" in browser.answer.text, action
            assert len(await operator.events()) == before, action
            assert ACTIONS[action].done in html.unescape(await browser.send("/confirm", code=root.next_code())), action
            assert kind in [each.kind for each in (await operator.events())[before:]], action
            if action != "delete":
                await root.running.accounts.delete(account.id, operator.caller)


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({"action": "rename", "email": "no address"}, 422, "This is not a valid e-mail address."),
        ({"action": "rename", "email": "root@example.com"}, 409, "exists already"),
        ({"action": "profile", "name": "x" * 300}, 422, "The name"),
        ({"action": "grant", "role": " "}, 422, "The role must have 1 to 256 characters."),
    ],
)
async def test_what_is_wrong_stands_beside_the_field(
    service: Service, fields: dict[str, str], status: int, sentence: str
) -> None:
    """With what was typed."""
    root = await visit(service, "root@example.com", "admin")
    account, _ = await a_person(service)
    answer = await send(service, root, id=account.id, **fields)
    page = html.unescape(answer.text)
    assert answer.status_code == status
    (error,) = re.findall(r'<p class="error" id="([\w-]+)-error">([^<]+)</p>', page)
    assert sentence in error[1]
    (_, typed) = list(fields.items())[1]
    assert f'value="{typed}"' in page
    assert f'aria-describedby="{error[0]}-error' in page
    assert await service.running.accounts.get(account.id) == account


@pytest.mark.parametrize("action", [action for action, each in ACTIONS.items() if each.sure])
async def test_what_cannot_be_undone_is_asked_first(service: Service, action: str) -> None:
    """Nothing happens before the answer; the address must be typed to delete an account."""
    root = await visit(service, "root@example.com", "admin")
    account, sid = await a_person(service)
    before = await service.events()
    asked = await send(service, root, id=account.id, action=action)
    sure = ACTIONS[action].sure
    assert sure is not None
    assert asked.status_code == 200
    assert sure.title in asked.text
    assert account.email in asked.text
    assert 'name="sure" value="yes"' in asked.text
    if sure.types_email:
        wrong = await send(service, root, id=account.id, action=action, sure="yes", email="root@example.com")
        assert (wrong.status_code, "is not the address of this account" in wrong.text) == (422, True)
    assert await service.events() == before
    assert (await send(service, root, **fields_of(action, account, sid))).status_code == 303


async def test_an_account_that_is_none_is_not_found(service: Service) -> None:
    """Whatever is asked for, and with an address too: those are not for URLs."""
    root = await visit(service, "root@example.com", "admin")
    await a_person(service)
    before = await service.events()
    for bad in ("nobodys", "ada@example.com", "a\x00b", "x" * 300, ""):
        for action in ACTIONS.keys() - {"delete", "password"}:
            fields = {"id": bad, "action": action, "role": "x", "email": "eve@example.com", "session": "nobodys", "sure": "yes"}
            answer = await send(service, root, **fields)
            if answer.status_code == 303:
                answer = await service.client.get(answer.headers["location"], headers=root)
            assert answer.status_code == 404, (bad, action)
    assert (await send(service, root, id="nobodys", action="explode")).status_code == 400
    assert await service.events() == before


async def test_an_account_is_created_once(service: Service) -> None:
    """Sent twice, the form leads to the same account. What is wrong stands beside its field, with what was typed."""
    root = await visit(service, "root@example.com", "admin")
    form = await service.client.get("/admin/new-person", headers=root)
    (key,) = re.findall(r'name="idempotency_key" value="([^"]+)"', form.text)
    fields = {"email": "eve@example.com", "name": "Eve", "idempotency_key": key}
    made = await send(service, root, "/admin/new-person", **fields)
    page = await follow(service, root, made)
    assert "The account is created." in page
    assert "Send a mail to choose a new password" in page
    assert (await send(service, root, "/admin/new-person", **fields)).headers["location"] == made.headers["location"]
    taken = await send(service, root, "/admin/new-person", email="eve@example.com", name="Other")
    assert (taken.status_code, 'value="Other"' in taken.text, "exists already" in taken.text) == (409, True, True)
    wrong = await send(service, root, "/admin/new-person", email="eve")
    assert (wrong.status_code, "email-error" in wrong.text) == (422, True)
    (created,) = [each for each in await service.events() if each.kind == "account_created" and each.operator]
    assert created.actor == "operator"


async def test_a_person_chooses_a_password_with_the_mail_that_an_administrator_sends(service: Service) -> None:
    """The mail has a link and no code, which could be used in no browser. At the limit of the address, the page says so."""
    root = await visit(service, "root@example.com", "admin")
    account, sid = await a_person(service)
    fields = fields_of("reset", account, sid)
    for number in range(5):
        fields["idempotency_key"] = f"of a page, number {number}".replace(" ", "-")
        for _ in range(2):
            assert "A mail is on its way." in await follow(service, root, await send(service, root, **fields))
    fields["idempotency_key"] = ""
    assert "No mail was sent" in await follow(service, root, await send(service, root, **fields))
    history = await service.running.histories.of(account.id, service.caller)
    assert "An operator had a mail sent with which the person chooses a new password." in [
        str(entry.sentence) for entry in history.entries
    ]
    assert (await send(service, root, id=account.id, action="password", new_password=PASSWORD)).status_code == 400


async def test_a_reset_mail_is_sent_over_the_api(service: Service) -> None:
    """By the same rules as on the page. It is recorded with who asked for it, and a disabled account gets none."""
    account, auth = await service.account("ada@example.com"), await service.credential("admin")
    path = f"/admin/accounts/{account.id}/reset-mail"
    for sent in (True, True, True, True, True, False):
        assert (await service.client.post(path, auth=auth)).json() == {"sent": sent}
    mails = await service.running.store.read(lambda rows: rows.mails.list_of(account.id, limit=9))
    assert [each.kind for each in mails] == ["reset_password"] * 5
    asked = [each for each in await service.events() if each.kind == "mail_requested"]
    assert {(each.actor, each.operator, each.detail["purpose"]) for each in asked} == {
        ("operator", f"credential:{(await service.running.credentials.list_all())[0].id}", "reset_password")
    }
    gone = await service.account("gone@example.com")
    await service.running.accounts.disable(gone.id, service.caller)
    assert (await service.client.post(f"/admin/accounts/{gone.id}/reset-mail", auth=auth)).json() == {"sent": False}
    expect_problem(await service.client.post("/admin/accounts/nobodys/reset-mail", auth=auth), 404, "not_found")


async def test_without_mail_an_administrator_sets_a_password(tmp_path: Path) -> None:
    """There is no other way then. The typed password is on no page, and the proof that it waits for leads back to the form."""
    async with serving(tmp_path) as service:
        root = await visit(service, "root@example.com", "admin")
        account, _ = await a_person(service)
        refused = await service.client.post(f"/admin/accounts/{account.id}/reset-mail", auth=await service.credential("admin"))
        assert expect_problem(refused, 404, "not_found")["detail"] == "This service sends no mail."
        short = await send(service, root, id=account.id, action="password", new_password="short")
        assert (short.status_code, "new_password-error" in short.text, 'value="short"' in short.text) == (422, True, False)
        done = await send(service, root, id=account.id, action="password", new_password=PASSWORD)
        assert "The password is set" in await follow(service, root, done)
        missing = await send(service, root, "/admin/new-person", email="eve@example.com")
        assert (missing.status_code, "The password is missing." in missing.text) == (422, True)
        service.clock.advance(seconds=FRESH_MS // SECOND_MS)
        stale = await send(service, root, id=account.id, action="password", new_password=PASSWORD)
        assert "Confirm that it is you" in stale.text
        assert f"/admin/person?id={account.id}" in html.unescape(stale.text)
        assert PASSWORD not in html.unescape(stale.text)


async def test_a_session_is_told_of(service: Service) -> None:
    """In the sentences of `handstamp why`; also that of a person who has no account any more."""
    root = await visit(service, "root@example.com", "admin")
    account, sid = await a_person(service)
    path = f"/admin/why?id={sid}"
    page = (await service.client.get(path, headers=root)).text
    assert "Signed in from 192.0.2.1 (Firefox on Linux)." in page
    assert f"/admin/person?id={account.id}" in page
    assert 'value="end_session"' in page
    await send(service, root, **fields_of("end_session", account, sid))
    page = (await service.client.get(path, headers=root)).text
    assert "The session ended, because an operator ended it." in page
    assert 'value="end_session"' not in page
    whole = await service.client.get(f"/admin/why?id={account.id}", headers=root)
    assert whole.headers["location"].endswith(f"/admin/person?id={account.id}")
    await service.running.accounts.delete(account.id, service.caller)
    assert "An operator deleted the account." in (await service.client.get(f"/admin/why?id={account.id}", headers=root)).text
    for bad in ("nobodys", "ada@example.com", "", "a%00b"):
        assert (await service.client.get(f"/admin/why?id={bad}", headers=root)).status_code == 404


async def test_only_administrators_see_the_way_to_these_pages(service: Service) -> None:
    """On the page of their account."""
    for email, roles, seen in (("root@example.com", ("admin",), True), ("bob@example.com", ("editor",), False)):
        visitor = await visit(service, email, *roles)
        assert ('/admin"' in (await service.client.get("/account", headers=visitor)).text) == seen
