"""Operators see and end sessions, read what happened, and look after service credentials and keys."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.config.secret_file import load_master_secret
from handstamp.domain.mail import MAIL_KINDS, PasswordChanged
from handstamp.domain.totp import Totp
from handstamp.service.mailing.notices import Notices
from handstamp.service.mailing.outbox import Letters, Outbox
from handstamp.service.operating.audit_webhook import Target
from handstamp.web.routing import OPERATIONS
from tests.administering import Service, bearer, serving
from tests.builders import a_mail
from tests.integration.helpers import expect_problem
from tests.integration.test_command_line import COMMANDS

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run the service."""
    async with serving(tmp_path) as running:
        yield running


OPERATION_OF = {
    "users create": "POST /admin/accounts",
    "users list": "GET /admin/accounts",
    "users disable": "POST /admin/accounts/{id}/disable",
    "users enable": "POST /admin/accounts/{id}/enable",
    "users unlock": "POST /admin/accounts/{id}/unlock",
    "users set-password": "POST /admin/accounts/{id}/password",
    "users grant": "POST /admin/accounts/{id}/grant",
    "users revoke": "POST /admin/accounts/{id}/revoke",
    "users rename": "POST /admin/accounts/{id}/email",
    "users delete": "DELETE /admin/accounts/{id}",
    "users factors": "GET /admin/accounts/{id}",
    "users reset-mail": "POST /admin/accounts/{id}/reset-mail",
    "users reset-factors": "POST /admin/accounts/{id}/reset-factors",
    "sessions list": "GET /admin/sessions",
    "sessions end": "DELETE /admin/sessions/{id}",
    "statistics": "GET /admin/statistics",
    "why": "GET /admin/accounts/{id}/history",
    "audit export": "GET /admin/events",
    "keys list": "GET /admin/keys",
    "keys timetable": "GET /admin/keys",
    "keys rotate": "POST /admin/keys",
    "keys retire": "POST /admin/keys/{id}/retire",
    "credentials create": "POST /admin/credentials",
    "credentials list": "GET /admin/credentials",
    "credentials remove": "DELETE /admin/credentials/{id}",
    "users export": "GET /admin/accounts/{id}/export",
    "mail queue": "GET /admin/mails",
    "audit webhook": "GET /admin/receivers",
}
NEEDS_THE_MACHINE = {
    "demo": "it is no deployment",
    "serve": "it is the service",
    "backup": "it writes a file of the machine",
    "restore": "nothing may have the database open",
    "migrate": "the service needs the tables",
    "doctor": "it looks at files and settings, or from outside",
    "token inspect": "it reads a token; POST /introspect answers whether one is valid",
    "keys reseal": "it belongs to the change of the master secret, which is a file",
    "users import": "it reads a file with the password hashes of another system; POST /admin/accounts adds one account",
    "mail test": "it shows what the mail server says to the settings of the machine",
}
FURTHER = {
    "users export": {"GET /admin/accounts"},
    "mail queue": {"POST /admin/mails/retry", "DELETE /admin/mails/{id}"},
    "keys retire": {"POST /admin/keys/{id}/void"},
    "sessions end": {"POST /admin/accounts/{id}/sign-out"},
    "why": {"GET /admin/sessions/{id}/history"},
}
"""Operations that do what an option or another argument of a command does."""
NO_COMMAND = {
    "PATCH /admin/accounts/{id}": "the name and the language, which people change themselves",
    "POST /admin/accounts/{id}/impersonate": "a shell has no browser to act in",
    "POST /admin/accounts/{id}/impersonation-link": "a shell has no browser to act in",
}


def test_every_command_has_its_operation_or_needs_the_machine() -> None:
    """A new command must say which operation does the same, and a new operation which command."""
    assert sorted([*OPERATION_OF, *NEEDS_THE_MACHINE]) == sorted(COMMANDS)
    declared = {f"{operation.method} {operation.path}" for operation in OPERATIONS if operation.credential == "operator"}
    assert declared == {*OPERATION_OF.values(), *NO_COMMAND}.union(*FURTHER.values())


async def read_all(service: Service, auth: httpx.BasicAuth, path: str, name: str, **query: str) -> list[Any]:
    """Return the entries of all pages of a list, two a page."""
    found: list[Any] = []
    after = ""
    for _ in range(50):
        answer = await service.client.get(path, params={**query, "limit": "2", "after": after}, auth=auth)
        page = answer.raise_for_status().json()
        found += page[name]
        after = page["next"]
        if after is None or not page[name]:
            return found
    raise AssertionError("the list does not end")


