"""Every way in is held by the gate for second factors: by mail, after a reset, in any order."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest

from handstamp.domain.attempt import MAX_TRIES
from handstamp.domain.factor import Factors
from handstamp.service.parts.caller import Caller
from handstamp.storage.sql.factors import SqlFactors
from tests.builders import SECOND_MS
from tests.deployment import caller
from tests.integration.helpers import expect_problem, read_claims
from tests.integration.test_change_email import Person, a_person
from tests.integration.test_second_factor import a_person as an_owner
from tests.mailed import PASSWORD, Mailed, mailed, token_in
from tests.postgres import fresh_database

pytestmark = pytest.mark.anyio
ADA = "ada@example.com"
NEW = "another sentence, hers alone"
KEY = {"idempotency-key": "a-key-of-sixteen-or-more"}


class App:
    """An authenticator app of the account."""

    def __init__(self, service: Mailed) -> None:
        """Create it without a secret."""
        self.service, self.secret = service, ""

    def code(self) -> str:
        """Let half a minute pass, and return the code."""
        self.service.clock.advance(seconds=30)
        return pyotp.TOTP(self.secret).at(self.service.clock() // SECOND_MS)

    async def add(self, person: Person) -> None:
        """Add it in a session."""
        begun = (await person.client.post("/totp", json={})).json()
        self.secret = begun["secret"].replace(" ", "")
        body = {"enrolment": begun["enrolment"], "code": self.code()}
        assert (await person.client.post("/totp/confirm", json=body)).status_code == 200


async def sessions_of(service: Mailed) -> int:
    """Return how many sessions live."""
    found, _ = await service.deployment.sessions.list_all(None, caller(service.clock))
    return len(found)


async def complete(client: httpx.AsyncClient, first: httpx.Response, **answer: str) -> httpx.Response:
    """Send the second step of a sign-in that needs one."""
    found: dict[str, Any] = first.json()
    assert first.status_code == 200, first.text
    assert "accessToken" not in found
    assert "handstamp-refresh" not in first.headers.get("set-cookie", "")
    body = {"challenge": found["challenge"], "ticket": found.get("ticket")} | answer
    return await client.post("/login/second-factor", json=body)


@pytest.mark.parametrize("by", ["code", "link"])
async def test_a_mail_is_one_factor(tmp_path: Path, by: str) -> None:
    """The mail alone begins no session and is used up; with the app both are in the token."""
    async with mailed(tmp_path, sign_in_by_code="on") as service:
        app, ada = App(service), await a_person(service)
        await app.add(ada)
        before = await sessions_of(service)
        browser = await service.browser()
        service.clock.advance(ms=1)  # so that mails have an order
        assert (await browser.post("/login/code", json={"email": ADA})).status_code == 202
        mail = await service.content(ADA)
        proof = {"code": mail.code} if by == "code" else {"token": token_in(mail.link)}
        first = await browser.post("/login/code/confirm", json=proof | {"delivery": "json"})
        assert await sessions_of(service) == before
        again = await browser.post("/login/code/confirm", json=proof | {"delivery": "json"})
        expect_problem(again, 422, "invalid_code")
        answer = await complete(browser, first, code=app.code())
        assert answer.status_code == 200, answer.text
        claims = read_claims(answer.json()["accessToken"])
        assert (claims["acr"], claims["amr"][-1]) == ("mfa", "mfa")
        assert await sessions_of(service) == before + 1


async def test_a_repeat_of_the_first_step_ends_with_all_sessions(tmp_path: Path) -> None:
    """A lost answer to the code of a mail is repeated, but not past a change that ends all sessions."""
    async with mailed(tmp_path, sign_in_by_code="on") as service:
        app, ada = App(service), await a_person(service)
        await app.add(ada)
        browser = await service.browser()
        service.clock.advance(ms=1)  # so that mails have an order
        await browser.post("/login/code", json={"email": ADA})
        body = {"code": (await service.content(ADA)).code, "delivery": "json"}
        answers = [await browser.post("/login/code/confirm", json=body, headers=KEY) for _ in range(2)]
        assert ["challenge" in answer.json() for answer in answers] == [True, True]
        account = await service.deployment.accounts.get_by_email(ADA)
        await service.deployment.sign_out.end_all(account.id, caller(service.clock))
        expect_problem(await browser.post("/login/code/confirm", json=body, headers=KEY), 422, "invalid_code")
        expect_problem(await complete(browser, answers[1], code=app.code()), 422, "invalid_challenge")


async def test_a_reset_keeps_the_factor(tmp_path: Path) -> None:
    """It ends the sessions and begins none, and the new password alone does not sign in."""
    async with mailed(tmp_path) as service:
        app, ada = App(service), await a_person(service)
        await app.add(ada)
        await ada.post("/password/reset", email=ADA)
        reset = token_in((await service.content(ADA)).link)
        assert (await ada.post("/password/reset/confirm", token=reset, newPassword=NEW)).status_code == 204
        assert await sessions_of(service) == 0
        client = await service.program()
        first = await client.post("/login", json={"email": ADA, "password": NEW})
        assert first.json()["methods"] == ["totp", "recovery_code"]
        assert (await complete(client, first, code=app.code())).status_code == 200


async def test_a_factor_of_the_sign_in_that_is_removed_completes_nothing(tmp_path: Path) -> None:
    """Also where it was just added, which counts as its proof."""
    async with an_owner(tmp_path, enrolled=False, second_factor="required") as ada:
        first = await ada.login()
        held = {"challenge": first["challenge"], "ticket": first["ticket"]}
        begun = (await ada.post("/totp", held)).json()
        code = pyotp.TOTP(begun["secret"].replace(" ", "")).at(ada.clock() // SECOND_MS)
        assert (await ada.post("/totp/confirm", held | {"enrolment": begun["enrolment"], "code": code})).status_code == 200
        account = await ada.running.accounts.get_by_email("ada@example.com")
        await ada.running.store.transact(lambda rows: rows.totp.delete(account.id))
        expect_problem(await ada.complete(first), 422, "invalid_challenge")
        assert await ada.count_sessions() == 0


async def test_what_the_gate_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-in reads the factors once; renewals, profiles and the list of sessions never do."""
    reads: list[str] = []
    get = SqlFactors.get

    async def count(self: SqlFactors, account_id: str) -> Factors:
        reads.append(account_id)
        return await get(self, account_id)

    monkeypatch.setattr(SqlFactors, "get", count)
    async with an_owner(tmp_path, enrolled=False) as ada:
        tokens = await ada.login()
        assert len(reads) == 1
        renewed = (await ada.post("/refresh", {"refreshToken": tokens["refreshToken"]})).json()
        for path in ("/profile", "/sessions"):
            answer = await ada.client.get(path, headers={"authorization": f"Bearer {renewed['accessToken']}"})
            assert answer.status_code == 200, answer.text
        assert len(reads) == 1


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_fifty_connections_get_five_codes_looked_at(tmp_path: Path, store: str, request: pytest.FixtureRequest) -> None:
    """On two nodes at once. Afterwards the right code gets nothing either, and a new sign-in gets as far as before."""
    async with AsyncExitStack() as stack:
        database = f"sqlite:///{tmp_path}/handstamp.db"
        if store == "postgres":
            database = await stack.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
        settings: dict[str, Any] = {"database": database, "secret": secrets.token_urlsafe(32), "has_real_clock": True}
        nodes = [await stack.enter_async_context(mailed(tmp_path, **settings)) for _ in range(2)]
        await nodes[0].deployment.create_account(ADA, PASSWORD, Caller(now_ms=now_ms()))
        ada = Person(nodes[0], await nodes[0].program())
        await ada.sign_in()
        begun = (await ada.client.post("/totp", json={})).json()
        code = pyotp.TOTP(begun["secret"].replace(" ", "")).at(now_ms() // SECOND_MS)
        body = {"enrolment": begun["enrolment"], "code": code}
        assert (await ada.client.post("/totp/confirm", json=body)).status_code == 200
        clients = [await node.program() for node in nodes]
        first = await clients[0].post("/login", json={"email": ADA, "password": PASSWORD})
        wrong = [f"{(int(code) + 1 + number) % 1_000_000:06}" for number in range(50)]
        refused = await asyncio.gather(*(complete(clients[number % 2], first, code=wrong[number]) for number in range(50)))
        looked_at = [answer for answer in refused if answer.json()["code"] != "invalid_challenge"]
        assert len(looked_at) == MAX_TRIES
        assert {answer.json()["code"] for answer in looked_at} <= {"invalid_code", "too_many_attempts"}
        expect_problem(await complete(clients[1], first, code=code), 422, "invalid_challenge")
        assert "challenge" in (await clients[0].post("/login", json={"email": ADA, "password": PASSWORD})).json()
        living, _ = await nodes[0].deployment.sessions.list_all(None, Caller(now_ms=now_ms()))
        assert len(living) == 1


def now_ms() -> int:
    """Return the time of this machine, which is that of both nodes."""
    return time.time_ns() // 1_000_000
