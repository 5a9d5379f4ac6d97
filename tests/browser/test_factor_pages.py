"""The pages of second factors in a real browser: by keyboard on a phone, in the dark, from right to left; and without script."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect

from handstamp import SessionEnded, Verifier
from tests.browser.axe import expect_sound
from tests.browser.conftest import open_page
from tests.commands import run_process
from tests.serving import EMAIL, PASSWORD, Server
from tests.verifying import eventually

pytestmark = pytest.mark.xdist_group("browser")
WIDTH = 390


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service in which everybody must have a second factor, and support may look at accounts."""
    running = Server(tmp_path_factory.mktemp("factors"), SECOND_FACTOR="required", IMPERSONATION="read")
    yield running.start()
    running.stop()


def sign_in(page: Page, server: Server, email: str, query: str = "") -> None:
    """Type the address and the password, and press Enter."""
    page.goto(f"{server.url}/sign-in{query}")
    expect(page.locator("#email")).to_be_focused()
    page.locator("#email").fill(email)
    page.locator("#password").fill(PASSWORD)
    page.locator("#password").press("Enter")


def type_code(page: Page, code: str) -> None:
    """Type into the field that has the focus, and press Enter."""
    expect(page.locator("#code, #recovery_code")).to_be_focused()
    page.keyboard.type(code)
    page.keyboard.press("Enter")


def age_sign_ins(server: Server) -> None:
    """Let every sign-in be an hour old, and no code of an app be used yet."""
    with closing(sqlite3.connect(server.folder / "handstamp.db", timeout=60)) as database, database:
        database.execute("UPDATE session SET authenticated_at_ms = authenticated_at_ms - 3600000")
        database.execute("UPDATE totp SET last_step = 0")


def test_a_person_adds_an_app_and_uses_it_by_keyboard(chromium: Browser, server: Server, tmp_path: Path) -> None:
    """The secret that the page shows makes the codes. Axe looks at each page, in Arabic, in the dark, on a phone."""
    server.register(EMAIL)
    look: dict[str, Any] = {"locale": "ar-EG", "color_scheme": "dark", "viewport": {"width": WIDTH, "height": 700}}
    errors: list[str] = []
    with open_page(chromium, errors, **look, permissions=["clipboard-read", "clipboard-write"]) as page:
        sign_in(page, server, EMAIL)
        page.wait_for_url("**/sign-in/enrol*")
        expect(page.locator("html")).to_have_attribute("dir", "rtl")
        expect_sound(page)
        page.locator("a[href*='/enrol/totp']").press("Enter")
        expect(page.locator("svg.qr")).to_be_visible()
        expect_sound(page)
        app = pyotp.TOTP(page.locator("code.key").inner_text().replace(" ", ""))
        type_code(page, "000000" if app.now() != "000000" else "111111")
        expect(page.locator(".error")).to_be_visible()
        assert page.locator("code.key").inner_text().replace(" ", "") == app.secret
        expect_sound(page)
        type_code(page, app.now())
        codes = page.locator("#codes").inner_text()
        assert len(codes.splitlines()) == 10
        expect_sound(page)
        page.locator("[data-copies]").press("Enter")
        page.wait_for_function("(codes) => navigator.clipboard.readText().then((text) => text === codes)", arg=codes)
        with page.expect_download() as downloading:
            page.locator("a[download]").click()
        downloading.value.save_as(tmp_path / "codes.txt")
        assert codes in (tmp_path / "codes.txt").read_text("utf-8")
        page.locator("form .primary").press("Enter")
        expect(page.locator("#devices")).to_be_visible()

        page.goto(f"{server.url}/account/sign-in")
        expect_sound(page)
        age_sign_ins(server)
        page.goto(f"{server.url}/account/data")
        expect(page.locator("#code")).to_be_focused()
        expect_sound(page)
        type_code(page, app.now())
        page.wait_for_url("**/account/data")
        age_sign_ins(server)
        page.locator("#email").fill(EMAIL.upper())
        page.locator("form[action$='/account/delete'] button").press("Enter")
        expect(page.locator("#code")).to_be_focused()
        page.locator("button.quiet").press("Enter")
        type_code(page, codes.splitlines()[0])
        page.wait_for_url("**/signed-out*")
    assert errors == []


