"""The pages in a real browser: by mouse, by keyboard, without script, from other sites, and after the back button."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.axe import expect_sound
from tests.browser.conftest import open_page
from tests.serving import PASSWORD, Server, cookie_name, free_port

pytestmark = pytest.mark.xdist_group("browser")
APP_PORT = free_port()
APP = f"http://localhost:{APP_PORT}"
HOSTILE = """<!doctype html><title>Another site</title><h1>Another site</h1>
<a id="link" href="{url}/account">Your account</a>
<form id="out" method="post" action="{url}/account/sign-out"><button>Win a prize</button></form>
<form id="in" method="post" action="{url}/sign-in">
<input name="email" value="eve@example.com"><input name="password" value="{password}"><button>Win another</button></form>
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service, shared by all tests of this file: each creates its own account."""
    running = Server(tmp_path_factory.mktemp("pages"), TRUSTED_ORIGINS=APP)
    yield running.start()
    running.kill()


@pytest.fixture
def email(server: Server) -> str:
    """Return the address of a new account."""
    email = f"ada-{uuid4().hex[:8]}@example.com"
    assert server.register(email).status_code == 201
    return email


def sign_in(page: Page, server: Server, email: str, query: str = "") -> None:
    """Sign in as a person does."""
    page.goto(f"{server.url}/sign-in{query}")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_role("textbox", name="Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def expect_account(page: Page, email: str) -> None:
    """Assert that the page shows this account."""
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    expect(page.get_by_role("banner").or_(page.locator("header"))).to_contain_text(email)


@contextmanager
def serve_page(text: str, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve one page on another origin, and yield that origin."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((host, port), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://{'localhost' if port else host}:{serving.server_port}"
        serving.shutdown()


def test_a_visitor_registers_and_signs_out(page: Page, server: Server, page_errors: list[str]) -> None:
    """A person creates an account, is signed in, reloads, and signs out."""
    email = f"new-{uuid4().hex[:8]}@example.com"
    page.goto(server.url)
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("E-mail address").fill(email)
    page.get_by_role("textbox", name="Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    expect_account(page, email)
    page.reload()
    expect_account(page, email)
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    page.goto(f"{server.url}/account")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page_errors == []


def test_the_back_button_after_signing_out_shows_no_account(remembered_page: Page, server: Server, email: str) -> None:
    """The back button shows the sign-in page: neither a cache nor the back-forward cache shows the account."""
    page = remembered_page
    sign_in(page, server, email)
    expect_account(page, email)
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.locator("body")).not_to_contain_text(email)


def test_sign_out_in_one_tab_is_seen_in_the_other(page: Page, server: Server, email: str) -> None:
    """The other tab goes to the sign-in page by itself."""
    sign_in(page, server, email)
    expect_account(page, email)
    other = page.context.new_page()
    other.goto(f"{server.url}/account")
    expect_account(other, email)
    page.get_by_role("button", name="Sign out everywhere").click()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()


def test_signing_in_by_keyboard(page: Page, server: Server, email: str) -> None:
    """The first field has the focus at first; after an error, the field to correct has it."""
    page.goto(f"{server.url}/sign-in")
    expect(page.get_by_label("E-mail address")).to_be_focused()
    page.keyboard.type(email)
    page.keyboard.press("Tab")
    page.keyboard.type("not this one at all")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Show")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    field = page.get_by_role("textbox", name="Password", exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_accessible_description("That e-mail address and password do not match.")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect_account(page, email)


def test_a_password_can_be_seen_while_it_is_typed(page: Page, server: Server) -> None:
    """A button shows the password and hides it again. It is pasted as it is, and password managers know what it is."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{server.url}/create-account")
    expect(page.get_by_label("Password", exact=True)).to_have_attribute("autocomplete", "new-password")
    page.goto(f"{server.url}/sign-in")
    field, button = page.get_by_label("Password", exact=True), page.get_by_role("button", name="Show")
    expect(field).to_have_attribute("type", "password")
    expect(field).to_have_attribute("autocomplete", "current-password")
    page.evaluate("text => navigator.clipboard.writeText(text)", PASSWORD)
    field.press("ControlOrMeta+V")
    expect(field).to_have_value(PASSWORD)
    button.click()
    expect(field).to_have_attribute("type", "text")
    expect(field).to_be_focused()
    page.get_by_role("button", name="Hide").click()
    expect(button).to_be_visible()
    expect(field).to_have_attribute("type", "password")


