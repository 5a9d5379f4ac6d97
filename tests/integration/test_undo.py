"""What the links of mails undo when a thief has used an account: the person is in sole control again, and keeps their own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import msgspec
import pyotp
import pytest

from handstamp.domain.identity import Identity
from handstamp.domain.mail import ResetPassword, SecondFactorChanged
from handstamp.domain.policy import DAY_MS
from handstamp.storage.postgres.store import PostgresStore
from tests.authenticator import Authenticator
from tests.builders import SECOND_MS
from tests.deployment import caller
from tests.integration.helpers import expect_problem
from tests.integration.test_change_email import EVE, EVE_TOO, Person, a_person
from tests.integration.test_second_factor import a_person as an_owner
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


async def undo_by(service: Mailed, link: str, path: str = "/email/change/undo") -> httpx.AsyncClient:
    """Use the link of a mail, in a client of its reader, which is returned."""
    service.clock.advance(ms=1)  # so that mails have an order
    client = await service.program()
    answer = await client.post(path, json={"token": token_in(link)})
    assert answer.status_code == 204, answer.text
    return client


async def choose_password(service: Mailed, client: httpx.AsyncClient, email: str = ADA) -> httpx.Response:
    """Choose a new password with the newest mail of an address, and sign in with it."""
    resets = [
        each.content.link for each in await service.letters() if each.to == email and isinstance(each.content, ResetPassword)
    ]
    reset = token_in(resets[-1])
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


async def undo_links(service: Mailed, to: str = ADA) -> list[str]:
    """Return the links of the mails about new ways to sign in, in the order in which they were written."""
    told = [letter.content for letter in await service.letters() if letter.to == to]
    return [content.undo_link for content in told if isinstance(content, SecondFactorChanged) and content.undo_link]


async def sessions_of(service: Mailed) -> int:
    """Return how many sessions live."""
    found, _ = await service.deployment.sessions.list_all(None, caller(service.clock))
    return len(found)


@pytest.mark.parametrize(("store", "first"), [("sqlite", "totp"), ("sqlite", "passkey"), ("postgres", "passkey")])
async def test_a_thief_with_the_password_does_not_keep_the_account(
    tmp_path: Path, store: str, first: str, request: pytest.FixtureRequest
) -> None:
    """A new password does not help against a factor of the thief. The link of its mail removes all that the thief has added."""
    async with a_service(tmp_path, store, request) as service:
        thief = Keys(await a_person(service, ip="198.51.100.7"))
        await thief.add(first)
        (undo,) = await undo_links(service)
        for kind in {"totp", "passkey", "recovery_codes", "identity"} - {first}:
            await thief.add(kind)
        assert len(await undo_links(service)) == 1, "later factors needed the first one"
        await thief.person.post("/password", currentPassword=PASSWORD, newPassword=NEW + "!")
        service.clock.advance(ms=6 * DAY_MS)

        owner = await undo_by(service, undo, "/factors/undo")
        assert await ways_of(service) == set()
        assert await sessions_of(service) == 0
        assert (await thief.sign_in_by_passkey()).status_code == 422
        for password in (PASSWORD, NEW + "!"):
            assert (await owner.post("/login", json={"email": ADA, "password": password})).status_code == 401
        assert "accessToken" in (await choose_password(service, owner)).json()
        expect_problem(await owner.post("/factors/undo", json={"token": token_in(undo)}), 422, "invalid_code")
        history = await service.deployment.histories.of(ADA, caller(service.clock))
        assert "a new way to sign in was not theirs" in " ".join(entry.sentence for entry in history.entries)


async def test_the_link_brings_the_address_back(tmp_path: Path) -> None:
    """The mail for a new password goes to the mailbox of the link, and no link of the thief's later mailboxes counts."""
    async with mailed(tmp_path) as service:
        thief = Keys(await a_person(service, ip="198.51.100.7"))
        await thief.add("totp")
        (undo,) = await undo_links(service)
        await thief.person.change(EVE)
        await thief.right("/login/step-up", {"code": thief.code()})
        assert (await thief.person.client.delete("/totp")).status_code == 204
        await thief.add("passkey")
        (of_thief,) = await undo_links(service, EVE)
        back = await thief.person.change(EVE_TOO)

        owner = await undo_by(service, undo, "/factors/undo")
        assert (await account_of(service)).email == ADA
        assert (await ways_of(service), await sessions_of(service)) == (set(), 0)
        for path, link in (("/factors/undo", of_thief), ("/email/change/undo", back)):
            expect_problem(await owner.post(path, json={"token": token_in(link)}), 422, "invalid_code")
        resets = [letter.to for letter in await service.letters() if isinstance(letter.content, ResetPassword)]
        assert resets == [ADA]
        assert "accessToken" in (await choose_password(service, owner)).json()


async def test_the_mailbox_alone_drops_no_older_factor(tmp_path: Path) -> None:
    """Only the first factor of an account is told with a link, for seven days. Then a mailbox is not enough any more."""
    async with mailed(tmp_path) as service:
        owner = Keys(await a_person(service))
        await owner.add("totp")
        (undo,) = await undo_links(service)
        await owner.return_after(7)
        for kind in ("totp", "passkey", "recovery_codes"):
            service.clock.advance(seconds=30)
            await owner.add(kind)
        assert await undo_links(service) == [undo]
        thief = await service.program("198.51.100.7")
        expect_problem(await thief.post("/factors/undo", json={"token": token_in(undo)}), 422, "invalid_code")
        expect_problem(await thief.post("/email/change/undo", json={"token": token_in(undo)}), 422, "invalid_code")
        assert await ways_of(service) == {"password", "totp", "passkey", "recovery_codes"}


