"""The pages that belong to mails, in a real browser: on a phone, in the dark, from right to left, without a mouse."""

from __future__ import annotations

import html
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import axe
from tests.browser.conftest import open_page
from tests.serving import PASSWORD, Server

pytestmark = pytest.mark.xdist_group("browser")
EMAIL, NEW_EMAIL = "ada@example.com", "ada@example.net"
NEW_PASSWORD = "another kelp lantern rivet of the tests"
WIDTH = 390


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service whose mail is in the development inbox."""
    running = Server(
        tmp_path_factory.mktemp("mailed"), SMTP_URL="inbox", SIGN_IN_BY_CODE="on", SUPPORT_CONTACT="help@example.com"
    )
    yield running.start()
    running.kill()


def newest_mail(server: Server, page: str = "/") -> tuple[str, str]:
    """Return the link and the code of the newest mail that leads to a page; the code is "" if it has none."""
    with server.client() as client:
        for path in re.findall(r'href="(/dev/mail/[^"]+)"', client.get("/dev/mail").text):
            text = html.unescape(client.get(path).text)
            link = re.findall(r'<a href="(http[^"]+)">', text)[0]
            if link.startswith(f"{server.url}{page}"):
                return link, (re.findall(r"^(\d{6})$", text, re.MULTILINE) or [""])[0]
    raise AssertionError(f"no mail leads to {page}")


def expect_sound(page: Page, direction: str = "rtl") -> None:
    """As `axe.expect_sound`, of a page with this direction."""
    expect(page.locator("html")).to_have_attribute("dir", direction)
    axe.expect_sound(page)


def press(page: Page) -> None:
    """Press the one main button of a page by keyboard: it follows the field that has the focus, or is the first stop."""
    page.locator("form .primary").focus()
    page.keyboard.press("Enter")


def sign_up_and_change_the_address(page: Page, other: Page, server: Server) -> None:
    """Create an account with the link of a mail, after a wrong code, and give it another address with a code."""
    page.goto(f"{server.url}/create-account")
    expect(page.locator("#email")).to_be_focused()
    page.keyboard.type(EMAIL)
    page.locator("#password").fill(PASSWORD)
    press(page)
    code = page.locator("#code")
    expect(code).to_be_focused()
    expect(code).to_have_attribute("autocomplete", "one-time-code")
    expect(code).to_have_attribute("inputmode", "numeric")
    expect_sound(page)
    link, digits = newest_mail(server)
    page.keyboard.type("000000" if digits != "000000" else "111111")
    page.keyboard.press("Enter")
    expect(page.locator(".error")).to_be_visible()
    expect(code).to_be_focused()
    expect_sound(page)
    other.goto(link)  # in another browser: it says where it was asked for, and a password has to be chosen
    expect(other.locator("main")).to_contain_text("127.0.0.1")
    expect(other.locator("#password")).to_have_attribute("autocomplete", "new-password")
    expect_sound(other)
    page.goto(link)
    expect_sound(page)
    press(page)
    expect(page.locator("#devices")).to_be_visible()
    expect_sound(page)

    page.goto(f"{server.url}/account/email")
    expect_sound(page)
    page.keyboard.type(NEW_EMAIL)
    press(page)
    expect(code).to_be_focused()
    page.keyboard.type(newest_mail(server)[1])
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text(NEW_EMAIL)


def reset_the_password_and_sign_in_by_code(page: Page, server: Server) -> None:
    """Choose a new password with a link, use that link again, and sign in with a code."""
    page.goto(f"{server.url}/forgot")
    expect_sound(page)
    page.keyboard.type(NEW_EMAIL)
    press(page)
    expect(page.locator("#code")).to_be_focused()
    expect_sound(page)
    link, _ = newest_mail(server)
    page.goto(link)
    expect(page.locator("#new_password")).to_be_focused()
    expect_sound(page)
    page.keyboard.type(NEW_PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#new_password")).to_be_hidden()
    expect_sound(page)
    page.goto(link)  # once more
    expect(page.locator("a.primary")).to_be_visible()
    expect_sound(page)

    page.goto(f"{server.url}/sign-in")
    expect_sound(page)
    page.goto(f"{server.url}/sign-in/mail")
    expect_sound(page)
    page.keyboard.type(NEW_EMAIL)
    press(page)
    expect(page.locator("#code")).to_be_focused()
    page.keyboard.type(newest_mail(server)[1])
    page.keyboard.press("Enter")
    expect(page.locator("#devices")).to_be_visible()
    expect_sound(page)


def verify_the_address_and_undo_its_change(page: Page, server: Server) -> None:
    """Verify the address, as an account that was imported has to; then take the old address back."""
    with closing(sqlite3.connect(server.folder / "handstamp.db", timeout=60)) as database, database:
        database.execute("UPDATE account SET email_verified = 0")
    page.goto(f"{server.url}/account")
    page.locator("form[action$='/account/verify'] button").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#code")).to_be_focused()
    expect_sound(page)
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    expect(page.locator(".error")).to_be_visible()
    expect(page.locator("#code")).to_be_focused()
    expect_sound(page)
    page.goto(newest_mail(server, "/verify")[0])
    expect_sound(page)
    press(page)
    expect(page.get_by_role("status")).to_be_visible()
    expect_sound(page)

    page.goto(newest_mail(server, "/undo-change")[0])
    expect(page.locator("main")).to_contain_text(EMAIL)
    expect_sound(page)
    press(page)
    expect(page.locator("main a.primary")).to_be_visible()
    expect_sound(page)


def look_at_the_inbox(page: Page, server: Server) -> None:
    """Open a mail in the development inbox by keyboard. These pages are English."""
    page.goto(f"{server.url}/dev/mail")
    expect_sound(page, "ltr")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("pre")).to_be_visible()
    expect_sound(page, "ltr")


def test_every_page_of_a_mail_works_on_a_phone_in_arabic(chromium: Browser, server: Server) -> None:
    """By keyboard alone. Axe looks at each page, in the dark."""
    look: dict[str, Any] = {"locale": "ar-EG", "color_scheme": "dark", "viewport": {"width": WIDTH, "height": 700}}
    with open_page(chromium, **look) as page, open_page(chromium, **look) as other:
        sign_up_and_change_the_address(page, other, server)
        reset_the_password_and_sign_in_by_code(other, server)
        verify_the_address_and_undo_its_change(other, server)
        look_at_the_inbox(other, server)
