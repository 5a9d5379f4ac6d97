"""Signing in with a link or a code that comes by mail, and verifying an address."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from handstamp.crypto.strict import base64url_decode
from handstamp.errors import ConfigurationError
from tests.builders import MINUTE_MS
from tests.deployment import caller
from tests.integration.test_sign_up import Work
from tests.mailed import ORIGIN, PASSWORD, Mailed, mailed, token_in

pytestmark = pytest.mark.anyio
ADA, NOBODY = "ada@example.com", "nobody@example.com"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Mailed]:
    """Run a service in which people can sign in by mail, with one account whose address is not verified."""
    async with mailed(tmp_path, sign_in_by_code="on") as service:
        await service.create_account(ADA)
        yield service


async def ask(client: httpx.AsyncClient, email: str = ADA) -> httpx.Response:
    """Ask for a mail with which to sign in."""
    answer = await client.post("/login/code", json={"email": email})
    assert answer.status_code == 202, answer.text
    return answer


def claims_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the claims of the access token in an answer, unchecked."""
    assert answer.status_code == 200, answer.text
    claims: dict[str, Any] = msgspec.json.decode(base64url_decode(answer.json()["accessToken"].split(".")[1]))
    return claims


async def is_verified(service: Mailed) -> bool:
    """Return whether the account's address is verified."""
    account = await service.deployment.store.read(lambda rows: rows.accounts.get_by_email(ADA))
    assert account is not None
    return account.email_verified


async def test_the_code_signs_in_and_verifies_the_address(service: Mailed) -> None:
    """With a new session. The code is accepted once."""
    browser = await service.browser()
    await ask(browser)
    body = {"code": (await service.content()).code}
    answer = await browser.post("/login/code/confirm", json=body)
    sid = claims_of(answer)["sid"]
    session, _ = await service.deployment.store.session(sid) or (None, None)
    assert session is not None
    assert session.amr == ("otp",)
    assert await is_verified(service)
    assert (await browser.post("/login/code/confirm", json=body)).json()["code"] == "invalid_code"