def test_an_administrator_looks_a_person_up_by_keyboard(chromium: Browser, server: Server) -> None:
    """The page asks for the second factor when its proof is old, then finds the person. Axe looks, in Arabic, on a phone.

    The administrator then looks at another account in a private window. That ends everywhere when the administrator signs out.
    """
    for email in ("root@example.com", "ada@example.com"):
        server.register(email)
    assert run_process(server.folder, "users", "grant", "root@example.com", "admin").returncode == 0
    errors: list[str] = []
    look: dict[str, Any] = {"locale": "ar-EG", "color_scheme": "dark", "viewport": {"width": WIDTH, "height": 700}}
    with open_page(chromium, errors, **look) as page:
        app = enrol_app(page, server, "root@example.com")
        age_sign_ins(server)
        page.goto(f"{server.url}/admin")
        type_code(page, app.now())
        page.wait_for_url("**/admin")
        expect_sound(page)
        page.locator("#email").fill("root@")
        page.locator("#email").press("Enter")
        page.wait_for_url("**/admin?email=*")
        page.locator("a[href*='/admin/person']").press("Enter")
        expect(page.locator("h1")).to_have_text("root@example.com")
        expect(page.locator("#history-title")).to_be_visible()
        expect(page.locator("a[href*='/admin/look']")).to_be_hidden()
        expect_sound(page)
        page.goto(f"{server.url}/admin?email=ada@")
        page.locator("a[href*='/admin/person']").press("Enter")
        page.locator("a[href*='/admin/look']").press("Enter")
        expect(page.locator("#reason")).to_be_focused()
        expect_sound(page)
        page.keyboard.press("Enter")
        expect(page.locator(".error")).to_be_visible()
        page.keyboard.type("Ticket 4711")
        page.keyboard.press("Enter")
        link = page.locator("code.link").inner_text()
        expect_sound(page)
        with open_page(chromium, errors, **look) as private:
            _look_until_signed_out(private, link, server, sign_out_of=page)
    assert errors == []


def _look_until_signed_out(private: Page, link: str, server: Server, *, sign_out_of: Page) -> None:
    """Look at an account; a verifier elsewhere, which follows the feed, accepts the token until the administrator signs out."""
    private.goto(link)
    expect_sound(private)
    private.locator("form .primary").press("Enter")
    expect(private.locator("section.support")).to_be_visible()
    expect(private.locator("section.support")).to_contain_text("Ticket 4711")
    expect_sound(private)
    private.goto(f"{server.url}/account/data")
    expect(private.locator("section.support")).to_be_visible()
    answer = private.context.request.post(f"{server.url}/refresh", headers={"origin": server.url}).json()
    assert (answer["actor"]["reason"], answer["actor"]["write"]) == ("Ticket 4711", False)
    made = run_process(server.folder, "credentials", "create", "support", "--json")
    credential: str = json.loads(made.stdout)["credential"]

    def is_over() -> bool:
        try:
            claims = verifier.verify(answer["accessToken"], impersonation=True)
        except SessionEnded:
            return True
        assert claims.actor is not None
        return False

    with Verifier(server.url, audience=server.url, credential=credential, timeout_s=10) as verifier:
        assert not is_over()
        sign_out_of.goto(f"{server.url}/account")
        sign_out_of.locator("header.account button").press("Enter")
        sign_out_of.wait_for_url("**/signed-out*")
        assert eventually(is_over)
    private.goto(f"{server.url}/account")
    private.wait_for_url("**/sign-in")