async def test_lists_have_pages_without_gaps_or_repeats(service: Service) -> None:
    """Of accounts, sessions and events; a search begins at the index."""
    auth = await service.credential("admin")
    people = [await service.account(f"{name}@example.com") for name in ("eve", "ada", "adam", "bob", "adele")]
    sessions = [(await service.sign_in(person)).session_id for person in people for _ in range(2)]
    listed = await read_all(service, auth, "/admin/accounts", "accounts")
    assert [each["email"] for each in listed] == sorted(person.email for person in people)
    found = await read_all(service, auth, "/admin/accounts", "accounts", email="ADA")
    assert [each["email"] for each in found] == ["ada@example.com", "adam@example.com"]
    assert sorted(each["id"] for each in await read_all(service, auth, "/admin/sessions", "sessions")) == sorted(sessions)
    mine = await read_all(service, auth, "/admin/sessions", "sessions", subject=people[1].id)
    assert sorted(each["id"] for each in mine) == sorted(sessions[2:4])
    numbers = [each["number"] for each in await read_all(service, auth, "/admin/events", "events")]
    assert len(numbers) == len(await service.events()) == len(set(numbers))
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("path", ["/admin/accounts", "/admin/sessions", "/admin/events"])
@pytest.mark.parametrize(
    ("name", "value"), [("after", "rubbish"), ("after", "W10"), ("limit", "0"), ("limit", "201"), ("limit", "x")]
)
async def test_a_place_that_no_answer_had_is_refused(service: Service, path: str, name: str, value: str) -> None:
    """The field is named."""
    answer = await service.client.get(path, params={name: value}, auth=await service.credential("admin"))
    assert [each["name"] for each in expect_problem(answer, 422, "invalid_request")["fields"]] == [name]


@pytest.mark.parametrize(
    ("path", "place"), [("accounts", ["\0"]), ("sessions", [2**70, "x"]), ("sessions", [-1, "x"]), ("events", [2**64])]
)
async def test_a_forged_place_is_refused(service: Service, path: str, place: list[Any]) -> None:
    """It would be none that the database could look for."""
    forged = base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")
    answer = await service.client.get(f"/admin/{path}", params={"after": forged}, auth=await service.credential("admin"))
    expect_problem(answer, 422, "invalid_request")


async def test_text_that_no_database_holds_finds_nothing(service: Service) -> None:
    """PostgreSQL refuses a NUL in a text."""
    auth = await service.credential("admin")
    assert (await service.client.get("/admin/accounts?email=a%00b", auth=auth)).json()["accounts"] == []
    assert (await service.client.get("/admin/sessions?subject=a%00b", auth=auth)).json()["sessions"] == []
    for path in ("/admin/accounts/a%00b", "/admin/accounts/a%00b/history", "/admin/sessions/a%00b/history"):
        expect_problem(await service.client.get(path, auth=auth), 404, "not_found")
    expect_problem(await service.client.delete("/admin/sessions/a%00b", auth=auth), 404, "not_found")


async def test_a_reader_of_events_goes_on_where_it_was(service: Service) -> None:
    """From the newest events on, and later with what has been added."""
    auth = await service.credential("admin")
    await service.account("ada@example.com")
    page = (await service.client.get("/admin/events?last=true&limit=1", auth=auth)).json()
    assert [each["kind"] for each in page["events"]] == ["account_created"]
    query = {"after": page["next"]}
    assert (await service.client.get("/admin/events", params=query, auth=auth)).json() == {"events": [], "next": page["next"]}
    await service.account("bob@example.com")
    later = (await service.client.get("/admin/events", params=query, auth=auth)).json()
    assert [each["kind"] for each in later["events"]] == ["account_created"]


