"""Second factors in the browser client: set up, sign in with two steps, prove it again. All with a real service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyotp
import pytest
from playwright.sync_api import Browser, Page

from handstamp.domain.session import FRESH_MS
from tests.browser.conftest import open_page
from tests.browser.test_client import expect_state, open_tab, profile, sign_in, state
from tests.browser.test_client_conditions import Api
from tests.serving import PASSWORD, Server, free_port

pytestmark = pytest.mark.xdist_group("browser-client")
PORT = free_port()
ORIGIN = f"http://localhost:{PORT}"
RECOVERY_CODES = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service that trusts the application."""
    running = Server(tmp_path_factory.mktemp("second-factor"), TRUSTED_ORIGINS=ORIGIN)
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
def tab(page: Page, app: str, email: str) -> Page:
    """Return a tab in which a person has signed in."""
    page.goto(app)
    expect_state(page, "signed-out")
    sign_in(page, email)
    return page


def code_of(secret: str, *, later: int = 0) -> str:
    """Return the code that an authenticator app shows. Each is accepted once: `later` counts half minutes."""
    return pyotp.TOTP(secret.replace(" ", "")).at(int(time.time()) + 30 * later)


def enrol(page: Page) -> tuple[str, list[str]]:
    """Set up an authenticator app. Return its secret, and the recovery codes."""
    page.evaluate("client.createTotp().then((made) => { window.made = made; })")
    made = page.evaluate("window.made")
    assert made["qr"].startswith("<svg")
    codes = page.evaluate("(code) => client.confirmTotp(made, code)", code_of(made["secret"]))
    return made["secret"], codes


def call(page: Page, expression: str, argument: Any = None) -> Any:
    """Return the value of an expression, or the code of its error."""
    return page.evaluate(
        f"(value) => ({expression}).then((all) => all ?? 'done', (error) => error.code ?? String(error))", argument
    )


def begin(page: Page, email: str) -> Any:
    """Sign out, type address and password, and return what this has come to."""
    page.evaluate("client.signOut()")
    page.evaluate(
        "([email, password]) => client.signIn(email, password).then((first) => { window.first = first; })", [email, PASSWORD]
    )
    return page.evaluate("first")


def test_signing_in_with_two_steps(tab: Page, app: str, email: str) -> None:
    """There is no session before the second step: not in this tab, not in another, and not after a reload."""
    secret, codes = enrol(tab)
    assert len(codes) == RECOVERY_CODES
    other = open_tab(tab.context, app)
    first = begin(tab, email)
    assert (first["status"], set(first["methods"]), first["expiresIn"]) == ("second-factor", {"totp", "recovery_code"}, 300)
    assert "sessionId" not in first
    assert [state(page)["status"] for page in (tab, other)] == ["signed-out", "signed-out"]
    assert profile(tab) == "HandstampError session_ended"
    assert call(tab, "client.secondFactor(first, { code: '000000' })") == "invalid_code"
    assert call(tab, "client.secondFactor(first, { code: value })", code_of(secret, later=1))["status"] == "signed-in"
    expect_state(other, "signed-in", sessionId=state(tab)["sessionId"])
    assert profile(tab) == email
    tab.reload()
    expect_state(tab, "signed-in", sessionId=state(other)["sessionId"])
    assert call(tab, "client.factors()")["recoveryCodes"] == RECOVERY_CODES


def test_a_recovery_code(tab: Page, email: str) -> None:
    """It works once. The challenge of a finished sign-in works no more."""
    _, codes = enrol(tab)
    begin(tab, email)
    assert call(tab, "client.secondFactor(first, { recoveryCode: value })", codes[0])["status"] == "signed-in"
    assert call(tab, "client.secondFactor(first, { recoveryCode: value })", codes[1]) == "invalid_challenge"
    begin(tab, email)
    assert call(tab, "client.secondFactor(first, { recoveryCode: value })", codes[0]) == "invalid_code"
    assert state(tab)["status"] == "signed-out"