@pytest.mark.parametrize(
    ("settings", "is_verified", "kinds"),
    [
        ({"mail_notices": "none"}, True, ["second_factor_changed"]),
        ({}, False, ["second_factor_changed", "second_factor_changed"]),
    ],
)
async def test_which_mails_are_sent(tmp_path: Path, settings: dict[str, Any], is_verified: bool, kinds: list[str]) -> None:
    """The one with a link always, others as the settings say. An address that nobody has proved gets no link."""
    async with mailed(tmp_path) as first:
        await a_person(first, verified=is_verified)
        before = {mail.id for mail in await first.deployment.store.read(lambda rows: rows.mails.list_newest(limit=99))}
    async with mailed(tmp_path, **settings) as service:
        keys = Keys(await a_person(service))
        await keys.add("totp")
        await keys.add("passkey")
        mails = await service.deployment.store.read(lambda rows: rows.mails.list_newest(limit=99))
        assert [mail.kind for mail in mails if mail.id not in before] == kinds
        account = await account_of(service)
        grants = await service.deployment.store.read(lambda rows: rows.one_time.list_of(account.id, limit=9))
        assert [grant.purpose for grant in grants].count("undo_factor") == is_verified


async def test_without_mail_there_is_no_link(tmp_path: Path) -> None:
    """No row is written that no mail could ever tell of."""
    async with an_owner(tmp_path, enrolled=False) as ada:
        store, before = ada.running.store, await ada.running.accounts.get_by_email(ADA)
        await store.transact(lambda rows: rows.accounts.update(msgspec.structs.replace(before, email_verified=True)))
        await ada.enrol((await ada.login())["accessToken"])
        assert await store.read(lambda rows: rows.one_time.list_of(before.id, limit=9)) == []
        expect_problem(await ada.post("/factors/undo", {"token": "A" * 43}), 404, "not_found")


async def test_the_page_undoes_without_script(tmp_path: Path) -> None:
    """It says what will happen, and its button does it, once, in any browser; another site's page cannot press it."""
    async with mailed(tmp_path) as service:
        thief = Keys(await a_person(service, ip="198.51.100.7"))
        await thief.add("passkey")
        (undo,) = await undo_links(service)
        owner = await service.browser()
        page = await owner.get(undo.removeprefix(ORIGIN))
        assert page.status_code == 200
        for wanted in (ADA, "That was not me: undo it", "the password is removed", "passkeys and recovery codes"):
            assert wanted in page.text
        form = {"token": token_in(undo)}
        foreign = await owner.post(
            "/undo-factor", data=form, headers={"sec-fetch-site": "cross-site", "origin": "https://eve.example"}
        )
        assert foreign.status_code == 403
        assert "passkey" in await ways_of(service), "nothing was used up so far"
        done = await owner.post("/undo-factor", data=form)
        assert "It is undone" in done.text
        assert await ways_of(service) == set()
        assert (await owner.post("/undo-factor", data=form)).status_code == 422
        assert (await owner.get(undo.removeprefix(ORIGIN))).status_code == 422


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_whatever_the_thief_does_at_the_same_moment(tmp_path: Path, store: str, request: pytest.FixtureRequest) -> None:
    """On two nodes: more factors, a sign-in, a new password and the link itself, twice. Nothing of the thief is left."""
    async with AsyncExitStack() as stack:
        database = f"sqlite:///{tmp_path}/handstamp.db"
        if store == "postgres":
            database = await stack.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
        settings: dict[str, Any] = {"database": database, "secret": secrets.token_urlsafe(32), "has_real_clock": True}
        nodes = [await stack.enter_async_context(mailed(tmp_path, **settings)) for _ in range(2)]
        thief = Keys(await a_person(nodes[0], ip="198.51.100.7"))
        await thief.add("passkey")
        (undo,) = await undo_links(nodes[0])
        more = []
        for _ in range(4):
            device, begun = Authenticator(ORIGIN), await thief.right("/passkeys/options", {})
            proof = {"passkeyChallenge": begun["challenge"], "ticket": begun.get("ticket")}
            more.append(proof | {"passkey": device.make(begun["publicKey"])})
        owners = [await node.program() for node in nodes]
        owner, client = owners[1], thief.person.client
        answers = await asyncio.gather(
            *(each.post("/factors/undo", json={"token": token_in(undo)}) for each in owners),
            *(client.post("/passkeys", json=body) for body in more),
            thief.sign_in_by_passkey(),
            client.post("/password", json={"currentPassword": PASSWORD, "newPassword": NEW + "!"}),
        )
        assert sorted(answer.status_code for answer in answers[:2]) == [204, 422]
        assert await ways_of(nodes[1]) == set()
        assert await sessions_of(nodes[1]) == 0
        assert "accessToken" in (await choose_password(nodes[1], owner)).json()
        assert (await client.post("/passkeys/options", json={})).status_code == 401