async def test_sessions_end_and_tell_why(service: Service) -> None:
    """One session, then all of a person; the history says so in the language of the request."""
    _, headers = await service.administrator()
    ada = await service.account("ada@example.com")
    first, second = [(await service.sign_in(ada)).session_id for _ in range(2)]
    service.clock.advance(seconds=1)
    assert (await service.client.delete(f"/admin/sessions/{first}", headers=headers)).status_code == 204
    expect_problem(await service.client.delete(f"/admin/sessions/{first}", headers=headers), 404, "not_found")
    told = (await service.client.get(f"/admin/sessions/{first}/history", headers=headers)).json()
    assert (told["subject"], told["livingSessions"]) == (ada.id, [])
    assert told["entries"][-1]["sentence"] == "The session ended, because an operator ended it."
    german = {**headers, "accept-language": "de"}
    translated = (await service.client.get(f"/admin/accounts/{ada.id}/history", headers=german)).json()
    assert translated["subject"] == ada.id
    assert [each["session"] for each in translated["entries"]][-1] == first
    assert "Sitzung" in translated["entries"][-1]["sentence"]
    living = (await service.client.get("/admin/sessions", params={"subject": ada.id}, headers=headers)).json()["sessions"]
    assert [each["id"] for each in living] == [second]
    ended = await service.client.post(f"/admin/accounts/{ada.id}/sign-out", headers=headers)
    assert (ended.status_code, ended.json()) == (200, {"ended": 1})
    for path in ("/admin/accounts/nobodys/history", "/admin/sessions/nobodys/history", "/admin/accounts/ada@example.com/history"):
        expect_problem(await service.client.get(path, headers=headers), 404, "not_found")
    expect_problem(await service.client.post("/admin/accounts/nobodys/sign-out", headers=headers), 404, "not_found")
    by_operator = [each.kind for each in await service.events() if each.operator]
    assert by_operator == ["session_ended", "logged_out_everywhere"]


async def test_all_about_one_person_is_exported(service: Service) -> None:
    """It is what the person gets, without secrets. The person reads that an operator made a copy, and which one is recorded."""
    admin, headers = await service.administrator()
    ada = await service.account("ada@example.com")
    await service.account("bob@example.com")
    pair = await service.sign_in(ada)
    app = Totp(account_id=ada.id, sealed=b"a sealed secret", created_at_ms=0, last_step=0, used_at_ms=0)
    await service.running.store.transact(lambda rows: rows.totp.save(app))
    answer = await service.client.get(f"/admin/accounts/{ada.id}/export", headers=headers)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    own = (await service.client.get("/me/export", headers=bearer(pair))).json()
    told = answer.json()
    assert [event["operator"] for event in own["events"] if event["kind"] == "data_exported"] == [f"account:{admin.id}", None]
    assert {name: rows for name, rows in own.items() if name != "events"} == {
        name: rows for name, rows in told.items() if name != "events"
    }
    assert told["events"] == own["events"][:-1]
    assert "sealed" not in answer.text
    assert "bob" not in answer.text
    history = (await service.client.get(f"/admin/accounts/{ada.id}/history", headers=headers)).json()
    assert "An operator made a copy of all data of the account." in [each["sentence"] for each in history["entries"]]
    expect_problem(await service.client.get("/admin/accounts/nobodys/export", headers=headers), 404, "not_found")


async def test_mail_that_waits_is_seen_retried_and_dropped(service: Service) -> None:
    """Not that to an administrator by a credential: a thief of one must not hide what it does."""
    auth = await service.credential("admin")
    admin, headers = await service.administrator()
    ada = await service.account("ada@example.com")
    letters = Letters(load_master_secret(service.running.settings))
    outbox = Outbox(letters, way="smtp", confirms_sign_up=True, notices=frozenset(MAIL_KINDS))
    for account in (ada, admin):
        await service.running.store.transact(
            lambda rows, account=account: Notices(outbox).tell(rows, account, PasswordChanged(), service.caller)  # type: ignore[misc]
        )
    mails = (await service.client.get("/admin/mails", auth=auth)).json()
    assert {each["to"]: each["kind"] for each in mails["mails"]} == dict.fromkeys((ada.email, admin.email), "password_changed")
    assert not mails["more"]
    assert (await service.client.get("/admin/mails?limit=1", auth=auth)).json()["more"]
    failed = a_mail(account=None, created_at_ms=service.clock(), next_at_ms=service.clock() + 60_000, error="refused")
    await service.running.store.transact(lambda rows: rows.mails.insert(failed))
    assert (await service.client.post("/admin/mails/retry", auth=auth)).json() == {"retried": 1}
    ids = {each["to"]: each["id"] for each in mails["mails"]}
    refused = await service.client.delete(f"/admin/mails/{ids[admin.email]}", auth=auth)
    expect_problem(refused, 403, "administrator_protected")
    expect_problem(
        await service.client.delete(f"/admin/mails/{ids[admin.email]}", headers=headers), 403, "administrator_protected"
    )
    assert (await service.client.delete(f"/admin/mails/{ids[ada.email]}", auth=auth)).status_code == 204
    expect_problem(await service.client.delete(f"/admin/mails/{ids[ada.email]}", auth=auth), 404, "not_found")
    assert [each.kind for each in await service.events() if each.operator] == ["mails_retried", "mail_dropped"]


