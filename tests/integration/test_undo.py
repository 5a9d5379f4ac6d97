"""What the links of mails undo when a thief has used an account: the person is in sole control again, and keeps their own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pyotp
import pytest

from handstamp.domain.identity import Identity
from handstamp.domain.policy import DAY_MS
from handstamp.storage.postgres.store import PostgresStore
from tests.authenticator import Authenticator
from tests.builders import SECOND_MS
from tests.integration.test_change_email import EVE, Person, a_person
from tests.mailed import ORIGIN, PASSWORD, Mailed, mailed, token_in
from tests.postgres import fresh_database

pytestmark = pytest.mark.anyio
ADA = "ada@example.com"
NEW = "another sentence, hers alone"


class Keys:
    """What a person or a thief adds to the account, and signs in with."""

    def __init__(self, person: Person) -> None:
        """Add nothing yet."""
        self.person, self.service = person, person.service
        self.app = pyotp.TOTP(pyotp.random_base32())
        self.device = Authenticator(ORIGIN)
        self.codes: list[str] = []

    def code(self) -> str:
        """Let half a minute pass, and return the code of the app."""
        self.service.clock.advance(seconds=30)
        return self.app.at(self.service.clock() // SECOND_MS)

    async def right(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request, which is accepted. Return its answer."""
        answer = await self.person.client.post(path, json=body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def add(self, kind: str) -> None:
        """Add an app, a passkey, new recovery codes or an identity at a provider."""
        await getattr(self, f"_add_{kind}")()

    async def _add_totp(self) -> None:
        begun = await self.right("/totp", {})
        self.app = pyotp.TOTP(begun["secret"].replace(" ", ""))
        made = await self.right("/totp/confirm", {"enrolment": begun["enrolment"], "code": self.code()})
        self.codes = made["recoveryCodes"] or self.codes

    async def _add_passkey(self) -> None:
        begun = await self.right("/passkeys/options", {})
        proof = {"passkeyChallenge": begun["challenge"], "ticket": begun.get("ticket")}
        made = await self.right("/passkeys", proof | {"passkey": self.device.make(begun["publicKey"])})
        self.codes = made["recoveryCodes"] or self.codes

    async def _add_recovery_codes(self) -> None:
        self.codes = (await self.right("/recovery-codes", {}))["recoveryCodes"]

    async def _add_identity(self) -> None:
        found, now_ms = await account_of(self.service), self.service.clock()
        identity = Identity(
            id=secrets.token_hex(8),
            issuer="https://google.example",
            subject=secrets.token_hex(8),
            account_id=found.id,
            provider="google",
            email=found.email,
            created_at_ms=now_ms,
            used_at_ms=now_ms,
        )
        assert await self.service.deployment.store.transact(lambda rows: rows.identities.insert(identity))

    async def return_after(self, days: int, way: str = "totp") -> None:
        """Let days pass, and sign in with what was added, which is a fresh proof."""
        self.service.clock.advance(ms=days * DAY_MS)
        if way == "totp":
            first = await self.right("/login", {"email": ADA, "password": PASSWORD})
            body = {"challenge": first["challenge"], "ticket": first["ticket"], "code": self.code()}
            tokens = await self.right("/login/second-factor", body)
        else:
            tokens = (await self.sign_in_by_passkey()).json()
        self.person.client.headers["authorization"] = f"Bearer {tokens['accessToken']}"

    async def sign_in_by_passkey(self) -> httpx.Response:
        """Sign in with the passkey alone."""
        client = await self.service.program()
        begun = (await client.post("/login/passkey/options", json={})).json()
        proof = {"challenge": begun["challenge"], "ticket": begun["ticket"], "passkey": self.device.use(begun["publicKey"])}
        return await client.post("/login/passkey", json=proof)


async def account_of(service: Mailed) -> Any:
    """Return the account, whatever its address."""
    (account,) = await service.deployment.accounts.list_page()
    return account


async def ways_of(service: Mailed) -> set[str]:
    """Return the kinds of what signs in to the account."""
    account = await account_of(service)

    async def read(rows: Any) -> set[str]:
        factors = await rows.factors.get(account.id)
        found = {
            "password": account.password_hash != "",
            "totp": factors.has_totp,
            "passkey": factors.passkeys > 0,
            "recovery_codes": len(await rows.recovery_codes.list_of(account.id)) > 0,
            "identity": len(await rows.identities.list_of(account.id)) > 0,
        }
        return {kind for kind, is_there in found.items() if is_there}

    return await service.deployment.store.read(read)


async def undo_by(service: Mailed, link: str) -> httpx.AsyncClient:
    """Use the link of a mail, in a client of its reader, which is returned."""
    service.clock.advance(ms=1)  # so that mails have an order
    client = await service.program()
    answer = await client.post("/email/change/undo", json={"token": token_in(link)})
    assert answer.status_code == 204, answer.text
    return client


async def choose_password(service: Mailed, client: httpx.AsyncClient, email: str = ADA) -> httpx.Response:
    """Choose a new password with the newest mail of an address, and sign in with it."""
    reset = token_in((await service.content(email)).link)
    answer = await client.post("/password/reset/confirm", json={"token": reset, "newPassword": NEW})
    assert answer.status_code == 204, answer.text
    return await client.post("/login", json={"email": email, "password": NEW})


async def _no_time(_: PostgresStore) -> None:
    """Return that the store has no clock of its own, as SQLite's has not."""


@asynccontextmanager
async def a_service(folder: Path, store: str, request: pytest.FixtureRequest) -> AsyncIterator[Mailed]:
    """Run a service with mail on one of the stores. Both have the clock of the test."""
    async with AsyncExitStack() as stack:
        database = f"sqlite:///{folder}/handstamp.db"
        if store == "postgres":
            stack.enter_context(patch.object(PostgresStore, "time", _no_time))
            database = await stack.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
        yield await stack.enter_async_context(mailed(folder, database=database, secret=secrets.token_urlsafe(32)))


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_what_a_thief_added_before_the_address_changed_goes(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    """An app, a passkey, recovery codes and an identity of the days before. The owner signs in with a new password alone."""
    async with a_service(tmp_path, store, request) as service:
        thief = Keys(await a_person(service, ip="198.51.100.7"))
        for kind in ("totp", "passkey", "recovery_codes", "identity"):
            await thief.add(kind)
        await thief.return_after(6)
        undo = await thief.person.change(EVE)
        assert await ways_of(service) == {"password", "totp", "passkey", "recovery_codes", "identity"}
        owner = await undo_by(service, undo)
        assert await ways_of(service) == set()
        assert "accessToken" in (await choose_password(service, owner)).json()
        assert (await thief.sign_in_by_passkey()).status_code == 422


@pytest.mark.parametrize("old", ["totp", "passkey"])
async def test_what_the_owner_had_long_before_stays(tmp_path: Path, old: str) -> None:
    """So the mailbox alone does not open the account. What the thief added goes, from before and after the change."""
    async with mailed(tmp_path) as service:
        person = await a_person(service)
        owner, thief = Keys(person), Keys(person)
        await owner.add(old)
        codes = owner.codes
        await owner.return_after(8, old)
        await thief.add("passkey")
        undo = await person.change(EVE)
        await Keys(person).add("passkey")
        await thief.add("identity")
        browser = await undo_by(service, undo)
        assert await ways_of(service) == {old, "recovery_codes"}
        assert (await thief.sign_in_by_passkey()).status_code == 422
        first = (await choose_password(service, browser)).json()
        assert old in first["methods"]
        body = {"challenge": first["challenge"], "ticket": first["ticket"], "recoveryCode": codes[0]}
        assert (await browser.post("/login/second-factor", json=body)).status_code == 200


async def test_recovery_codes_that_a_thief_made_anew_go(tmp_path: Path) -> None:
    """The owner's app is older and stays; the codes on the thief's paper are void."""
    async with mailed(tmp_path) as service:
        owner = Keys(await a_person(service))
        await owner.add("totp")
        await owner.return_after(8)
        await owner.add("recovery_codes")
        undo = await owner.person.change(EVE)
        await undo_by(service, undo)
        assert await ways_of(service) == {"totp"}
