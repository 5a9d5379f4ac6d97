"""Passkeys on the pages, in a real Chromium with its virtual authenticator."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.authenticator import Authenticator, record_signals
from tests.browser.axe import expect_sound
from tests.browser.conftest import open_page
from tests.browser.test_factor_pages import age_sign_ins, sign_in, type_code
from tests.serving import PASSWORD, Server

_RUN_CONDITIONAL = """
const create = CredentialsContainer.prototype.create;
globalThis.wasAsked = false;
CredentialsContainer.prototype.create = async function (options) {
  await noteMediation(options.mediation ?? "");
  const created = create.call(this, { ...options, mediation: $mediation });
  globalThis.wasAsked = true;
  return created;
};
"""
pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service. Each test has an account of its own."""
    running = Server(tmp_path_factory.mktemp("passkeys"))
    yield running.start()
    running.stop()


@pytest.fixture
def email(server: Server, request: pytest.FixtureRequest) -> str:
    """Return the address of a new account."""
    email = f"{re.sub('[^a-z]', '', request.node.name)[-40:]}@example.com"
    assert server.register(email).status_code == 201
    return email


@contextmanager
def a_page(chromium: Browser, **look: Any) -> Iterator[Page]:
    """Open a page of a browser of its own. Its console stays empty."""
    errors: list[str] = []
    with open_page(chromium, errors, **look) as page:
        yield page
    assert errors == []


def create_passkey(page: Page, server: Server) -> None:
    """Create a passkey on the account's page, and leave the page of recovery codes, if there is one."""
    page.goto(f"{server.url}/account/sign-in")
    page.get_by_role("link", name="Create a passkey").click()
    page.get_by_role("button", name="Create a passkey").click()
    page.wait_for_url(re.compile("/account/(passkeys|sign-in.done=passkey)$"))
    if "done" not in page.url:
        page.get_by_role("link", name="I have saved them").click()
    expect(page.get_by_role("status")).to_have_text("Your passkey is created.")


def sign_out(page: Page, server: Server) -> None:
    """Sign out of this browser."""
    page.goto(f"{server.url}/account")
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()


def test_a_passkey_signs_in_alone(chromium: Browser, server: Server, email: str) -> None:
    """By the list of names at the e-mail field, and by the button. Nothing is typed."""
    with a_page(chromium) as page:
        Authenticator(page)
        sign_in(page, server, email)
        create_passkey(page, server)
        expect(page.locator("main")).to_contain_text("it also works on your other devices")
        sign_out(page, server)
        page.goto(f"{server.url}/sign-in?return_to=/account/sign-in")
        expect(page.get_by_role("heading", name="How you sign in")).to_be_visible()  # the virtual browser chooses by itself
        expect(page.locator("main")).to_contain_text("last used")

        sign_out(page, server)
        page.add_init_script("PublicKeyCredential.isConditionalMediationAvailable = async () => false")
        page.goto(f"{server.url}/sign-in")
        expect(page.locator("#email")).to_have_attribute("autocomplete", "username webauthn")
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_role("heading", name="Your account")).to_be_visible()


def test_a_passkey_is_a_second_factor_and_a_fresh_proof(chromium: Browser, server: Server, email: str) -> None:
    """With a security key that only notices touches, which is enough after the password."""
    with a_page(chromium) as page:
        authenticator = Authenticator(page, is_platform=False, is_backed_up=False)
        sign_in(page, server, email)
        create_passkey(page, server)
        expect(page.locator("main")).to_contain_text("On that device alone.")
        sign_out(page, server)
        touched = Authenticator(page, verifies=False, keeps=False, is_platform=False, is_backed_up=False)
        authenticator.move_to(touched)
        sign_in(page, server, email, "?return_to=/account/data")
        expect(page.get_by_role("heading", name="One more step")).to_be_visible()
        page.get_by_role("button", name="Use a passkey").click()
        expect(page.get_by_role("heading", name="Your data")).to_be_visible()

        age_sign_ins(server)
        page.locator("#email").fill(email)
        page.get_by_role("button", name="Delete the account").click()
        touched.forget()
        page.get_by_role("button", name="Use a passkey").click()
        expect(page.get_by_role("alert")).to_have_text("That did not work. Try again, or choose another way.")
        expect(page.get_by_role("button", name="Use a recovery code")).to_be_enabled()