async def test_receivers_of_the_audit_trail_are_shown(service: Service) -> None:
    """How far each is, and since when events wait for it."""
    auth = await service.credential("admin")
    assert (await service.client.get("/admin/receivers", auth=auth)).json() == {"receivers": []}
    target = Target("an id", "siem.example.com", "https://siem.example.com/hook")
    service.running.auditing.targets = (target,)
    (shown,) = (await service.client.get("/admin/receivers", auth=auth)).json()["receivers"]
    assert (shown["name"], shown["configured"], shown["sentTo"], shown["lost"]) == ("siem.example.com", True, 0, 0)
    assert shown["waitingSince"] is not None


async def test_credentials_are_made_once_and_give_no_more_power(service: Service) -> None:
    """One that administers is made and removed by people only. A name that is taken or wrong is named."""
    auth = await service.credential("admin")
    _, headers = await service.administrator()
    made = await service.client.post("/admin/credentials", json={"name": "orders"}, auth=auth)
    assert (made.status_code, made.json()["scopes"]) == (201, ["read"])
    pair = httpx.BasicAuth(made.json()["id"], made.json()["secret"])
    assert (await service.client.get("/revocations?wait=0", auth=pair)).status_code == 200
    for name in ("orders", "no name"):
        answer = await service.client.post("/admin/credentials", json={"name": name}, auth=auth)
        assert [each["name"] for each in expect_problem(answer, 422, "invalid_request")["fields"]] == ["name"]
    more = {"name": "more", "scopes": ["read", "admin"]}
    refused = await service.client.post("/admin/credentials", json=more, auth=auth)
    expect_problem(refused, 403, "administrator_protected")
    assert (await service.client.post("/admin/credentials", json=more, headers=headers)).status_code == 201
    listed = (await service.client.get("/admin/credentials", auth=auth)).json()["credentials"]
    assert {"orders", "more"} < {each["name"] for each in listed}
    assert made.json()["secret"] not in str(listed)
    other = next(each["id"] for each in listed if each["name"] == "more")
    expect_problem(await service.client.delete(f"/admin/credentials/{other}", auth=auth), 403, "administrator_protected")
    assert (await service.client.delete(f"/admin/credentials/{other}", headers=headers)).status_code == 204
    assert (await service.client.delete(f"/admin/credentials/{made.json()['id']}", auth=auth)).status_code == 204
    expect_problem(await service.client.get("/revocations?wait=0", auth=pair), 401, "invalid_client")
    expect_problem(await service.client.delete("/admin/credentials/nobodys", auth=auth), 404, "not_found")
    by_operator = [each.kind for each in await service.events() if each.operator]
    assert by_operator == ["credential_added", "credential_added", "credential_removed", "credential_removed"]


async def test_keys_are_rotated_retired_and_voided(service: Service) -> None:
    """Each is recorded with who did it, and the tokens of a voided key are refused."""
    auth = await service.credential("admin")
    ada = await service.account("ada@example.com")
    token = (await service.sign_in(ada)).access_token
    (first,) = (await service.client.get("/admin/keys", auth=auth)).json()["keys"]
    assert first["state"] == "active"
    assert (await service.client.post("/admin/keys", auth=auth)).status_code == 204
    keys = (await service.client.get("/admin/keys", auth=auth)).json()["keys"]
    assert sorted(key["state"] for key in keys) == ["active", "published"]
    new = next(key["kid"] for key in keys if key["state"] == "published")
    assert (await service.client.post(f"/admin/keys/{new}/retire", auth=auth)).status_code == 204
    assert (await service.client.post(f"/admin/keys/{first['kid']}/void", auth=auth)).status_code == 204
    expect_problem(await service.client.get("/profile", headers={"authorization": f"Bearer {token}"}), 401, "invalid_token")
    for word in ("retire", "void"):
        expect_problem(await service.client.post(f"/admin/keys/nobodys/{word}", auth=auth), 404, "not_found")
    by_operator = [each.kind for each in await service.events() if (each.operator or "").startswith("credential:")]
    assert by_operator == ["key_added", "key_removed", "key_voided", "key_added"]
