"""The pages of second factors over HTTP: the second step, adding a factor, and proving again before what is sensitive."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from handstamp.assemble.application import make_application
from handstamp.domain.attempt import ENROLMENT_MS, LIFETIME_MS, MAX_TRIES
from handstamp.domain.session import FRESH_MS
from tests.builders import SECOND_MS
from tests.deployment import ISSUER
from tests.integration.test_second_factor import EMAIL, PASSWORD, Person, a_person

pytestmark = pytest.mark.anyio
APP = "https://app.example.com/orders?page=2"
HERE = {"sec-fetch-site": "same-origin"}
_FORM = re.compile(r'<form method="post" action="([^"]+)".*?</form>', re.DOTALL)
_FIELD = re.compile(r'<input [^>]*?name="([^"]+)"[^>]*?value="([^"]*)"')


class Browser:
    """A browser without script, which fills in the forms of pages as they are."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Start without cookies."""
        self.client = client
        self.answer: httpx.Response
        """The last page, after redirects within the service."""

    async def go(self, path: str) -> str:
        """Follow a link of our own pages, and return the page."""
        return await self._follow(await self.client.get(path, headers=HERE))

    async def send(self, action: str, **typed: str) -> str:
        """Send the first form of the page that goes to a path, with its hidden fields and what is typed. Return the next page."""
        return await self._follow(await self.client.post(action, data=self.form(action) | typed, headers=HERE))

    def form(self, action: str) -> dict[str, str]:
        """Return the fields of the first form of the page that goes to a path."""
        form = next(found[0] for found in _FORM.finditer(self.answer.text) if html.unescape(found[1]) == action)
        return {name: html.unescape(value) for name, value in _FIELD.findall(form)}

    async def sign_in(self, query: str = "") -> str:
        """Type the address and the password."""
        await self.go(f"/sign-in{query}")
        return await self.send("/sign-in", email=EMAIL, password=PASSWORD)

    async def _follow(self, answer: httpx.Response) -> str:
        while answer.status_code == 303 and answer.headers["location"].startswith("/"):
            answer = await self.client.get(answer.headers["location"], headers=HERE)
        self.answer = answer
        return answer.text


@asynccontextmanager
async def visiting(folder: Path, **settings: Any) -> AsyncIterator[tuple[Person, Browser]]:
    """Run the service with a person who has an authenticator app, and open a browser."""
    async with a_person(folder, trusted_origins=("https://app.example.com",), **settings) as ada, a_browser(ada) as browser:
        yield ada, browser


@asynccontextmanager
async def a_browser(ada: Person) -> AsyncIterator[Browser]:
    """Open another browser."""
    transport = httpx.ASGITransport(make_application(ada.running))
    async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
        yield Browser(client)


async def test_a_code_completes_the_sign_in(tmp_path: Path) -> None:
    """No session before the code; then the visitor is where the application wanted. No URL holds the challenge."""
    async with visiting(tmp_path) as (ada, browser):
        page = await browser.sign_in(f"?return_to={quote(APP)}")
        assert "One more step" in page
        assert str(browser.answer.url) == f"{ISSUER}/sign-in/second-step?return_to={quote(APP, safe='')}"
        assert await ada.count_sessions() == 0
        assert "One more step" in await browser.go(str(browser.answer.url))  # loaded again
        page = await browser.send("/sign-in/second-step", code="000000")
        assert browser.answer.status_code == 422
        assert "That code is not right." in page
        await browser.send("/sign-in/second-step", code=ada.next_code())
        assert browser.answer.headers["location"] == APP
        assert "attempt" not in str(browser.client.cookies)
        assert "Your account" in await browser.go("/account")


async def test_a_recovery_code_takes_the_place_of_the_app(tmp_path: Path) -> None:
    """A quiet button leads to it and keeps where the visitor wanted to go. The page of factors counts what is left."""
    async with visiting(tmp_path) as (ada, browser):
        await browser.sign_in(f"?return_to={quote(APP)}")
        page = await browser.send("/sign-in/second-step", other="recovery_code")
        assert 'name="recovery_code"' in page
        page = await browser.send("/sign-in/second-step", recovery_code="not a code")
        assert "The recovery code must have the 24 letters and digits" in page
        await browser.send("/sign-in/second-step", recovery_code=ada.recovery_codes[0])
        assert browser.answer.headers["location"] == APP
        assert "You have 9 codes left." in await browser.go("/account/sign-in")
        async with a_browser(ada) as other:
            await other.sign_in()
            page = await other.send("/sign-in/second-step", way="recovery_code", recovery_code=ada.recovery_codes[0])
            assert "was used already" in page