def test_a_sign_in_that_needs_another_step_keeps_the_session_that_is_there(tab: Page, email: str) -> None:
    """A person is signed in, and begins to sign in once more. Until that is complete, nothing changes."""
    enrol(tab)
    before = state(tab)
    assert call(tab, "client.signIn(...value)", [email, PASSWORD])["status"] == "second-factor"
    assert state(tab) == before
    tab.reload()
    expect_state(tab, "signed-in", sessionId=before["sessionId"])
    assert profile(tab) == email


def test_changes_ask_by_themselves(tab: Page, server: Server, chromium: Browser, app: str, email: str) -> None:
    """A session of before the second factor has to prove it: the client asks, and goes on with the request."""
    with open_page(chromium) as elsewhere:
        elsewhere.goto(app)
        expect_state(elsewhere, "signed-out")
        sign_in(elsewhere, email)
        secret, codes = enrol(tab)
        assert call(elsewhere, "client.removeTotp()") == "insufficient_user_authentication"
        elsewhere.evaluate(
            """([url, codes]) => {
                 window.asked = [];
                 const onStepUp = ({ maxAge, acrValues }) => (asked.push([maxAge, acrValues]), { recoveryCode: codes.pop() });
                 window.client = createClient({ url, onStepUp });
               }""",
            [server.url, codes],
        )
        renewed = call(elsewhere, "client.createRecoveryCodes()")
        assert len(set(renewed) - set(codes)) == RECOVERY_CODES
        assert elsewhere.evaluate("asked") == [[FRESH_MS // 1000, ["mfa"]]]
        assert call(elsewhere, "client.stepUp({ code: value })", code_of(secret, later=1)) == "done"
        assert call(elsewhere, "client.removeTotp()") == "done"
        assert call(elsewhere, "client.factors()")["totp"] is None
        assert elsewhere.evaluate("asked.length") == 1


def test_an_answer_with_recovery_codes_that_is_lost(tab: Page, server: Server) -> None:
    """The request is sent once more, and the same codes come: they are shown once."""
    tab.evaluate("client.createTotp().then((made) => { window.made = made; })")
    kept: list[Any] = []

    def lose_the_first(route: Any) -> None:
        answer = route.fetch()
        if route.request.method == "POST":
            kept.append(answer.json())
        if len(kept) == 1 and route.request.method == "POST":
            route.abort("connectionreset")
        else:
            route.fulfill(response=answer)

    tab.route(f"{server.url}/totp/confirm", lose_the_first)
    codes = call(tab, "client.confirmTotp(made, value)", code_of(tab.evaluate("made.secret")))
    assert len(codes) == RECOVERY_CODES
    assert [each["recoveryCodes"] for each in kept] == [codes, codes]


def test_a_service_that_requires_a_second_factor(page: Page, tmp_path: Path) -> None:
    """The person sets one up during the sign-in, and is signed in by it. No token is there before."""
    port = free_port()
    running = Server(tmp_path, TRUSTED_ORIGINS=f"http://localhost:{port}", SECOND_FACTOR="required").start()
    try:
        assert running.register("ada@example.com").status_code == 201
        with Api(running.url).running(port) as origin:
            page.goto(origin)
            expect_state(page, "signed-out")
            first = call(page, "client.signIn('ada@example.com', value).then((first) => (window.first = first))", PASSWORD)
            assert (first["status"], first["methods"]) == ("enrolment", [])
            assert "totp" in first["enrol"]
            assert call(page, "client.secondFactor(first)") != "done"
            assert call(page, "client.createTotp()") == "missing_token"
            made = call(page, "client.createTotp(first).then((made) => (window.made = made))")
            codes = call(page, "client.confirmTotp(made, value, first)", code_of(made["secret"]))
            assert len(codes) == RECOVERY_CODES
            assert state(page)["status"] == "signed-out"
            assert call(page, "client.secondFactor(first)")["status"] == "signed-in"
            assert profile(page) == "ada@example.com"
    finally:
        running.stop()
