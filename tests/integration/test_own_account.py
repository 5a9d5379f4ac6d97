"""What people do with their own account: sign in without having a password, change the name, export their data, and delete it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.domain.account import Account
from handstamp.domain.event import Event
from handstamp.domain.session import FRESH_MS, Session, revoke
from handstamp.errors import InvalidCredentials, TooManyAttempts, Unavailable
from handstamp.service.accounts.own_data import PAGE_SIZE
from handstamp.storage.store import Rows, Transaction
from handstamp.web.api.own_data import ExportAnswer
from tests.builders import NOW_MS, Clock, a_session
from tests.deployment import ISSUER, caller, deployed
from tests.integration.helpers import expect_ended, expect_problem

pytestmark = pytest.mark.anyio
EMAIL, PASSWORD = "ada@example.com", "kelp lantern rivet 41 of the tests"


class Person:
    """A person who is signed in, and the service in this process."""

    def __init__(self, running: Deployment, clock: Clock, client: httpx.AsyncClient) -> None:
        """Use a client of the service."""
        self.running, self.clock, self.client = running, clock, client

    async def sign_in(self, email: str = EMAIL) -> None:
        """Create an account, if there is none, and sign in."""
        await self.client.post("/register", json={"email": email, "password": PASSWORD, "name": "Ada Lovelace"})
        answer = await self.client.post("/login", json={"email": email, "password": PASSWORD})
        self.tokens: dict[str, Any] = answer.json()
        self.client.headers["authorization"] = f"Bearer {self.tokens['accessToken']}"

    async def account(self) -> Account:
        """Return the account."""
        return await self.running.accounts.get_by_email(EMAIL)


@asynccontextmanager
async def a_person(folder: Path, **settings: object) -> AsyncIterator[Person]:
    """Run the service, and sign a person in."""
    clock = Clock()
    async with (
        deployed(folder, clock, **settings) as running,
        httpx.AsyncClient(transport=httpx.ASGITransport(make_application(running)), base_url=ISSUER) as client,
    ):
        person = Person(running, clock, client)
        await person.sign_in()
        yield person


@pytest.mark.parametrize("guess", [PASSWORD, "another sentence, hers alone"])
async def test_no_password_opens_an_account_without_one(tmp_path: Path, guess: str) -> None:
    """The guess is hashed, counted and refused like a wrong password, until the account has to wait."""
    clock = Clock()
    async with deployed(tmp_path, clock) as running:
        account = await running.create_account(EMAIL, PASSWORD, caller(clock))
        without = msgspec.structs.replace(account, password_hash="")
        await running.store.transact(lambda rows: rows.accounts.update(without))
        hashed: list[str | None] = []
        hasher = running.hashing._hasher
        matches = hasher.matches

        def watch(password_hash: str | None, password: str) -> bool:
            hashed.append(password_hash)
            return matches(password_hash, password)

        hasher.matches = watch  # type: ignore[method-assign]
        for _ in range(5):
            with pytest.raises(InvalidCredentials):
                await running.sign_in(EMAIL, guess, delivery="json", caller=caller(clock))
        assert hashed == [""] * 5
        with pytest.raises(TooManyAttempts):
            await running.sign_in(EMAIL, guess, delivery="json", caller=caller(clock))
        assert await running.sessions.list_all(None, caller(clock)) == ([], False)


async def test_a_person_changes_the_name(tmp_path: Path) -> None:
    """The answer and the account have the normalised name. A wrong one is refused by name of the field, and changes nothing."""
    async with a_person(tmp_path) as ada:
        answer = await ada.client.post("/profile", json={"name": " Ada  King "})
        assert (answer.status_code, answer.json()["name"]) == (200, "Ada King")
        refused = await ada.client.post("/profile", json={"name": "Ada\r\nBcc: all@example.com"})
        assert [field["name"] for field in expect_problem(refused, 422, "invalid_request")["fields"]] == ["name"]
        assert (await ada.client.get("/profile")).json()["name"] == "Ada King"
        await ada.client.post("/profile", json={"name": "Ada King"})
        events = await list_events(ada.running, (await ada.account()).id)
        assert [(event.kind, event.detail) for event in events if event.kind == "profile_changed"] == [("profile_changed", {})]
        assert (await ada.client.post("/profile", json={"name": ""})).json()["name"] == ""


async def test_an_export_has_every_column_but_secrets(tmp_path: Path) -> None:
    """Each field of each struct that is stored about a person is in the export, also a field that is added later."""
    async with a_person(tmp_path) as ada:
        account = await ada.account()
        with pytest.raises(InvalidCredentials):
            await ada.running.sign_in(EMAIL, "not the password of Ada", delivery="json", caller=caller(ada.clock))
        answer = await ada.client.get("/me/export")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-disposition"] == 'attachment; filename="my-data.json"'
        data = answer.json()
        assert data["id"] == account.id
        assert data.keys() == {field.encode_name for field in msgspec.structs.fields(ExportAnswer)}
        assert data["account"][0].keys() == columns_of(Account) - {"passwordHash"} | {"hasPassword"}
        assert (data["account"][0]["email"], data["account"][0]["name"]) == (EMAIL, "Ada Lovelace")
        assert data["sessions"][0].keys() == columns_of(Session)
        assert [event["kind"] for event in data["events"]] == ["account_created", "signed_in", "data_exported"]
        assert data["events"][0].keys() == columns_of(Event)
        assert [count["consecutive"] for count in data["failedSignIns"]] == [1, 1]
        assert (data["mails"], data["links"]) == ([], [])
        for secret in (account.password_hash, ada.tokens["accessToken"], ada.tokens["refreshToken"], "argon2"):
            assert secret not in answer.text


def columns_of(struct: type[msgspec.Struct]) -> set[str]:
    """Return the names that a struct's fields have in an export."""
    names = [name.removesuffix("_ms") if name.endswith("_at_ms") else name for name in struct.__struct_fields__]
    return {camel(name) for name in names}


