"""Ceremonies of passkeys in the browser client, with Chromium's virtual authenticator. The service's answers are the test's."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from tests.browser.test_client import expect_state, sign_in
from tests.browser.test_client_conditions import Api
from tests.serving import QuickServer, Server, free_port

pytestmark = pytest.mark.xdist_group("browser-client")
EMAIL = "ada@example.com"
PORT = free_port()
ORIGIN = f"http://localhost:{PORT}"
CHALLENGE = "Y2hhbGxlbmdlLW9mLXRoZS1zZXJ2aWNl"
USER = "dXNlci1oYW5kbGU"
CREATION = {
    "rp": {"id": "localhost", "name": "Handstamp"},
    "user": {"id": USER, "name": EMAIL, "displayName": "Ada"},
    "challenge": CHALLENGE,
    "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
    "authenticatorSelection": {"residentKey": "required", "userVerification": "required"},
    "excludeCredentials": [],
}
OLD_BROWSER = """
delete PublicKeyCredential.parseCreationOptionsFromJSON;
delete PublicKeyCredential.parseRequestOptionsFromJSON;
PublicKeyCredential.prototype.toJSON = () => { throw new TypeError("Illegal invocation"); };
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service that trusts the application."""
    running = QuickServer(tmp_path_factory.mktemp("passkeys"), TRUSTED_ORIGINS=ORIGIN)
    running.start()
    assert running.register(EMAIL).status_code == 201
    yield running
    running.stop()


@pytest.fixture(scope="module")
def app(server: Server) -> Iterator[str]:
    """Return the address of the application."""
    with Api(server.url).running(PORT) as origin:
        yield origin


class Passkeys:
    """The service's endpoints for passkeys: they keep what pages send."""

    def __init__(self, page: Page, server: Server) -> None:
        """Answer the requests of a page."""
        self.made: list[Any] = []
        self.accepted: list[str] = []
        self.used: list[Any] = []
        page.route(f"{server.url}/passkeys**", self._answer)
        page.route(f"{server.url}/passkeys/**", self._answer)
        page.route(f"{server.url}/login/passkey**", self._answer)
        page.route(f"{server.url}/login/passkey/options", self._answer)

    def _answer(self, route: Route) -> None:
        path = route.request.url.partition(f":{route.request.url.split(':')[2].split('/')[0]}")[2]
        if route.request.method == "OPTIONS":
            route.continue_()
        elif path == "/passkeys/options":
            exclude = [{"type": "public-key", "id": each} for each in self.accepted]
            self._send(route, {"challenge": "c1", "options": CREATION | {"excludeCredentials": exclude}})
        elif path == "/login/passkey/options":
            options = {"challenge": CHALLENGE, "rpId": "localhost", "allowCredentials": [], "userVerification": "required"}
            self._send(route, {"challenge": "c2", "options": options})
        elif path == "/login/passkey":
            self.used.append(route.request.post_data_json)
            self._send(route, {"challenge": "c3", "methods": ["totp"], "expiresIn": 300})
        elif route.request.method == "POST":
            self.made.append(route.request.post_data_json)
            self.accepted.append(self.made[-1]["passkey"]["id"])
            self._send(route, {"id": self.accepted[-1], "name": "Ada's"})
        elif route.request.method == "DELETE":
            self.accepted.remove(path.removeprefix("/passkeys/"))
            self._send(route, {})
        else:
            details = {"rpId": "localhost", "userId": USER, "allAcceptedCredentialIds": self.accepted}
            self._send(route, {"passkeys": [], "signals": [{"method": "signalAllAcceptedCredentials", "options": details}]})

    @staticmethod
    def _send(route: Route, body: object) -> None:
        cors = {"access-control-allow-origin": ORIGIN, "access-control-allow-credentials": "true"}
        route.fulfill(status=200, json=body, headers=cors)