@pytest.mark.parametrize("ending", ["late", "guessed"])
async def test_a_second_step_that_is_over_begins_anew(tmp_path: Path, ending: str) -> None:
    """The sign-in page says why, and still leads to where the visitor wanted to go."""
    async with visiting(tmp_path) as (ada, browser):
        await browser.sign_in(f"?return_to={quote(APP)}")
        if ending == "late":
            ada.clock.advance(ms=LIFETIME_MS)
            page = await browser.send("/sign-in/second-step", code=ada.code())
            assert "This sign-in took too long. Sign in again." in page
        else:
            for _ in range(MAX_TRIES - 1):
                await browser.send("/sign-in/second-step", code="000000")
            page = await browser.send("/sign-in/second-step", code="000000")
            assert "Too many codes were wrong. Sign in again." in page
        assert browser.answer.status_code == 422
        assert browser.form("/sign-in")["return_to"] == APP
        assert await ada.count_sessions() == 0


async def test_two_tabs_do_not_mix_their_sign_ins(tmp_path: Path) -> None:
    """Each form completes the sign-in to which it belongs, whatever the cookie says by then."""
    async with visiting(tmp_path) as (ada, browser):
        await browser.sign_in()
        first = browser.form("/sign-in/second-step")
        await browser.sign_in(f"?return_to={quote(APP)}")
        second = browser.form("/sign-in/second-step")
        assert first["challenge"] != second["challenge"]
        code = ada.next_code()
        answer = await browser.client.post("/sign-in/second-step", data=first | {"code": code}, headers=HERE)
        assert answer.headers["location"] == "/account"
        again = await browser.client.post("/sign-in/second-step", data=first | {"code": code}, headers=HERE)
        assert again.headers["location"] == "/account"  # a second click on the button
        assert await ada.count_sessions() == 1


async def test_who_must_have_a_factor_adds_one_while_signing_in(tmp_path: Path) -> None:
    """The app, then the recovery codes to save, then on to where the visitor wanted to go. No session begins before that."""
    async with visiting(tmp_path, enrolled=False, second_factor="required") as (ada, browser):
        page = await browser.sign_in(f"?return_to={quote(APP)}")
        assert "Protect your account" in page
        page = await browser.go(re.findall(r'href="(/sign-in/enrol/totp[^"]*)"', page)[0])
        assert "<svg" in page
        ada.secret = re.findall(r'<code class="key" dir="ltr">([A-Z2-7 ]+)</code>', page)[0].replace(" ", "")
        page = await browser.send("/sign-in/enrol/totp", code="000000")
        assert "That code is not right." in page
        assert ada.secret in page.replace(" ", "")  # the same picture, so that the app need not scan again
        ada.clock.advance(seconds=30)
        page = await browser.send("/sign-in/enrol/totp", code=ada.code())
        codes = re.findall(r"[0-9a-z]{4}(?: [0-9a-z]{4}){5}|[0-9a-z-]{29}", page.split("<pre")[1].split("</pre>")[0])
        assert len(codes) == 10
        assert f"data:text/plain;charset=utf-8,{quote(ISSUER.removeprefix('https://'))}" in page
        assert all(quote(code) in page for code in codes)
        assert await ada.count_sessions() == 0
        await browser.send("/sign-in/second-step")
        assert browser.answer.headers["location"] == APP
        assert await ada.count_sessions() == 1
        page = await browser.go("/account/sign-in")
        page = await browser.send("/account/totp/remove")
        assert browser.answer.status_code == 409
        assert "Your account must have a second factor." in page


async def test_an_enrolment_that_took_too_long_begins_anew(tmp_path: Path) -> None:
    """The sign-in page says so, on every page of the enrolment."""
    async with visiting(tmp_path, enrolled=False, second_factor="required") as (ada, browser):
        await browser.sign_in()
        await browser.go("/sign-in/enrol/totp")
        ada.clock.advance(ms=ENROLMENT_MS)
        assert "took too long" in await browser.send("/sign-in/enrol/totp", code="123456")
        for path in ("/sign-in/enrol", "/sign-in/enrol/totp", "/sign-in/second-step"):
            assert "took too long" in await browser.go(path)


async def test_an_app_is_added_replaced_and_removed(tmp_path: Path) -> None:
    """The first brings recovery codes, another in its place brings none, and new codes replace the old ones."""
    async with visiting(tmp_path, enrolled=False) as (ada, browser):
        await browser.sign_in()
        for count in (10, 0):
            page = await browser.go("/account/totp")
            ada.secret = re.findall(r'<code class="key" dir="ltr">([A-Z2-7 ]+)</code>', page)[0].replace(" ", "")
            page = await browser.send("/account/totp", code=ada.next_code())
            assert ("I have saved them" in page) == (count == 10)
            assert ("Your authenticator app is set up." in page) == (count == 0)
        first = await browser.send("/account/recovery-codes")
        assert "I have saved them" in first
        await browser.go("/account/sign-in")
        assert await browser.send("/account/recovery-codes") != first
        await browser.go("/account/sign-in")
        assert "Your authenticator app is removed." in await browser.send("/account/totp/remove")
        assert "Remove the app" not in browser.answer.text