def camel(name: str) -> str:
    """Return a name in camel case."""
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


async def test_a_long_export_is_sent_piece_by_piece(tmp_path: Path) -> None:
    """It has every row once, also those of ended sessions, and other requests get their turn between the pieces."""
    async with a_person(tmp_path) as ada:
        account = await ada.account()
        ids = {f"sid-{number:03}" for number in range(3 * PAGE_SIZE)}

        async def add(rows: Transaction) -> None:
            for number, sid in enumerate(sorted(ids)):
                session = a_session(id=sid, subject=account.id, epoch=0, ip=f"192.0.{number % 7}.1")
                await rows.sessions.insert(revoke(session, "logout", NOW_MS) if number % 2 else session)
                await rows.events.insert(Event(at_ms=NOW_MS + number, kind="signed_in", subject=account.id, sid=sid))

        await ada.running.store.transact(add)
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        others = asyncio.create_task(take_turns())
        pieces = []
        async with ada.client.stream("GET", "/me/export") as answer:
            pieces = [piece async for piece in answer.aiter_raw()]
        others.cancel()
        data = json.loads(b"".join(pieces))
        assert sorted(session["id"] for session in data["sessions"]) == sorted([*ids, ada.tokens["sessionId"]])
        assert [event["sid"] for event in data["events"][2:-1]] == sorted(ids)  # then the export itself
        assert turns >= 6