def test_pages_work_without_script(chromium: Browser, server: Server, email: str) -> None:
    """Signing in, changing the password and signing out work without script."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, server, email)
    expect_account(page, email)
    page.get_by_role("link", name="How you sign in").click()
    page.get_by_role("textbox", name="Current password", exact=True).fill(PASSWORD)
    page.get_by_role("textbox", name="New password", exact=True).fill("another kelp lantern rivet of the tests")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("status")).to_contain_text("Your password is changed")
    page.get_by_role("link", name="Your account").click()
    page.get_by_role("button", name="Sign out everywhere").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    context.close()


def test_a_device_is_signed_out_by_its_row(chromium: Browser, page: Page, server: Server, email: str) -> None:
    """The other browser is signed out at its next request, and its page says why."""
    with open_page(chromium) as other:
        sign_in(other, server, email)
        expect_account(other, email)
        sign_in(page, server, email)
        expect(page.get_by_role("listitem")).to_have_count(2)
        page.get_by_role("listitem").filter(has_not_text="this device").get_by_role("button").click()
        expect(page.get_by_role("status")).to_have_text("That device is signed out.")
        expect(page.get_by_role("listitem")).to_have_count(1)
        other.reload()
        expect(other.get_by_role("status")).to_have_text("You signed out.")


def test_signing_in_returns_to_the_application(page: Page, server: Server, email: str, page_errors: list[str]) -> None:
    """The sign-in form may redirect to a trusted origin: the browser checks the redirect against the page's policy."""
    with serve_page(
        "<!doctype html><title>Shop</title><h1>The shop</h1><link rel=icon href=data:,>", host="127.0.0.1", port=APP_PORT
    ):
        sign_in(page, server, email, f"?return_to={APP}/orders")
        expect(page.get_by_role("heading", name="The shop")).to_be_visible()
        assert page.url == f"{APP}/orders"
    assert page_errors == []


def test_a_cross_site_link_keeps_the_session(page: Page, server: Server, email: str) -> None:
    """The account is shown although the browser sends no strict cookie with a link of another site."""
    sign_in(page, server, email)
    expect_account(page, email)
    with serve_page(HOSTILE.format(url=server.url, password=PASSWORD)) as other:
        page.goto(other)
        page.locator("#link").click()
        expect_account(page, email)


def test_another_sites_forms_change_nothing(page: Page, server: Server, email: str) -> None:
    """Another site's form can neither sign the person out nor sign them in to another account."""
    sign_in(page, server, email)
    expect_account(page, email)
    server.register("eve@example.com")
    with serve_page(HOSTILE.format(url=server.url, password=PASSWORD)) as other:
        for form in ("#out", "#in"):
            page.goto(other)
            page.locator(f"{form} button").click()
            expect(page.get_by_role("heading", name="The request came from another site's page")).to_be_visible()
            page.goto(f"{server.url}/account")
            expect_account(page, email)


def test_an_outage_keeps_the_session(page: Page, server: Server, email: str) -> None:
    """After the service was killed and started again, the person is still signed in."""
    sign_in(page, server, email)
    expect_account(page, email)
    server.kill()
    try:
        with pytest.raises(Exception, match="ERR_CONNECTION_REFUSED"):
            page.reload()
    finally:
        server.start()
    page.goto(f"{server.url}/account")
    expect_account(page, email)


@pytest.mark.parametrize("part", ["text", "html"])
def test_a_forgotten_password_is_replaced_by_a_mail_of_the_development_inbox(
    page: Page, server: Server, email: str, *, part: str
) -> None:
    """The link of either part opens its page, from a frame that runs no script too. Axe finds nothing on the inbox."""
    page.goto(f"{server.url}/forgot")
    page.locator("#email").fill(email)
    page.locator("form[action$='/forgot'] .primary").click()
    page.wait_for_load_state()
    page.goto(f"{server.url}/dev/mail")
    expect_sound(page)
    page.locator("li", has_text=email).get_by_role("link").click()
    expect(page.locator("pre")).to_contain_text(f"{server.url}/reset")
    expect_sound(page)
    link = page.frame_locator("iframe").get_by_role("link") if part == "html" else page.locator("pre").get_by_role("link").first
    link.click()
    page.wait_for_url(f"{server.url}/reset*")
    expect(page.locator("main")).to_contain_text(email)