def test_an_administrator_looks_after_a_person_by_keyboard(chromium: Browser, server: Server) -> None:
    """The page asks for the second factor when its proof is old. Axe looks at each page, in Arabic, on a phone, in the dark."""
    server.register("boss@example.com")
    server.register("lost@example.com")
    assert run_process(server.folder, "users", "grant", "boss@example.com", "admin").returncode == 0
    errors: list[str] = []
    look: dict[str, Any] = {"locale": "ar-EG", "color_scheme": "dark", "viewport": {"width": WIDTH, "height": 700}}
    with open_page(chromium, errors, **look) as page:
        app = enrol_app(page, server, "boss@example.com")
        age_sign_ins(server)
        page.locator("a[href$='/admin']").press("Enter")
        type_code(page, app.now())
        page.wait_for_url("**/admin")
        expect_sound(page)
        page.locator("#email").fill("lost@")
        page.locator("#email").press("Enter")
        page.wait_for_url("**/admin?email=*")
        page.locator("a[href*='/admin/person']").press("Enter")
        expect(page.locator("h1")).to_have_text("lost@example.com")
        expect_sound(page)

        age_sign_ins(server)
        page.locator("#role").fill("editor")
        page.locator("#role").press("Enter")
        type_code(page, app.now())
        expect(page.locator(".notice.good")).to_be_visible()
        expect(page.locator("form:has([value=revoke])")).to_have_count(1)
        page.locator("#new-email").fill("boss@example.com")
        page.locator("#new-email").press("Enter")
        expect(page.locator("#new-email-error")).to_be_visible()
        expect(page.locator("#new-email")).to_be_focused()
        expect(page.locator("#new-email")).to_have_value("boss@example.com")
        expect_sound(page)

        make_credential(page, server)
        page.goto(f"{server.url}/admin/recent?kind=credential_added")
        expect(page.locator(".devices li", has_text="orders")).to_have_count(1)
        page.goto(f"{server.url}/admin/recent?person=lost@example.com")
        page.locator("a[href*='/admin/person']").first.press("Enter")
        page.locator("form:has([value=delete]) button").press("Enter")
        expect(page.locator("#email")).to_be_focused()
        expect_sound(page)
        page.keyboard.type("Lost@Example.com")
        page.keyboard.press("Enter")
        page.wait_for_url("**/admin?done=deleted")
        page.goto(f"{server.url}/admin/recent?kind=account_deleted")
        page.locator("a[href*='/admin/why']").first.press("Enter")
        page.wait_for_url("**/admin/why?*")
        expect_sound(page)
    assert errors == []


def make_credential(page: Page, server: Server) -> None:
    """Go through the other pages, and create a credential on the last one."""
    for path in ("new-person", "recent", "service"):
        page.goto(f"{server.url}/admin/{path}")
        expect_sound(page)
    page.locator("#name").fill("orders")
    page.locator("#name").press("Enter")
    expect(page.locator("pre.codes")).to_be_visible()
    expect_sound(page)


def enrol_app(page: Page, server: Server, email: str) -> pyotp.TOTP:
    """Sign in, add the app that everybody must have, and go to the account."""
    sign_in(page, server, email)
    page.wait_for_url("**/sign-in/enrol*")
    page.locator("a[href*='/enrol/totp']").press("Enter")
    app = pyotp.TOTP(page.locator("code.key").inner_text().replace(" ", ""))
    type_code(page, app.now())
    page.locator("form .primary").press("Enter")
    expect(page.locator("#devices")).to_be_visible()
    return app


def test_second_factors_need_no_script(chromium: Browser, server: Server) -> None:
    """A person adds an app, and signs in with its code and with a recovery code. The way back and a reload lose nothing."""
    email = "no-script@example.com"
    server.register(email)
    with open_page(chromium, java_script_enabled=False) as page:
        sign_in(page, server, email, "?return_to=/account/sign-in")
        page.get_by_role("link", name="Set up an authenticator app").click()
        app = pyotp.TOTP(page.locator("code.key").inner_text().replace(" ", ""))
        page.get_by_label("Code").fill(app.now())
        page.get_by_role("button", name="Continue").click()
        codes = page.locator("#codes").inner_text().splitlines()
        expect(page.get_by_role("button", name="Copy")).to_be_hidden()
        expect(page.get_by_role("link", name="Download")).to_be_visible()
        page.get_by_role("button", name="I have saved them").click()
        expect(page.get_by_role("heading", name="How you sign in")).to_be_visible()
        expect(page.locator("main")).to_contain_text("You have 10 codes left.")
    age_sign_ins(server)
    with open_page(chromium, java_script_enabled=False) as page:
        sign_in(page, server, email, "?return_to=/account/sign-in")
        page.reload()
        page.go_back()
        page.go_forward()
        page.get_by_label("Code").fill(app.now())
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("heading", name="How you sign in")).to_be_visible()
    with open_page(chromium, java_script_enabled=False) as page:
        sign_in(page, server, email, "?return_to=/account/sign-in")
        page.get_by_role("button", name="Use a recovery code").click()
        page.get_by_label("Recovery code").fill(codes[4].upper().replace("-", " "))
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("main")).to_contain_text("You have 9 codes left.")