async def test_an_export_that_fails_half_way_does_not_look_complete(tmp_path: Path) -> None:
    """The rest is missing and the connection is cut, so that nobody takes it for all the data."""
    async with a_person(tmp_path) as ada:
        read = ada.running.store.read
        calls = 0

        async def fail_later(work: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise Unavailable("the disk is gone")
            return await read(work)

        ada.running.store.read = fail_later  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await ada.client.get("/me/export")


@pytest.mark.parametrize(("method", "path"), [("GET", "/me/export"), ("POST", "/me/delete")])
async def test_what_changes_hands_needs_a_fresh_sign_in(tmp_path: Path, method: str, path: str) -> None:
    """A session that began some time ago goes on and is told to sign in again (RFC 9470 §3)."""
    async with a_person(tmp_path) as ada:
        body = {"email": EMAIL} if method == "POST" else None
        ada.clock.advance(ms=FRESH_MS)
        refused = await ada.client.request(method, path, json=body)
        expect_problem(refused, 401, "insufficient_user_authentication")
        assert refused.headers["www-authenticate"] == ('Bearer error="insufficient_user_authentication", max_age="600"')
        assert "set-cookie" not in refused.headers
        assert (await ada.client.get("/profile")).status_code == 200
        await ada.sign_in()
        assert (await ada.client.request(method, path, json=body)).status_code in {200, 204}


async def test_a_deleted_account_leaves_its_id_alone(tmp_path: Path) -> None:
    """Rows, sessions and counts are gone, verifiers are told, and the trail has the id. The address can be registered anew."""
    async with a_person(tmp_path) as ada:
        await ada.sign_in("bob@example.com")
        bob = ada.tokens
        await ada.sign_in()
        with pytest.raises(InvalidCredentials):
            await ada.running.sign_in(EMAIL, "not the password of Ada", delivery="json", caller=caller(ada.clock))
        account, throttling = await ada.account(), ada.running.throttling
        wrong = await ada.client.post("/me/delete", json={"email": "bob@example.com"})
        assert [field["name"] for field in expect_problem(wrong, 422, "invalid_request")["fields"]] == ["email"]
        assert (await ada.client.post("/me/delete", json={"email": " ADA@example.com"})).status_code == 204

        assert await ada.running.store.transact(lambda rows: throttling.forget(rows, EMAIL)) == 0
        assert (await ada.client.get("/profile")).status_code == 401
        expect_problem(await ada.client.post("/login", json={"email": EMAIL, "password": PASSWORD}), 401, "invalid_credentials")
        left = await ada.running.store.read(lambda rows: list_rows_of(rows, account))
        assert left == ([], [], ["account_created", "signed_in", "signed_in", "account_deleted"])
        last = (await list_events(ada.running, account.id))[-1]
        assert (last.actor, last.user_agent.partition("/")[0]) == ("person", "python-httpx")
        revoked = await ada.running.store.read(lambda rows: rows.revocations.list_since(0, limit=9))
        assert ada.tokens["sessionId"] in {entry.name for entry in revoked}
        again = await ada.client.post("/register", json={"email": EMAIL, "password": PASSWORD})
        assert again.json()["user"]["id"] != account.id
        ada.client.headers["authorization"] = f"Bearer {bob['accessToken']}"
        assert (await ada.client.get("/profile")).status_code == 200


async def test_an_account_with_many_sessions_is_deleted_as_well(tmp_path: Path) -> None:
    """All rows are gone when the answer arrives."""
    async with a_person(tmp_path) as ada:
        account = await ada.account()

        async def add(rows: Transaction) -> None:
            for number in range(250):
                await rows.sessions.insert(a_session(id=f"sid-{number}", subject=account.id, epoch=0))

        await ada.running.store.transact(add)
        assert (await ada.client.post("/me/delete", json={"email": EMAIL})).status_code == 204
        left = await ada.running.store.read(lambda rows: rows.sessions.list_all_of(account.id, after=("", ""), limit=999))
        assert left == []


async def test_an_ended_session_deletes_nothing(tmp_path: Path) -> None:
    """A thief whose session was ended has no minute left."""
    async with a_person(tmp_path) as ada:
        await ada.running.sign_out.end_all((await ada.account()).id, caller(ada.clock))
        expect_ended(await ada.client.post("/me/delete", json={"email": EMAIL}), "logout_everywhere")
        assert (await ada.client.post("/login", json={"email": EMAIL, "password": PASSWORD})).status_code == 200


async def list_events(running: Deployment, account_id: str) -> list[Event]:
    """Return the events of an account."""
    return await running.store.read(lambda rows: rows.events.list_about(account_id, limit=99))


async def list_rows_of(rows: Rows, account: Account) -> tuple[list[Session], list[object], list[str]]:
    """Return what is stored about an account."""
    sessions = await rows.sessions.list_all_of(account.id, after=("", ""), limit=99)
    events = await rows.events.list_all_of(account.id, after=0, limit=99)
    found = [await rows.accounts.get(account.id), await rows.accounts.get_by_email(account.email)]
    return sessions, [each for each in found if each is not None], [event.kind for _, event in events]