@pytest.mark.parametrize("enrolled", [True, False])
async def test_a_stale_form_goes_on_after_a_proof(tmp_path: Path, *, enrolled: bool) -> None:
    """The fields of the form are kept over the page that asks for a proof, and over a wrong proof: the account is deleted."""
    async with visiting(tmp_path, enrolled=enrolled) as (ada, browser):
        await browser.sign_in()
        if enrolled:
            await browser.send("/sign-in/second-step", code=ada.next_code())
        await browser.go("/account/data")
        ada.clock.advance(ms=FRESH_MS)
        page = await browser.send("/account/delete", email=EMAIL)
        assert "Confirm that it is you" in page
        wrong, right = (
            ({"code": "000000"}, {"code": ada.code()}) if enrolled else ({"password": "not this"}, {"password": PASSWORD})
        )
        page = await browser.send("/confirm", **wrong)
        assert ("That code is not right." if enrolled else "That is not your password.") in page
        assert (await ada.running.accounts.get_by_email(EMAIL)).email == EMAIL
        page = await browser.send("/confirm", **right)
        assert "Your account is deleted" in page


async def test_a_stale_page_is_shown_after_a_proof(tmp_path: Path) -> None:
    """Also with a recovery code. A password is no proof for an account with an app, and is not offered."""
    async with visiting(tmp_path) as (ada, browser):
        await browser.sign_in()
        await browser.send("/sign-in/second-step", code=ada.next_code())
        ada.clock.advance(ms=FRESH_MS)
        for path in ("/account/data", "/account/export", "/account/totp"):
            await browser.go(path)
            assert str(browser.answer.url) == f"{ISSUER}/confirm?return_to={quote(path, safe='')}"
        assert "Use your password" not in browser.answer.text
        assert "Confirm that it is you" in await browser.send("/confirm", way="password", password=PASSWORD)
        await browser.send("/confirm", other="recovery_code")
        page = await browser.send("/confirm", recovery_code=ada.recovery_codes[3])
        assert "Set up an authenticator app" in page
        assert str(browser.answer.url) == f"{ISSUER}/account/totp"


async def test_a_password_is_not_carried_through_a_page(tmp_path: Path) -> None:
    """A session of before the app proves itself with a code, and then finds the empty form."""
    async with visiting(tmp_path, enrolled=False) as (ada, browser), a_browser(ada) as other:
        await browser.sign_in()
        await other.sign_in()
        page = await other.go("/account/totp")
        ada.secret = re.findall(r'<code class="key" dir="ltr">([A-Z2-7 ]+)</code>', page)[0].replace(" ", "")
        await other.send("/account/totp", code=ada.code())
        await browser.go("/account/sign-in")
        page = await browser.send("/account/password", current_password=PASSWORD, new_password="another sentence, hers alone")
        assert "Confirm that it is you" in page
        assert "sentence" not in page
        assert PASSWORD not in page
        await browser.send("/confirm", code=ada.next_code())
        assert str(browser.answer.url) == f"{ISSUER}/account/sign-in"


@pytest.mark.parametrize(
    "fields",
    [
        {"return_to": "https://evil.example"},
        {"return_to": "//evil.example"},
        {"wanted": "/sign-in", "carried": "email=eve%40example.com"},
        {"wanted": "/account/nothing"},
        {"wanted": "/account/delete", "carried": "\u00e4"},
    ],
)
async def test_a_forged_continuation_is_refused(tmp_path: Path, fields: dict[str, str]) -> None:
    """Only forms of the account go on, and only pages of this service and of trusted origins are returned to."""
    async with visiting(tmp_path, enrolled=False) as (ada, browser):
        await browser.sign_in()
        form = {"way": "password", "password": PASSWORD} | fields
        answer = await browser.client.post("/confirm", data=form, headers=HERE)
        assert answer.status_code == 400
        foreign = await browser.client.post("/confirm", data=form, headers={"sec-fetch-site": "cross-site"})
        assert foreign.status_code == 403
        assert (await ada.running.accounts.get_by_email(EMAIL)).email == EMAIL


async def test_what_expires_with_a_page_is_secret(tmp_path: Path) -> None:
    """The challenge is in an HttpOnly cookie that lives as long as it, and no page with a secret is stored."""
    async with visiting(tmp_path) as (_, browser):
        form = {"email": EMAIL, "password": PASSWORD}
        answer = await browser.client.post("/sign-in", data=form, headers=HERE)
        (cookie,) = [each for each in answer.headers.get_list("set-cookie") if "attempt" in each]
        assert re.search(rf"; Path=/; Max-Age={LIFETIME_MS // SECOND_MS}; Secure; HttpOnly; SameSite=Lax$", cookie)
        page = await browser.client.get(answer.headers["location"], headers=HERE)
        assert page.headers["cache-control"] == "no-store"
        async with httpx.AsyncClient(transport=browser.client._transport, base_url=ISSUER) as thief:
            stolen = await thief.post(
                "/sign-in/second-step",
                data={"challenge": cookie.partition("=")[2].partition(";")[0], "way": "totp", "code": "123456"},
                headers=HERE,
            )
        assert "was not begun in this browser" in stolen.text
