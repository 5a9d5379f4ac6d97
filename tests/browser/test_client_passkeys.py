"""Passkeys in the browser client, with Chromium's virtual authenticator and a real service."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.authenticator import Authenticator
from tests.browser.conftest import open_page
from tests.browser.test_client import expect_state, profile, sign_in, state, wait_until
from tests.browser.test_client_conditions import Api
from tests.browser.test_client_second_factor import RECOVERY_CODES, begin, call
from tests.serving import PASSWORD, Server, free_port

pytestmark = pytest.mark.xdist_group("browser-client")
PORT = free_port()
OLD_BROWSER = """
delete PublicKeyCredential.parseCreationOptionsFromJSON;
delete PublicKeyCredential.parseRequestOptionsFromJSON;
PublicKeyCredential.prototype.toJSON = () => { throw new TypeError("Illegal invocation"); };
"""
NOTE_CEREMONIES = """{
  const get = navigator.credentials.get.bind(navigator.credentials);
  window.ceremonies = [];
  navigator.credentials.get = (options) => { ceremonies.push(options.mediation ?? "modal"); return get(options); };
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service that trusts the application."""
    running = Server(tmp_path_factory.mktemp("passkeys"), TRUSTED_ORIGINS=f"http://localhost:{PORT}")
    yield running.start()
    running.stop()


@pytest.fixture(scope="module")
def app(server: Server) -> Iterator[str]:
    """Return the address of the application."""
    with Api(server.url).running(PORT) as origin:
        yield origin


@pytest.fixture
def email(server: Server) -> str:
    """Return the address of a new account."""
    email = f"ada-{uuid4().hex[:8]}@example.com"
    assert server.register(email).status_code == 201
    return email


@pytest.fixture
def device(page: Page) -> Authenticator:
    """Return the device of the browser."""
    return Authenticator(page)


def open_app(page: Page, app: str, email: str) -> None:
    """Open the application, and sign in by password."""
    page.goto(app)
    expect_state(page, "signed-out")
    sign_in(page, email)


@pytest.mark.parametrize("script", ["", OLD_BROWSER], ids=["own", "missing"])
def test_a_passkey_signs_in(page: Page, app: str, email: str, device: Authenticator, script: str) -> None:
    """The browser's own conversions are used, or ours where they are missing or throw. Removed, it is offered no more."""
    if script:
        page.add_init_script(script)
    open_app(page, app, email)
    made = call(page, "client.passkeys.add({ name: 'My laptop' })")
    assert (made["name"], len(made["recoveryCodes"])) == ("My laptop", RECOVERY_CODES)
    assert call(page, "client.passkeys.add()") == "passkey_exists"
    assert call(page, "client.passkeys.rename(value, 'Old laptop')", made["id"])["name"] == "Old laptop"
    page.evaluate("client.signOut()")
    assert call(page, "client.signInWithPasskey()")["status"] == "signed-in"
    assert profile(page) == email
    assert [each["name"] for each in call(page, "client.passkeys.list()")] == ["Old laptop"]
    page.reload()
    expect_state(page, "signed-in")
    assert call(page, "client.passkeys.remove(value)", made["id"]) == "done"
    assert call(page, "client.passkeys.list()") == []
    assert device.credentials == [], "the browser was told that it is not accepted any more"


def test_a_passkey_as_second_factor(page: Page, app: str, email: str, device: Authenticator, chromium: Browser) -> None:
    """After the password, and to prove it again in a session of before the passkey."""
    with open_page(chromium) as elsewhere:
        Authenticator(elsewhere)
        open_app(elsewhere, app, email)
        open_app(page, app, email)
        codes = call(page, "client.passkeys.add()")["recoveryCodes"]
        assert len(device.credentials) == 1
        assert call(elsewhere, "client.stepUp({ recoveryCode: value })", codes[0]) == "done"
        assert call(elsewhere, "client.stepUp({ passkey: true })") == "passkey_cancelled", "it is on another device"
    first = begin(page, email)
    assert set(first["methods"]) == {"passkey", "recovery_code"}
    assert call(page, "client.secondFactor(first, { passkey: true })")["status"] == "signed-in"
    assert call(page, "client.stepUp({ passkey: true })") == "done"
    assert profile(page) == email


def test_every_kind_of_authenticator(page: Page, app: str, email: str) -> None:
    """One that does not verify the person is a second factor alone, and one that keeps nothing makes no passkey.

    Chromium makes no passkey on a USB key without verification, because it would be kept there without a PIN.
    """
    open_app(page, app, email)
    for verifies, keeps, is_platform, is_backed_up in itertools.product((True, False), repeat=4):
        kind = {"verifies": verifies, "keeps": keeps, "is_platform": is_platform, "is_backed_up": is_backed_up}
        authenticator = Authenticator(page, **kind)
        made = call(page, "client.passkeys.add()")
        if not keeps or not (verifies or is_platform):
            assert made == "passkey_cancelled", kind
            authenticator.remove()
            continue
        assert made["backedUp"] is is_backed_up, kind
        expect_second_factor(page, email)
        page.evaluate("client.signOut()")
        alone = call(page, "client.signInWithPasskey()")
        assert verifies is (alone != "passkey_cancelled"), kind
        if not is_platform:
            held = Authenticator(page, keeps=False, is_platform=False)
            authenticator.move_to(held)
            authenticator = held
            page.evaluate("client.signOut()")
            assert call(page, "client.signInWithPasskey()") == "passkey_cancelled", kind
        expect_second_factor(page, email)
        assert call(page, "client.passkeys.remove(value)", made["id"]) == "done"
        authenticator.remove()


def expect_second_factor(page: Page, email: str) -> None:
    """Sign in with the password and the passkey."""
    begin(page, email)
    assert call(page, "client.secondFactor(first, { passkey: true })")["status"] == "signed-in"


def test_a_touch_alone_signs_nobody_in(page: Page, app: str, email: str) -> None:
    """A page that names the passkey and leaves the verification away gets an answer, and the service refuses it."""
    open_app(page, app, email)
    authenticator = Authenticator(page, verifies=False)
    name = call(page, "client.passkeys.add()")["id"]
    page.evaluate("client.signOut()")
    page.evaluate(
        """(name) => {
             const id = Uint8Array.from(atob(name.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));
             const weak = { allowCredentials: [{ type: "public-key", id }], userVerification: "discouraged" };
             const get = navigator.credentials.get.bind(navigator.credentials);
             navigator.credentials.get = ({ publicKey, ...rest }) => get({ ...rest, publicKey: { ...publicKey, ...weak } });
           }""",
        name,
    )
    assert call(page, "client.signInWithPasskey()") == "invalid_passkey"
    assert state(page)["status"] == "signed-out"
    assert len(authenticator.credentials) == 1, "it is refused, but not unknown"
    expect_second_factor(page, email)


def test_passkeys_in_a_field(page: Page, app: str, email: str, device: Authenticator) -> None:
    """The offer signs in when the person takes it, as the virtual device does at once."""
    page.add_init_script(NOTE_CEREMONIES)
    open_app(page, app, email)
    call(page, "client.passkeys.add()")
    page.evaluate("client.signOut()")
    page.set_content("<input autocomplete='username webauthn'>")
    assert call(page, "client.signInWithPasskey({ conditional: true })")["status"] == "signed-in"
    assert page.evaluate("ceremonies") == ["conditional"]
    assert len(device.credentials) == 1


@pytest.mark.parametrize(
    ("end", "ceremonies"),
    [
        ("controller.abort()", ["conditional"]),
        ("client.signInWithPasskey().catch(() => {})", ["conditional", "modal"]),
    ],
)
def test_an_offer_that_nobody_takes(page: Page, app: str, end: str, ceremonies: list[str]) -> None:
    """The page ends it, or a button: a browser runs one ceremony at a time."""
    page.add_init_script(NOTE_CEREMONIES)
    Authenticator(page, answers=False)
    page.goto(app)
    expect_state(page, "signed-out")
    page.evaluate(
        """void (window.controller = new AbortController(), window.offered =
             client.signInWithPasskey({ conditional: true, signal: controller.signal }).catch(({ code }) => code))"""
    )
    wait_until(page, lambda: page.evaluate("ceremonies") == ["conditional"])
    assert page.evaluate("Promise.race([offered, 'waiting'])") == "waiting"
    page.evaluate(f"void {end}")
    assert page.evaluate("offered") == "passkey_cancelled"
    assert page.evaluate("ceremonies") == ceremonies
    assert state(page)["status"] == "signed-out"


def test_a_passkey_that_the_service_does_not_know(
    page: Page, app: str, email: str, device: Authenticator, server: Server
) -> None:
    """The account was deleted. The browser is told, and forgets the passkey."""
    open_app(page, app, email)
    call(page, "client.passkeys.add()")
    assert call(page, "client.deleteAccount(value)", email) == "done"
    assert len(device.credentials) == 1
    assert call(page, "client.signInWithPasskey()") == "unknown_passkey"
    assert device.credentials == []
    assert server.register(email, PASSWORD).status_code == 201


def test_a_page_without_passkeys(page: Page, app: str) -> None:
    """The rejection has a code, so that the application can offer another way."""
    page.add_init_script("delete window.PublicKeyCredential")
    page.goto(app)
    expect_state(page, "signed-out")
    assert call(page, "client.signInWithPasskey()") == "passkey_unsupported"


def test_a_passkey_without_a_question(page: Page, app: str, email: str, device: Authenticator) -> None:
    """Browsers make one after a sign-in with a saved password. Until then the offer waits, and gives way to the button."""
    open_app(page, app, email)
    page.evaluate(
        """() => { const create = navigator.credentials.create.bind(navigator.credentials);
                   navigator.credentials.create = (options) => { window.mediation = options.mediation; return create(options); };
                   window.offered = client.passkeys.add({ conditional: true }).catch(({ code }) => code); }"""
    )
    wait_until(page, lambda: page.evaluate("window.mediation") == "conditional")
    assert call(page, "client.passkeys.add()")["name"]
    assert page.evaluate("offered") == "passkey_cancelled"
    assert len(device.credentials) == call(page, "client.factors()")["passkeys"] == 1
