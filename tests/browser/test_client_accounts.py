"""Accounts in the browser client: sign up, codes, passwords, addresses and the person's own data, with real mail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import ANY
from uuid import uuid4

import pyotp
import pytest
from playwright.sync_api import Browser, Page, Route

from tests.browser.conftest import open_page
from tests.browser.test_client import expect_state, open_tab, profile, state, wait_until
from tests.browser.test_client_conditions import Api
from tests.commands import run_process
from tests.mail_server import MailServer, mail_server
from tests.mailbox import CODE, TOKEN, Mailbox, group
from tests.serving import PASSWORD, Server, free_port

pytestmark = pytest.mark.xdist_group("browser-accounts")
PORT = free_port()
SIGNED_IN = {"status": "signed-in", "sessionId": ANY}
NEW_PASSWORD = "another kelp lantern of the tests"


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    """Run a mail server."""
    with mail_server() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mail: MailServer) -> Iterator[Server]:
    """Run a service that sends mail and trusts the application."""
    settings = {
        "TRUSTED_ORIGINS": f"http://localhost:{PORT}",
        "SMTP_URL": f"smtp://localhost:{mail.port}",
        "MAIL_FROM": "auth@example.com",
        "SIGN_IN_BY_CODE": "on",
    }
    running = Server(tmp_path_factory.mktemp("accounts"), **settings)
    yield running.start()
    running.stop()


@pytest.fixture(scope="module")
def app(server: Server) -> Iterator[str]:
    """Return the address of the application."""
    with Api(server.url).running(PORT) as origin:
        yield origin


@pytest.fixture
def mailbox(mail: MailServer) -> Mailbox:
    """Return the mailbox of a new address."""
    return Mailbox(mail, f"ada-{uuid4().hex[:8]}@example.com")


@pytest.fixture
def tab(page: Page, app: str) -> Page:
    """Return a tab of the application in which nobody has signed in."""
    page.goto(app)
    expect_state(page, "signed-out")
    return page


def run(page: Page, call: str, *arguments: object) -> Any:
    """Call a method of the client, and return its value, or the code of its error."""
    return page.evaluate(
        f"(args) => client.{call}(...args).then((value) => value ?? 'done', (error) => error.code ?? String(error))",
        list(arguments),
    )


def sign_up(page: Page, mailbox: Mailbox) -> None:
    """Create an account and sign in."""
    run(page, "register", {"email": mailbox.address, "password": PASSWORD})
    assert run(page, "confirmRegistration", {"code": mailbox.code()}) == SIGNED_IN


def test_signing_up_with_a_code(tab: Page, app: str, mailbox: Mailbox) -> None:
    """The page may be loaded again meanwhile: the code is bound to the browser. Other tabs hear of the new session."""
    other = open_tab(tab.context, app)
    sent = run(tab, "register", {"email": mailbox.address, "password": PASSWORD, "name": "Ada"})
    assert sent == {"status": "mail-sent", "email": mailbox.address, "expiresIn": 3600, "codeExpiresIn": 600}
    tab.reload()
    expect_state(tab, "signed-out")
    code = mailbox.code()
    assert run(tab, "confirmRegistration", {"code": f"{(int(code) + 1) % 1_000_000:06}"}) == "invalid_code"
    assert state(tab)["status"] == "signed-out"
    assert run(tab, "confirmRegistration", {"code": code}) == SIGNED_IN
    expect_state(other, "signed-in", sessionId=state(tab)["sessionId"])
    account = tab.evaluate("client.profile()")
    assert (account["email"], account["emailVerified"], account["name"]) == (mailbox.address, True, "Ada")


def test_a_module_that_cannot_be_loaded(tab: Page, server: Server, mailbox: Mailbox) -> None:
    """The methods for accounts are loaded when they are first used. A failure is reported, and the next call tries again."""
    loaded: list[str] = []
    tab.on("response", lambda response: loaded.append(response.url) if "/handstamp-" in response.url else None)
    tab.route(f"{server.url}/handstamp-*.js", lambda route: route.abort(), times=1)
    credentials = {"email": mailbox.address, "password": PASSWORD}
    failed = tab.evaluate("(account) => client.register(account).catch(({ name }) => name)", credentials)
    assert (failed, loaded) == ("OfflineError", [])
    assert run(tab, "register", credentials)["status"] == "mail-sent"
    assert run(tab, "requestVerification") == "missing_token"
    assert len(loaded) == 1


def test_signing_up_with_a_link_in_another_browser(tab: Page, chromium: Browser, app: str, mailbox: Mailbox) -> None:
    """The code works in the first browser alone. The link needs a password of the person who opens it."""
    run(tab, "register", {"email": mailbox.address, "password": PASSWORD})
    text = mailbox.find(CODE)
    with open_page(chromium) as elsewhere:
        elsewhere.goto(app)
        expect_state(elsewhere, "signed-out")
        assert run(elsewhere, "confirmRegistration", {"code": group(CODE, text)}) == "invalid_code"
        proof = {"token": group(TOKEN, text)}
        assert run(elsewhere, "confirmRegistration", proof) == "invalid_request"
        assert run(elsewhere, "confirmRegistration", proof, NEW_PASSWORD) == SIGNED_IN
        assert profile(elsewhere) == mailbox.address
    assert run(tab, "signIn", mailbox.address, PASSWORD) == "invalid_credentials"
    assert run(tab, "signIn", mailbox.address, NEW_PASSWORD) == SIGNED_IN


def test_an_address_that_has_an_account(tab: Page, mailbox: Mailbox) -> None:
    """The answer is the same. The mail tells the owner."""
    sign_up(tab, mailbox)
    run(tab, "signOut")
    sent = run(tab, "register", {"email": mailbox.address, "password": NEW_PASSWORD})
    assert sent == {"status": "mail-sent", "email": mailbox.address, "expiresIn": 3600, "codeExpiresIn": 600}
    assert mailbox.find("already")


@contextmanager
def losing_the_first_answer(page: Page, url: str) -> Iterator[list[int]]:
    """Let the service carry out the first request to a URL, and lose its answer. Yields its status."""
    lost: list[int] = []

    def lose(route: Route) -> None:
        if lost or route.request.method == "OPTIONS":
            route.continue_()
        else:
            lost.append(route.fetch().status)
            route.abort("connectionreset")

    page.route(url, lose)
    yield lost
    page.unroute(url)


def test_signing_in_with_a_code_whose_answer_is_lost(tab: Page, server: Server, mailbox: Mailbox) -> None:
    """The request is sent again and begins one session. The code is not used up by the lost answer."""
    sign_up(tab, mailbox)
    run(tab, "signOut")
    run(tab, "requestCode", mailbox.address)
    with losing_the_first_answer(tab, f"{server.url}/login/code/confirm") as lost:
        assert run(tab, "signInWithCode", {"code": mailbox.code()}) == SIGNED_IN
    assert lost == [200]
    listed = tab.evaluate("(url) => client.fetch(`${url}/sessions`).then((answer) => answer.json())", server.url)
    assert [session["id"] for session in listed["sessions"]] == [state(tab)["sessionId"]]


def test_a_sign_out_while_a_code_is_confirmed(tab: Page, server: Server, mailbox: Mailbox) -> None:
    """The answer comes after the sign-out. The session that it began ends, too."""
    sign_up(tab, mailbox)
    run(tab, "signOut")
    run(tab, "requestCode", mailbox.address)
    held: list[Route] = []
    tab.route(f"{server.url}/login/code/confirm", lambda route: held.append(route), times=1)  # noqa: PLW0108 (Playwright marks it)
    tab.evaluate(
        "(proof) => void (window.outcome = client.signInWithCode(proof).then(() => 'done', ({ code }) => code))",
        {"code": mailbox.code()},
    )
    wait_until(tab, lambda: bool(held))
    tab.evaluate("void (window.signedOut = client.signOut().then(() => 'ended', String))")
    held[0].continue_()
    assert (tab.evaluate("outcome"), tab.evaluate("signedOut")) == ("session_ended", "ended")
    tab.reload()
    expect_state(tab, "signed-out")


def test_two_tabs_that_use_one_code(tab: Page, app: str, mailbox: Mailbox) -> None:
    """One of them signs in, and both are signed in."""
    sign_up(tab, mailbox)
    run(tab, "signOut")
    other = open_tab(tab.context, app)
    run(tab, "requestCode", mailbox.address)
    proof = {"code": mailbox.code()}
    for page in (tab, other):
        page.evaluate(
            "(proof) => void (window.outcome = client.signInWithCode(proof).then(() => 'done', ({ code }) => code))", proof
        )
    assert sorted(page.evaluate("outcome") for page in (tab, other)) == ["done", "invalid_code"]
    expect_state(tab, "signed-in")
    expect_state(other, "signed-in", sessionId=state(tab)["sessionId"])


def test_a_page_that_is_loaded_again_while_a_code_is_confirmed(tab: Page, server: Server, mailbox: Mailbox) -> None:
    """The answer has set the cookie, though no script has seen it: the page finds the session."""
    sign_up(tab, mailbox)
    run(tab, "signOut")
    run(tab, "requestCode", mailbox.address)
    with tab.expect_response(f"{server.url}/login/code/confirm"):
        tab.evaluate("(proof) => { client.signInWithCode(proof); }", {"code": mailbox.code()})
    tab.reload()
    expect_state(tab, "signed-in")
    assert profile(tab) == mailbox.address


def test_an_address_that_an_operator_gave(tab: Page, server: Server, mailbox: Mailbox) -> None:
    """The address is verified by the session, or before a sign-in by address and password."""
    made = run_process(server.folder, "users", "create", mailbox.address, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert made.returncode == 0, made.stderr
    assert run(tab, "requestVerification") == "missing_token"
    sent = run(tab, "requestVerification", {"email": mailbox.address, "password": PASSWORD})
    assert sent == {"email": mailbox.address, "expiresIn": 3600, "codeExpiresIn": 600}
    run(tab, "signIn", mailbox.address, PASSWORD)
    assert tab.evaluate("client.profile()")["emailVerified"] is False
    assert run(tab, "requestVerification") == sent
    assert mailbox.code()
    assert run(tab, "verifyEmail", {"code": mailbox.code()}) == {"email": mailbox.address, "emailVerified": True}
    assert tab.evaluate("client.profile()")["emailVerified"] is True


def test_a_password_that_was_forgotten(tab: Page, chromium: Browser, app: str, mailbox: Mailbox) -> None:
    """A reset ends every session of the account, and the former password."""
    sign_up(tab, mailbox)
    with open_page(chromium) as elsewhere:
        elsewhere.goto(app)
        expect_state(elsewhere, "signed-out")
        run(elsewhere, "requestPasswordReset", mailbox.address)
        proof = {"code": mailbox.code()}
        assert run(elsewhere, "resetPassword", proof, "short") == "invalid_request"
        assert run(elsewhere, "resetPassword", proof, NEW_PASSWORD) == "done"
        assert run(elsewhere, "signIn", mailbox.address, NEW_PASSWORD) == SIGNED_IN
    assert profile(tab) == "HandstampError session_ended"
    expect_state(tab, "signed-out", reason="password_changed")


def test_a_new_password_keeps_this_tab_signed_in(tab: Page, app: str, mailbox: Mailbox) -> None:
    """And the other tabs of this browser."""
    sign_up(tab, mailbox)
    other = open_tab(tab.context, app)
    assert run(tab, "changePassword", "not this one at all", NEW_PASSWORD) == "invalid_credentials"
    assert run(tab, "changePassword", PASSWORD, NEW_PASSWORD) == SIGNED_IN
    expect_state(other, "signed-in", sessionId=state(tab)["sessionId"])
    assert profile(other) == mailbox.address


def test_a_new_password_whose_answer_is_lost(tab: Page, server: Server, mailbox: Mailbox) -> None:
    """The session of the token that is sent again has ended. The key says that it is the same request."""
    sign_up(tab, mailbox)
    with losing_the_first_answer(tab, f"{server.url}/password") as lost:
        assert run(tab, "changePassword", PASSWORD, NEW_PASSWORD) == SIGNED_IN
    assert lost == [200]
    assert profile(tab) == mailbox.address


def test_another_address_and_back(tab: Page, mail: MailServer, mailbox: Mailbox) -> None:
    """The new address must be proven. The former one gets a link that undoes the change and ends all sessions."""
    sign_up(tab, mailbox)
    target = Mailbox(mail, f"new-{mailbox.address}")
    run(tab, "requestEmailChange", target.address)
    assert run(tab, "changeEmail", {"code": target.code()}) == {"email": target.address, "emailVerified": True}
    assert profile(tab) == target.address
    assert run(tab, "undoEmailChange", mailbox.token()) == "done"
    expect_state(tab, "signed-out")
    assert run(tab, "signIn", target.address, PASSWORD) == "invalid_credentials"


def test_a_first_factor_of_a_thief_is_undone(tab: Page, mailbox: Mailbox) -> None:
    """The mail about it has a link that ends all sessions, and leads to a new password, which is enough to sign in again."""
    sign_up(tab, mailbox)
    begun = run(tab, "createTotp")
    assert isinstance(begun, dict)
    code = pyotp.TOTP(begun["secret"].replace(" ", "")).now()
    assert run(tab, "confirmTotp", begun, code) != "done"
    assert run(tab, "undoFactor", mailbox.token()) == "done"
    expect_state(tab, "signed-out")
    assert run(tab, "resetPassword", {"token": mailbox.token()}, NEW_PASSWORD) == "done"
    assert run(tab, "signIn", mailbox.address, NEW_PASSWORD) == SIGNED_IN


def test_a_name_the_own_data_and_the_end_of_an_account(tab: Page, app: str, mailbox: Mailbox) -> None:
    """All tabs are signed out when the account is deleted."""
    sign_up(tab, mailbox)
    other = open_tab(tab.context, app)
    renamed = run(tab, "changeName", "Ada Lovelace")
    assert isinstance(renamed, dict)
    assert renamed["name"] == "Ada Lovelace"
    exported = tab.evaluate("client.exportData().then((blob) => blob.text()).then(JSON.parse)")
    assert exported["account"][0]["email"] == mailbox.address
    assert run(tab, "deleteAccount", "another@example.com") == "invalid_request"
    assert run(tab, "deleteAccount", mailbox.address) == "done"
    expect_state(other, "signed-out")
    assert run(tab, "signIn", mailbox.address, PASSWORD) == "invalid_credentials"


def test_a_wrong_password_during_the_first_request(page: Page, server: Server, app: str) -> None:
    """The answer to the request of the page load counts, although a sign-in was tried meanwhile."""
    held: list[Route] = []
    page.route(f"{server.url}/refresh", lambda route: held.append(route), times=1)  # noqa: PLW0108 (Playwright marks it)
    page.goto(app)
    wait_until(page, lambda: bool(held))
    page.evaluate("void (window.outcome = client.signIn('a@example.com', 'not this one at all').catch(({ code }) => code))")
    held[0].continue_()
    assert page.evaluate("outcome") == "invalid_credentials"
    expect_state(page, "signed-out")


def test_a_deletion_whose_answer_is_lost(tab: Page, server: Server, mailbox: Mailbox) -> None:
    """The person hears that the service could not be reached, and when they try again that the session has ended."""
    sign_up(tab, mailbox)
    with losing_the_first_answer(tab, f"{server.url}/me/delete") as lost:
        assert str(run(tab, "deleteAccount", mailbox.address)).startswith("OfflineError")
    assert lost == [204]
    assert run(tab, "deleteAccount", mailbox.address) == "session_ended"
    expect_state(tab, "signed-out")
