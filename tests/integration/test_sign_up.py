"""Signing up with mail: no account before the mailbox is proven, and the same answer and work for every address."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.crypto.passwords import PasswordHasher
from handstamp.domain.account import Account
from handstamp.domain.mail import kind_of
from handstamp.storage.sqlite.store import SqliteStore
from tests.mailed import FIREFOX, ORIGIN, PASSWORD, Mailed, mailed, token_in

pytestmark = pytest.mark.anyio
ADA, EVE = "ada@example.com", "eve@example.com"
OTHER_PASSWORD = "another sentence that is long enough"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Mailed]:
    """Run a service with mail."""
    async with mailed(tmp_path) as service:
        yield service


async def ask(client: httpx.AsyncClient, email: str = ADA, password: str = PASSWORD) -> httpx.Response:
    """Ask for an account."""
    answer = await client.post("/register", json={"email": email, "password": password})
    assert answer.status_code == 202, answer.text
    return answer


async def find(service: Mailed, email: str = ADA) -> Account | None:
    """Return the account with an address."""
    return await service.deployment.store.read(lambda rows: rows.accounts.get_by_email(email))


async def can_sign_in(service: Mailed, password: str, email: str = ADA) -> bool:
    """Return whether a password opens an account."""
    answer = await (await service.program("198.51.100.9")).post("/login", json={"email": email, "password": password})
    return answer.status_code == 200


async def test_the_code_creates_the_account_and_signs_in(service: Mailed) -> None:
    """In the browser that asked. The address is verified; before that there is no account."""
    browser = await service.browser()
    answer = await ask(browser)
    assert answer.json() == {"email": ADA, "expiresIn": 3600, "codeExpiresIn": 600}
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("handstamp-grant-80=")
    assert cookie.partition("; ")[2] == "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"
    assert await find(service) is None
    assert not await can_sign_in(service, PASSWORD)
    answer = await browser.post("/register/confirm", json={"code": (await service.content()).code})
    assert answer.status_code == 200, answer.text
    profile = await browser.get("/profile", headers={"authorization": f"Bearer {answer.json()['accessToken']}"})
    assert (profile.json()["email"], profile.json()["emailVerified"]) == (ADA, True)
    assert await can_sign_in(service, PASSWORD)


async def test_a_program_gets_a_ticket_for_its_code(service: Mailed) -> None:
    """It has no cookies. Without the ticket, or with that of another client, the code is refused."""
    program = await service.program()
    ticket = (await ask(program)).json()["ticket"]
    other = (await ask(await service.program(), EVE)).json()["ticket"]
    code = (await service.content(ADA)).code
    for wrong in ({"code": code}, {"code": code, "ticket": other}):
        answer = await program.post("/register/confirm", json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_code")
    answer = await program.post("/register/confirm", json={"code": f" {code[:3]} {code[3:]}", "ticket": ticket})
    assert answer.status_code == 200
    assert answer.json()["refreshToken"]


async def test_in_another_browser_the_person_chooses_the_password(service: Mailed) -> None:
    """A stranger who signs up with the address of another person never has a password of that account."""
    body = {"email": ADA, "password": "the password that a stranger has chosen", "name": "What a stranger calls you"}
    assert (await (await service.browser()).post("/register", json=body)).status_code == 202
    owner = await service.browser("198.51.100.1")
    token = token_in((await service.content()).link)
    answer = await owner.post("/register/confirm", json={"token": token})
    assert (answer.status_code, answer.json()["fields"][0]["name"]) == (422, "password")
    assert await find(service) is None
    answer = await owner.post("/register/confirm", json={"token": token, "password": OTHER_PASSWORD})
    assert answer.status_code == 200, answer.text
    assert await can_sign_in(service, OTHER_PASSWORD)
    assert not await can_sign_in(service, "the password that a stranger has chosen")
    account = await find(service)
    assert account is not None
    assert account.name == ""


async def test_a_taken_address_gets_the_same_answer_and_another_mail(service: Mailed) -> None:
    """Status, header fields and body are those of a new address."""
    await service.create_account(ADA)
    answers = [await ask(await service.browser(), email) for email in (ADA, EVE)]
    bodies = [{**answer.json(), "email": ""} for answer in answers]
    assert bodies[0] == bodies[1]
    fields = [{name for name in answer.headers if name != "date"} for answer in answers]
    assert fields[0] == fields[1]
    kinds = {letter.to: kind_of(letter.content) for letter in await service.letters()}
    assert kinds == {ADA: "register_existing", EVE: "register"}


class Work:
    """Counts the statements and the hashes of requests."""

    def __init__(self, service: Mailed, monkeypatch: pytest.MonkeyPatch) -> None:
        store = service.deployment.store
        assert isinstance(store, SqliteStore)
        self.done: list[str] = []
        for connection in (store._writer.get(), store._reader.get()):
            connection.set_trace_callback(self.note)
        hash_password = PasswordHasher.hash

        def count(hasher: PasswordHasher, password: str) -> str:
            self.done.append("hash")
            return hash_password(hasher, password)

        monkeypatch.setattr(PasswordHasher, "hash", count)

    def note(self, sql: str) -> None:
        """Note a statement without its values, unless the background may have run it, or it ends a transaction that reads."""
        if not sql.startswith(("PRAGMA", "BEGIN", "COMMIT")) and " revocation" not in sql:
            self.done.append(re.split(" VALUES | WHERE ", sql, maxsplit=1)[0])

    async def of(self, request: Callable[[], Any]) -> list[str]:
        """Return what a request does, in order."""
        self.done.clear()
        await request()
        return list(self.done)


async def test_a_taken_address_costs_the_same_work(
    service: Mailed, monkeypatch: pytest.MonkeyPatch, count: Callable[[str], None]
) -> None:
    """The same statements in the same order, and one hash: so the time does not tell."""
    await service.create_account(ADA)
    browsers = [await service.browser() for _ in range(3)]
    await ask(browsers[0], "first@example.com")  # fills caches
    work = Work(service, monkeypatch)
    taken = await work.of(lambda: ask(browsers[1], ADA))
    new = await work.of(lambda: ask(browsers[2], EVE))
    assert taken == new
    assert taken.count("hash") == 1
    assert any(step.startswith("INSERT INTO one_time") for step in taken)
    count(f"{len(new)} steps: {'; '.join(step[:40] for step in new)}")


async def test_a_sign_up_can_be_repeated(service: Mailed) -> None:
    """The mails arrive in any order, and each works. Once one is used, the other is void."""
    browser = await service.browser()
    await ask(browser)
    first = await service.content()
    service.clock.advance(seconds=30)
    await ask(browser)
    second = await service.content()
    assert (await browser.post("/register/confirm", json={"code": first.code})).status_code == 200
    for body in ({"code": second.code}, {"token": token_in(second.link)}):
        answer = await browser.post("/register/confirm", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_code")


async def test_a_lost_answer_can_be_asked_for_again(service: Mailed) -> None:
    """The same request with the same key gets the same session. Another request is told that the code was used."""
    browser = await service.browser()
    await ask(browser)
    body = {"code": (await service.content()).code}
    key = {"idempotency-key": "a-key-of-this-request"}
    first = await browser.post("/register/confirm", json=body, headers=key)
    again = await browser.post("/register/confirm", json=body, headers=key)
    assert first.status_code == again.status_code == 200
    assert first.json()["sessionId"] == again.json()["sessionId"]
    other = await browser.post("/register/confirm", json=body)
    assert "used already" in other.json()["detail"]


@pytest.mark.parametrize("key", [{}, {"idempotency-key": "the-key-of-both-copies"}], ids=["no key", "one key"])
async def test_a_link_that_is_used_twice_at_once_creates_one_account(service: Mailed, key: dict[str, str]) -> None:
    """One of the two succeeds; with one idempotency key both get the same session."""
    browser = await service.browser()
    await ask(browser)
    body = {"token": token_in((await service.content()).link)}
    answers = await asyncio.gather(*(browser.post("/register/confirm", json=body, headers=key) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == ([200, 200] if key else [200, 422])
    assert len({answer.json()["sessionId"] for answer in answers if answer.status_code == 200}) == 1


async def test_opening_the_link_creates_nothing(service: Mailed) -> None:
    """A scanner may open it with GET and HEAD as often as it likes. The button still works afterwards."""
    await ask(await service.browser())
    link = (await service.content()).link
    scanner = await service.browser("198.51.100.7")
    for _ in range(3):
        assert (await scanner.get(link)).status_code == 200
        assert (await scanner.head(link)).status_code == 200
    assert await find(service) is None
    form = {"token": token_in(link), "password": OTHER_PASSWORD}
    answer = await (await service.browser("198.51.100.1")).post("/create-account/confirm", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert await find(service) is not None


async def test_the_pages_lead_from_the_form_to_the_account(service: Mailed) -> None:
    """Without script: form, page with the code, a wrong code, the right one, and on to where the visitor wanted to go."""
    browser = await service.browser()
    form = {"email": ADA, "password": PASSWORD, "return_to": "/docs", "idempotency_key": "0123456789abcdef"}
    answer = await browser.post("/create-account", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/create-account/code?return_to=%2Fdocs")
    page = await browser.get(answer.headers["location"])
    assert ADA in page.text
    assert 'autocomplete="one-time-code"' in page.text
    code = (await service.content()).code
    wrong = "000000" if code != "000000" else "000001"
    answer = await browser.post("/create-account/code", data={"code": wrong, "return_to": "/docs"})
    assert (answer.status_code, "That code is not right" in answer.text) == (422, True)
    for _ in range(2):  # the second is a double click, or the way back
        sent = {"code": code, "return_to": "/docs", "idempotency_key": "fedcba9876543210"}
        answer = await browser.post("/create-account/code", data=sent)
        assert (answer.status_code, answer.headers["location"]) == (303, "/docs")
    assert ADA in (await browser.get("/account")).text


async def test_the_page_behind_the_link_says_who_asked(service: Mailed) -> None:
    """In another browser: device, address, time, and a field for a password. In the same one, only the button."""
    browser = await service.browser("203.0.113.5")
    await ask(browser)
    link = (await service.content()).link
    assert link.startswith(f"{ORIGIN}/create-account/confirm?token=")
    same, other = await browser.get(link), await (await service.browser()).get(link)
    assert [words for words in ("Firefox on Linux", "203.0.113.5", "2027-01-15") if words not in other.text] == []
    assert ('name="password"' in other.text, 'name="password"' in same.text) == (True, False)
    assert FIREFOX not in other.text
    answer = await browser.post("/create-account/confirm", data={"token": token_in(link)})
    assert answer.status_code == 303
    used = await browser.get(link)
    assert (used.status_code, "used already" in used.text) == (422, True)


async def test_a_code_that_is_told_to_somebody_opens_nothing_elsewhere(service: Mailed) -> None:
    """The browser that did not ask has no cookie, or the cookie of another mail."""
    await ask(await service.browser())
    code = (await service.content()).code
    thief = await service.browser("198.51.100.66")
    assert (await thief.post("/register/confirm", json={"code": code})).status_code == 422
    await ask(thief, "thief@example.com")
    assert (await thief.post("/register/confirm", json={"code": code})).status_code == 422
    assert await find(service) is None


async def test_a_flood_of_mails_stops_and_voids_nothing(service: Mailed) -> None:
    """Strangers on many networks ask for mails to one address: five go out, then one an hour. The owner's mail stays valid."""
    owner = await service.browser()
    await ask(owner)
    own = await service.content()
    for number in range(20):
        await ask(await service.browser(f"203.0.113.{number}"))
    assert len(await service.letters()) == 5
    assert (await owner.post("/register/confirm", json={"code": own.code})).status_code == 200


async def test_without_mail_accounts_are_created_at_once(tmp_path: Path) -> None:
    """201 and 409, as long as no mail server is set, also beside a development inbox."""
    async with mailed(tmp_path, smtp_url="") as service:
        browser = await service.browser()
        body = {"email": ADA, "password": PASSWORD}
        assert (await browser.post("/register", json=body)).status_code == 201
        assert (await browser.post("/register", json=body)).status_code == 409
        account = await find(service)
        assert account is not None
        assert not account.email_verified


async def test_closed_registration_stays_closed(tmp_path: Path) -> None:
    """With mail too: neither the form nor a link creates an account."""
    async with mailed(tmp_path, registration="closed") as service:
        browser = await service.browser()
        form = {"email": ADA, "password": PASSWORD}
        for path, body in (("/register", form), ("/register/confirm", {"token": "x" * 43})):
            assert (await browser.post(path, json=body)).status_code == 404
        assert (await browser.post("/create-account", data=form)).status_code == 404
        assert (await browser.get("/create-account/confirm?token=x")).status_code == 404