@pytest.mark.parametrize(("scheme", "width", "locale"), [("light", 390, "ar-EG"), ("dark", 1200, "en-GB")])
def test_axe_finds_no_serious_problem(
    chromium: Browser, server: Server, email: str, *, scheme: str, width: int, locale: str
) -> None:
    """Axe finds no violation on any page in any state, left to right or right to left, and no page is wider than the screen."""
    direction = "rtl" if locale == "ar-EG" else "ltr"
    with open_page(chromium, color_scheme=scheme, locale=locale, viewport={"width": width, "height": 800}) as page:

        def submit(form: str) -> None:
            page.locator(f"form[action$='{form}'] .primary").click()

        for path in (
            "/sign-in",
            "/create-account",
            "/signed-out",
            "/sign-in?return_to=//x",
            "/reset?token=x",
            "/undo-change?token=x",
        ):
            page.goto(server.url + path)
            expect(page.locator("html")).to_have_attribute("dir", direction)
            expect_sound(page)
        page.goto(f"{server.url}/create-account")
        submit("/create-account")
        expect(page.locator(".error").first).to_be_visible()
        expect_sound(page)
        page.goto(f"{server.url}/forgot")
        expect_sound(page)
        page.locator("#email").fill(email)
        submit("/forgot")
        submit("/reset/code")
        expect(page.locator(".error").first).to_be_visible()
        expect_sound(page)
        page.goto(f"{server.url}/sign-in")
        page.locator("#email").fill(email)
        page.locator("#password").fill(PASSWORD)
        submit("/sign-in")
        expect(page.locator("#devices")).to_be_visible()
        expect_sound(page)
        page.goto(f"{server.url}/account/sign-in")
        expect_sound(page)
        submit("/account/password")
        expect(page.locator(".error").first).to_be_visible()
        expect_sound(page)
        for path in ("/sign-in", "/account/data", "/account/email"):
            page.goto(server.url + path)
            expect(page.locator("html")).to_have_attribute("dir", direction)
            expect_sound(page)


def test_a_known_browser_signs_in_while_strangers_guess(chromium: Browser, page: Page, server: Server, email: str) -> None:
    """A browser that has signed in before is not delayed by a neighbour on the same network; a new browser waits (R71)."""
    sign_in(page, server, email)
    expect_account(page, email)
    (device,) = [cookie for cookie in page.context.cookies() if "handstamp-device" in cookie.get("name", "")]
    assert device.get("httpOnly")
    assert "device" not in page.evaluate("document.cookie")
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    with server.client() as stranger:
        wrong = {"email": email, "password": "a sentence that ada never said"}
        assert [stranger.post("/login", json=wrong).status_code for _ in range(6)] == [401] * 5 + [429]
    with open_page(chromium) as new:
        sign_in(new, server, email)
        expect(new.locator("main")).to_contain_text("Too many")
    sign_in(page, server, email)
    expect_account(page, email)


def test_a_sign_out_drops_copies_and_keeps_what_is_not_ours(page: Page, server: Server, email: str) -> None:
    """`Clear-Site-Data` empties the cache alone. The known device, other cookies and the storage of applications stay."""

    def fetch_from_network() -> bool:
        """Fetch a file that may be cached for an hour; return whether it came over the network. /docs may fetch."""
        page.goto(f"{server.url}/docs")
        return bool(
            page.evaluate(
                """async () => {
                  await (await fetch("/handstamp.js")).text();
                  const fetched = performance.getEntriesByType("resource").find(({ name }) => name.endsWith("/handstamp.js"));
                  return fetched.transferSize > 0;
                }"""
            )
        )

    sign_in(page, server, email)
    expect_account(page, email)
    page.evaluate("localStorage.setItem('of an application', 'kept'); document.cookie = 'other=kept; path=/'")
    fetch_from_network()
    assert not fetch_from_network()
    page.goto(f"{server.url}/account")
    page.get_by_role("button", name="Sign out", exact=True).first.click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    assert fetch_from_network()
    assert page.evaluate("localStorage.getItem('of an application')") == "kept"
    assert {cookie["name"] for cookie in page.context.cookies()} == {
        "other",
        cookie_name("device", server.url),
        cookie_name("grant", server.url),
    }
    sign_in(page, server, email)
    expect_account(page, email)


def test_a_page_that_opens_ours_gets_no_hold_of_it(page: Page, server: Server) -> None:
    """`Cross-Origin-Opener-Policy` separates the windows: the opener sees a closed one, and our page has no opener."""
    with serve_page("<!doctype html><title>Another site</title>") as other:
        page.goto(other)
        with page.expect_popup() as opening:
            page.evaluate("(url) => { globalThis.opened = open(url); }", f"{server.url}/sign-in")
        popup = opening.value
        expect(popup.get_by_role("heading", name="Sign in")).to_be_visible()
        assert popup.evaluate("opener") is None
        page.wait_for_function("opened.closed")