def add_authenticator(page: Page) -> None:
    """Add a device with a finger print reader, which answers by itself."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def client_data(passkey: Any) -> Any:
    """Return what a credential has signed about the page."""
    text = passkey["response"]["clientDataJSON"]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


@pytest.mark.parametrize("script", ["", OLD_BROWSER], ids=["own", "missing"])
def test_a_passkey_is_made_and_used(page: Page, app: str, server: Server, script: str) -> None:
    """The browser's own conversions are used, or ours where they are missing or throw: the service gets the same members.

    After the removal the browser is told which passkeys are left, and offers this one no more.
    """
    if script:
        page.add_init_script(script)
    add_authenticator(page)
    service = Passkeys(page, server)
    page.goto(app)
    expect_state(page, "signed-out")
    sign_in(page, EMAIL)
    assert page.evaluate("client.passkeys.add({ name: 'My laptop' })")["name"] == "Ada's"
    again = page.evaluate("client.passkeys.add().catch(({ name, code, status }) => [name, code, status])")
    assert again == ["HandstampError", "passkey_exists", 0]
    (made,) = service.made
    assert (made["passkeyChallenge"], made["name"]) == ("c1", "My laptop")
    assert {"clientDataJSON", "attestationObject", "transports"} <= set(made["passkey"]["response"])
    signed = client_data(made["passkey"])
    assert (signed["type"], signed["challenge"], signed["origin"]) == ("webauthn.create", CHALLENGE, ORIGIN)
    step = page.evaluate("client.signInWithPasskey()")
    assert step == {"status": "second-factor", "challenge": "c3", "methods": ["totp"], "expiresIn": 300}
    (used,) = service.used
    assert (used["challenge"], used["delivery"]) == ("c2", "split")
    assert used["passkey"]["id"] == used["passkey"]["rawId"] == made["passkey"]["id"]
    assert used["passkey"]["response"]["userHandle"] == USER
    assert {"clientDataJSON", "authenticatorData", "signature", "userHandle"} <= set(used["passkey"]["response"])
    assert client_data(used["passkey"])["type"] == "webauthn.get"
    page.evaluate("(id) => client.passkeys.remove(id)", made["passkey"]["id"])
    assert page.evaluate("client.signInWithPasskey().catch(({ code }) => code)") == "passkey_cancelled", (
        "the browser has deleted it"
    )


def test_one_ceremony_at_a_time(page: Page, app: str, server: Server) -> None:
    """The offer in a field ends when a button is used, or when the page wants it to. Both say so with a code."""
    service = Passkeys(page, server)
    page.goto(app)
    expect_state(page, "signed-out")
    add_authenticator(page)
    page.evaluate("document.body.innerHTML = '<input autocomplete=\"username webauthn\">'")
    offer = """(name) => void (window[name] = new Promise((done) => { window[`${name}Began`] =
        (async () => { const get = navigator.credentials.get.bind(navigator.credentials);
          await new Promise((began) => { navigator.credentials.get = (options) => { began(); return get(options); };
            window.control = new AbortController();
            client.signInWithPasskey({ conditional: true, signal: control.signal }).then(done, ({ code }) => done(code)); });
          navigator.credentials.get = get; })(); }))"""
    page.evaluate(offer, "first")
    page.evaluate("firstBegan")
    page.evaluate(offer, "second")
    assert page.evaluate("first") == "passkey_cancelled"
    page.evaluate("secondBegan")
    page.evaluate("control.abort()")
    assert page.evaluate("second") == "passkey_cancelled"
    assert service.used == []


def test_a_page_without_passkeys(page: Page, app: str, server: Server) -> None:
    """The rejection has a code, so that the application can offer another way."""
    Passkeys(page, server)
    page.add_init_script("delete window.PublicKeyCredential")
    page.goto(app)
    expect_state(page, "signed-out")
    assert page.evaluate("client.signInWithPasskey().catch(({ code }) => code)") == "passkey_unsupported"