async def test_the_link_signs_in_the_browser_that_opens_it(service: Mailed) -> None:
    """Not the one that asked: a stranger who asks for the owner's mail gains nothing from the owner's press of the button."""
    stranger, owner = await service.browser("203.0.113.5"), await service.browser()
    await ask(stranger)
    content = await service.content()
    page = await owner.get(content.link)
    assert "203.0.113.5" in page.text
    answer = await owner.post("/sign-in/confirm", data={"token": token_in(content.link)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert ADA in (await owner.get("/account")).text
    assert (await stranger.get("/account")).status_code == 303
    assert (await stranger.post("/login/code/confirm", json={"code": content.code})).status_code == 422


async def test_an_address_without_an_account_gets_the_same_answer_and_no_mail(
    service: Mailed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown and disabled: the same answer, the same statements, the same refusals of codes. Nobody gets a mail."""
    await service.create_account("off@example.com")
    await service.deployment.accounts.disable("off@example.com", caller(service.clock))
    work = Work(service, monkeypatch)
    steps, answers = [], []
    for email in (ADA, NOBODY, "off@example.com"):
        browser = await service.browser()
        steps.append(await work.of(lambda browser=browser, email=email: ask(browser, email)))  # type: ignore[misc]
        guesses = [await browser.post("/login/code/confirm", json={"code": "000000"}) for _ in range(6)]
        answers.append([(guess.status_code, guess.json()["detail"]) for guess in guesses])
    assert steps[0] == steps[1] == steps[2]
    assert answers[0] == answers[1] == answers[2]
    assert [letter.to for letter in await service.letters()] == [ADA]


async def test_guesses_from_many_connections_have_five_tries(tmp_path: Path) -> None:
    """Two processes on one database, and a hundred guesses at once: five are looked at. The link still signs in."""
    async with mailed(tmp_path, sign_in_by_code="on") as one, mailed(tmp_path, sign_in_by_code="on") as two:
        await one.create_account(ADA)
        thief = await one.program("203.0.113.9")
        ticket = (await ask(thief)).json()["ticket"]
        content = await one.content()
        wrong = [f"{(int(content.code) + number) % 1_000_000:06}" for number in range(1, 51)]
        clients = [thief, await two.program("203.0.113.9")]
        guesses = [
            client.post("/login/code/confirm", json={"code": code, "ticket": ticket}) for code in wrong for client in clients
        ]
        answers = await asyncio.gather(*guesses)
        assert {answer.status_code for answer in answers} == {422}
        assert sum("is not right" in answer.json()["detail"] for answer in answers) == 4  # the fifth says that it was the last
        right = await thief.post("/login/code/confirm", json={"code": content.code, "ticket": ticket})
        assert (right.status_code, "Too many codes" in right.json()["detail"]) == (422, True)
        link = await thief.post("/login/code/confirm", json={"token": token_in(content.link)})
        assert link.status_code == 200


async def test_after_a_hundred_wrong_codes_mails_have_links_alone(service: Mailed) -> None:
    """A guesser who goes on for weeks has a hundred codes in all. Signing in with a link brings codes back."""
    thief = await service.program("203.0.113.9")
    codes = []
    for _ in range(22):
        ticket = (await ask(thief)).json()["ticket"]
        content = await service.content()
        codes.append(content.code)
        for _ in range(5):
            await thief.post(
                "/login/code/confirm", json={"code": "000000" if content.code != "000000" else "000001", "ticket": ticket}
            )
        service.clock.advance(seconds=3600)
    assert [bool(code) for code in codes] == [True] * 20 + [False] * 2
    ticket = (await ask(thief)).json()["ticket"]
    link = (await service.content()).link
    assert (await (await service.program()).post("/login/code/confirm", json={"token": token_in(link)})).status_code == 200
    service.clock.advance(seconds=1)
    await ask(thief)
    assert (await service.content()).code


@pytest.mark.parametrize("age_s", [0, 180], ids=["restarted", "restored"])
async def test_after_a_restored_backup_old_links_are_void(tmp_path: Path, age_s: int) -> None:
    """A backup of three minutes ago has links that were used since. After a quick restart they are still valid."""
    async with mailed(tmp_path, has_real_clock=True, sign_in_by_code="on") as service:
        await service.create_account(ADA)
        await ask(await service.program())
        token = token_in((await service.content()).link)
    with closing(sqlite3.connect(tmp_path / "handstamp.db")) as database, database:
        database.execute("UPDATE timekeeping SET seen_at_ms = seen_at_ms - ?", (age_s * 1000,))
    async with mailed(tmp_path, has_real_clock=True, sign_in_by_code="on") as service:
        answer = await (await service.program()).post("/login/code/confirm", json={"token": token})
        assert answer.status_code == (422 if age_s else 200)


@pytest.mark.parametrize("change", ["password", "rename", "disable", "delete", "everywhere"])
async def test_a_change_of_the_account_voids_the_mail(service: Mailed, change: str) -> None:
    """Code and link of a mail that was sent before are refused."""
    browser = await service.browser()
    await ask(browser)
    content = await service.content()
    accounts, operator = service.deployment.accounts, caller(service.clock)
    account = await accounts.get_by_email(ADA)
    changes: dict[str, Callable[[], Awaitable[object]]] = {
        "password": lambda: accounts.set_password(ADA, "another sentence that is long enough", operator),
        "rename": lambda: accounts.rename(ADA, "new@example.com", operator),
        "disable": lambda: accounts.disable(ADA, operator),
        "delete": lambda: accounts.delete(ADA, operator),
        "everywhere": lambda: service.deployment.sign_out.end_all(account.id, operator),
    }
    await changes[change]()
    for body in ({"code": content.code}, {"token": token_in(content.link)}):
        answer = await browser.post("/login/code/confirm", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_code"), change


async def test_a_lost_answer_can_be_asked_for_again(service: Mailed) -> None:
    """The same request with the same key gets the same session; at once, too."""
    browser = await service.browser()
    await ask(browser)
    body, key = {"code": (await service.content()).code}, {"idempotency-key": "a-key-of-this-request"}
    both = await asyncio.gather(*(browser.post("/login/code/confirm", json=body, headers=key) for _ in range(2)))
    again = await browser.post("/login/code/confirm", json=body, headers=key)
    assert len({claims_of(answer)["sid"] for answer in (*both, again)}) == 1


async def test_during_a_flood_the_mailbox_has_a_valid_link(service: Mailed) -> None:
    """Strangers ask every ten minutes for a day. One mail in 50 minutes goes out, and the newest link works all the time."""
    stranger = await service.program("203.0.113.1")
    for _ in range(24 * 6):
        await ask(stranger)
        service.clock.advance(ms=10 * MINUTE_MS - 1)
        token = token_in((await service.content()).link)
        assert (await stranger.get(f"/sign-in/confirm?token={token}")).status_code == 200
    assert len(await service.letters()) <= 5 + 29


async def test_a_flood_does_not_stop_the_mails_of_a_known_device(service: Mailed) -> None:
    """The browser has signed in before, so its mails are counted apart."""
    owner = await service.browser()
    await ask(owner)
    assert (await owner.post("/login/code/confirm", json={"code": (await service.content()).code})).status_code == 200
    for number in range(10):
        await ask(await service.browser(f"203.0.113.{number}"))
    flooded = len(await service.letters())
    await ask(owner)
    assert len(await service.letters()) == flooded + 1


async def test_a_network_that_asks_for_too_many_mails_is_told(service: Mailed) -> None:
    """429, whatever the address. It does not depend on whether there is an account."""
    program = await service.program()
    for number in range(40):
        await ask(program, f"somebody-{number}@example.com")
    for email in (ADA, NOBODY):
        answer = await program.post("/login/code", json={"email": email})
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_attempts")
        assert int(answer.headers["retry-after"]) <= 90


async def test_the_pages_sign_in_without_a_password(service: Mailed) -> None:
    """The sign-in page leads to the form, the form to the code, the code to where the visitor wanted to go."""
    browser = await service.browser()
    assert "/sign-in/mail?return_to=%2Fdocs" in (await browser.get("/sign-in?return_to=/docs")).text
    assert (await browser.get("/sign-in/mail?return_to=/docs")).status_code == 200
    answer = await browser.post("/sign-in/mail", data={"email": ADA, "return_to": "/docs"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in/code?return_to=%2Fdocs")
    assert ADA in (await browser.get(answer.headers["location"])).text
    content = await service.content()
    assert 'value="/docs"' in (await browser.get(content.link)).text
    answer = await browser.post("/sign-in/code", data={"code": content.code, "return_to": "/docs"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/docs")


async def test_it_is_off_by_default(tmp_path: Path) -> None:
    """404, and the sign-in page does not mention it."""
    async with mailed(tmp_path) as service:
        browser = await service.browser()
        for path in ("/login/code", "/login/code/confirm"):
            assert (
                await browser.post(path, json={"email": ADA} if path == "/login/code" else {"code": "123456"})
            ).status_code == 404
        for path in ("/sign-in/mail", "/sign-in/code", "/sign-in/confirm?token=x"):
            assert (await browser.get(path)).status_code == 404
        assert "/sign-in/mail" not in (await browser.get("/sign-in")).text


@pytest.mark.parametrize("setting", ["sign_in_by_code", "require_verified_email"])
async def test_settings_that_need_mail_say_so(tmp_path: Path, setting: str) -> None:
    """The service does not start without mail."""
    settings: dict[str, Any] = {"issuer": "https://auth.example.com", "smtp_url": "", setting: "on"}
    with pytest.raises(ConfigurationError, match=f"HANDSTAMP_{setting.upper()}.*HANDSTAMP_SMTP_URL"):
        async with mailed(tmp_path, **settings):
            pass


# Verifying an address.


async def test_a_person_who_is_signed_in_verifies_the_address(service: Mailed) -> None:
    """By code; doing it twice has no other effect. Afterwards there is nothing to verify."""
    browser = await service.browser()
    token = (await browser.post("/login", json={"email": ADA, "password": PASSWORD})).json()["accessToken"]
    bearer = {"authorization": f"Bearer {token}"}
    assert (await browser.get("/profile", headers=bearer)).json()["emailVerified"] is False
    assert (await browser.post("/email/verify", headers=bearer)).status_code == 202
    body = {"code": (await service.content()).code}
    for _ in range(2):
        answer = await browser.post("/email/verify/confirm", json=body)
        assert (answer.status_code, answer.json()) == (200, {"email": ADA, "emailVerified": True})
    assert (await browser.get("/profile", headers=bearer)).json()["emailVerified"] is True
    answer = await browser.post("/email/verify", headers=bearer)
    assert (answer.status_code, answer.json()["fields"][0]["name"]) == (422, "email")


async def test_asking_needs_a_token_or_the_password(service: Mailed) -> None:
    """Strangers cannot have mails sent to an address by this endpoint."""
    browser = await service.browser()
    assert (await browser.post("/email/verify")).status_code == 401
    wrong = {"email": ADA, "password": "not the password of this account"}
    assert (await browser.post("/email/verify", json=wrong)).json()["code"] == "invalid_credentials"
    assert (await browser.post("/email/verify", json={"email": ADA})).status_code == 422
    assert await service.letters() == []


async def test_a_service_can_require_a_verified_address(tmp_path: Path) -> None:
    """The right password is told so, the wrong one is not. With the password the mail is sent again."""
    async with mailed(tmp_path, require_verified_email="on") as service:
        await service.create_account(ADA)
        browser, body = await service.browser(), {"email": ADA, "password": PASSWORD}
        answer = await browser.post("/login", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "email_not_verified")
        wrong = await browser.post("/login", json={**body, "password": "not the password of this account"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_credentials")
        assert (await browser.post("/email/verify", json=body)).status_code == 202
        link = (await service.content()).link
        assert link.startswith(f"{ORIGIN}/verify?token=")
        assert (await browser.get(link)).status_code == 200
        assert not await is_verified(service)
        answer = await browser.post("/verify", data={"token": token_in(link)})
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?done=verified")
        assert (await browser.post("/login", json=body)).status_code == 200


async def test_the_sign_in_page_sends_the_mail_and_takes_the_code(tmp_path: Path) -> None:
    """After the right password of an address that must be verified first."""
    async with mailed(tmp_path, require_verified_email="on") as service:
        await service.create_account(ADA)
        browser = await service.browser()
        answer = await browser.post("/sign-in", data={"email": ADA, "password": PASSWORD})
        assert (answer.status_code, answer.headers["location"]) == (303, "/verify/code")
        page = await browser.get("/verify/code")
        assert ADA in page.text
        answer = await browser.post("/verify/code", data={"code": (await service.content()).code})
        assert answer.headers["location"] == "/sign-in?done=verified"
        assert "Your address is verified" in (await browser.get("/sign-in?done=verified")).text
        assert (await browser.post("/sign-in", data={"email": ADA, "password": PASSWORD})).headers["location"] == "/account"


async def test_a_hundred_right_guesses_at_once_reveal_no_more_than_elsewhere(tmp_path: Path) -> None:
    """Beyond the limit of failures, the right password is refused like a wrong one, although the address is not verified."""
    async with mailed(tmp_path, require_verified_email="on") as service:
        await service.create_account(ADA)
        program = await service.program()
        for _ in range(5):
            await program.post("/login", json={"email": ADA, "password": "not the password of this account"})
        answer = await program.post("/login", json={"email": ADA, "password": PASSWORD})
        assert answer.status_code == 429


async def test_the_account_page_offers_to_verify(service: Mailed) -> None:
    """While the address is not verified: a button, the page with the code, and back."""
    browser = await service.browser()
    await browser.post("/sign-in", data={"email": ADA, "password": PASSWORD})
    assert 'action="/account/verify"' in (await browser.get("/account")).text
    answer = await browser.post("/account/verify")
    assert (answer.status_code, answer.headers["location"]) == (303, "/verify/code")
    answer = await browser.post("/verify/code", data={"code": (await service.content()).code})
    assert answer.headers["location"] == "/account?done=verified"
    page = (await browser.get("/account?done=verified")).text
    assert 'action="/account/verify"' not in page
    assert "Your address is verified" in page