def test_the_browser_is_told_of_each_change(chromium: Browser, server: Server, email: str) -> None:
    """After each change the list is the whole one, so that the authenticator forgets what was removed.

    The list is used by keyboard, on a phone.
    """
    with a_page(chromium, viewport={"width": 390, "height": 700}) as page:
        signals = record_signals(page)
        authenticator = Authenticator(page)
        sign_in(page, server, email)
        create_passkey(page, server)
        expect(page.get_by_role("listitem")).to_have_count(1)
        tab_to(page, page.locator("summary"))
        page.keyboard.press("Enter")
        name = page.get_by_label("Name", exact=True)
        tab_to(page, name)
        page.keyboard.press("ControlOrMeta+A")
        page.keyboard.type("  ")
        page.keyboard.press("Enter")
        expect(name).to_have_accessible_description(re.compile("must be one line"))
        expect_sound(page)
        tab_to(page, name)
        page.keyboard.press("ControlOrMeta+A")
        page.keyboard.type("The blue key")
        page.keyboard.press("Enter")
        expect(page.get_by_role("listitem")).to_contain_text("The blue key")
        expect_sound(page)
        tab_to(page, page.get_by_role("button", name="Remove the passkey The blue key"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("Your passkey is removed.")
        while len(authenticator.credentials) > 0:
            page.wait_for_timeout(20)
        accepted = [each["options"] for each in signals if each["name"] == "signalAllAcceptedCredentials"]
        assert {len(each["allAcceptedCredentialIds"]) for each in accepted} == {0, 1}
        assert accepted[-1] == {"rpId": "localhost", "userId": accepted[0]["userId"], "allAcceptedCredentialIds": []}
        (named, *_) = [each["options"] for each in signals if each["name"] == "signalCurrentUserDetails"]
        assert (named["name"], named["displayName"]) == (email, email)


def test_a_passkey_that_is_not_known_is_forgotten(chromium: Browser, server: Server, email: str) -> None:
    """Removed elsewhere meanwhile, it is refused at the sign-in, and the authenticator forgets it."""
    with a_page(chromium) as page:
        signals = record_signals(page)
        authenticator = Authenticator(page)
        sign_in(page, server, email)
        create_passkey(page, server)
        sign_out(page, server)
        signals.clear()
        with closing(sqlite3.connect(server.folder / "handstamp.db", timeout=60)) as database, database:
            database.execute("DELETE FROM passkey")
        page.goto(f"{server.url}/sign-in")
        expect(page.get_by_role("alert")).to_contain_text("This passkey is not known here any more.")
        while len(authenticator.credentials) > 0:
            page.wait_for_timeout(20)
        assert [each["name"] for each in signals] == ["signalUnknownCredential"]


def test_who_must_have_a_factor_creates_a_passkey(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    """While signing in, on a phone, in Arabic and in the dark; then the codes, then on to where the person wanted to go."""
    running = Server(tmp_path_factory.mktemp("required"), SECOND_FACTOR="required")
    running.start()
    look: dict[str, Any] = {"locale": "ar-EG", "color_scheme": "dark", "viewport": {"width": 390, "height": 700}}
    try:
        running.register()
        with a_page(chromium, **look) as page:
            Authenticator(page)
            sign_in(page, running, "ada@example.com", "?return_to=/account/sign-in")
            page.wait_for_url("**/sign-in/enrol*")
            expect_sound(page)
            page.locator("main a.primary").click()
            expect(page.locator("form[data-passkey]")).to_be_visible()
            expect_sound(page)
            page.locator("form[data-passkey] button").click()
            expect(page.locator("#codes")).to_be_visible()
            page.locator("form .primary").click()
            page.wait_for_url("**/account/sign-in")
            expect(page.locator(".devices li")).to_have_count(1)
            expect(page.locator(".devices li")).to_contain_text("مفتاح مرور")
            expect_sound(page)
            page.locator("summary").click()
            expect_sound(page)
            page.locator("form[action$='/passkeys/remove'] button").click()
            expect(page.get_by_role("alert")).to_be_visible()
            expect_sound(page)
    finally:
        running.stop()


def test_a_passkey_is_offered_after_a_password(chromium: Browser, server: Server, email: str) -> None:
    """The offer keeps where the person wanted to go, and can be declined for good. Without script there is none.

    On a phone, with the keyboard alone, in Arabic and in the dark.
    """
    look: dict[str, Any] = {"locale": "ar-EG", "color_scheme": "dark", "viewport": {"width": 390, "height": 700}}
    with a_page(chromium, **look) as page:
        Authenticator(page)
        expect_offer(page, server, email)
        expect_sound(page)
        tab_to(page, page.locator("button[name=forever]"))
        page.keyboard.press("Enter")
        page.wait_for_url("**/account/data")
        (cookie,) = [each for each in page.context.cookies() if "offer" in each.get("name", "")]
        assert cookie.get("httpOnly")
        page.context.clear_cookies(name=re.compile("handstamp-(access|refresh|seen).*"))
        sign_in(page, server, email, "?return_to=/account/data")
        page.wait_for_url("**/account/data")
        page.context.clear_cookies()
        expect_offer(page, server, email)
        tab_to(page, page.locator("form[data-passkey] button"))
        page.keyboard.press("Enter")
        expect(page.locator("#codes")).to_be_visible()
        tab_to(page, page.locator("form .primary"))
        page.keyboard.press("Enter")
        page.wait_for_url("**/account/data")
    with a_page(chromium, java_script_enabled=False) as page:
        sign_in(page, server, email, "?return_to=/account/data")
        expect(page.get_by_role("heading", name="One more step")).to_be_visible()


def expect_offer(page: Page, server: Server, email: str) -> None:
    """Sign in with the password, and find the offer on the way."""
    page.goto(f"{server.url}/sign-in?return_to=/account/data")
    expect(page.locator("input[name=passkeys]")).to_have_value("on")
    page.locator("#email").fill(email)
    page.locator("#password").fill(PASSWORD)
    page.locator("#password").press("Enter")
    expect(page.locator("form[data-passkey=create]")).to_be_visible()


def tab_to(page: Page, target: Locator) -> None:
    """Move the focus with the Tab key until `target` has it. Fail after as many steps as no page of ours needs."""
    for _ in range(20):
        page.keyboard.press("Tab")
        if target.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"The Tab key does not reach {target}")


@pytest.mark.parametrize("is_created", [True, False])
def test_a_browser_may_create_a_passkey_by_itself_where_a_factor_is_there(
    chromium: Browser, server: Server, email: str, *, is_created: bool
) -> None:
    """After a password and the code of an app, unasked (conditional create). Otherwise the button still works.

    Chromium cannot be made to do this with a virtual authenticator. It takes such a request to Google's password manager alone,
    if that has a password of the page that was used in the last five minutes, and not at all while DevTools replaces the
    authenticators. The request then waits until the page aborts it, whatever the options of the authenticator. So the first
    case runs the request as a plain one. The second is what Chromium does: it waits, and the person presses the button.
    """
    conditional: list[str] = []
    app = add_app(server, email)
    with a_page(chromium) as page:
        authenticator = Authenticator(page)
        page.expose_function("noteMediation", lambda mediation: conditional.append(mediation))  # noqa: PLW0108 - as in authenticator.py
        page.add_init_script(_RUN_CONDITIONAL.replace("$mediation", "undefined" if is_created else "options.mediation"))
        page.goto(f"{server.url}/sign-in?return_to=/account/sign-in")
        expect(page.locator("input[name=passkeys]")).to_have_value("on")
        page.locator("#email").fill(email)
        page.locator("#password").fill(PASSWORD)
        page.locator("#password").press("Enter")
        type_code(page, app.now())
        if not is_created:
            expect(page.locator("form[data-conditional=create]")).to_be_visible()
            page.wait_for_function("() => globalThis.wasAsked")
            page.get_by_role("button", name="Create a passkey").click()
        expect(page.get_by_role("heading", name="How you sign in")).to_be_visible()
        expect(page.get_by_role("listitem")).to_have_count(1)
        assert conditional == (["conditional"] if is_created else ["conditional", ""])
        assert len(authenticator.credentials) == 1


def add_app(server: Server, email: str) -> pyotp.TOTP:
    """Add an authenticator app to an account, whose codes are all unused."""
    headers = {"authorization": f"Bearer {server.login(email)['accessToken']}"}
    with server.client(headers=headers) as client:
        begun = client.post("/totp", json={}).json()
        app = pyotp.TOTP(begun["secret"].replace(" ", ""))
        assert client.post("/totp/confirm", json={"enrolment": begun["enrolment"], "code": app.now()}).status_code == 200
    age_sign_ins(server)
    return app
