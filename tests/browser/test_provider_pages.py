"""Signing in with a certified OpenID provider (oidc-provider of npm) in a real browser, adding it, and signing out there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.axe import expect_sound
from tests.browser.conftest import open_page
from tests.oidc_provider import OidcProvider
from tests.serving import PASSWORD, Server, cookie_name

pytestmark = pytest.mark.xdist_group("browser")
WIDTH = 390


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service, and a provider with which people sign in there."""
    service = Server(tmp_path_factory.mktemp("providers"), OUTBOUND_ALLOW="127.0.0.1")
    callback = f"{service.url}/sign-in/with/company/callback"
    client = {
        "client_id": "ours",
        "client_secret": "a secret of the client",
        "redirect_uris": [callback],
        "grant_types": ["authorization_code"],
        "backchannel_logout_uri": f"http://127.0.0.1:{service.port}/backchannel-logout/company",
        "backchannel_logout_session_required": True,
    }
    with OidcProvider([client]) as provider:
        table = {"label": "Company", "issuer": provider.url, "client_id": "ours", "client_secret": "a secret of the client"}
        service.settings |= {"PROVIDERS": json.dumps({"company": table})}
        yield service.start()
        service.stop()


def provider_of(server: Server) -> str:
    """Return the URL of the provider."""
    url: str = json.loads(server.settings["PROVIDERS"])["company"]["issuer"]
    return url


def go_there(page: Page, server: Server, query: str = "") -> None:
    """Press the button of the sign-in page by keyboard, and wait for the provider's page."""
    page.goto(f"{server.url}/sign-in{query}")
    button = page.get_by_role("link", name="Sign in with Company")
    button.focus()
    button.press("Enter")
    expect(page.locator('input[name="login"]')).to_be_visible()


def sign_in_there(page: Page, login: str) -> None:
    """Type a name at the provider."""
    page.locator('input[name="login"]').fill(login)
    page.locator('input[name="password"]').fill("x")
    page.locator('button[type="submit"]').click()


def test_the_whole_way(chromium: Browser, server: Server, page_errors: list[str]) -> None:
    """From the button to the account, on a phone; the second time the provider asks nothing, and it is the same account."""
    with open_page(chromium, page_errors, viewport={"width": WIDTH, "height": 800}) as page:
        page.goto(f"{server.url}/sign-in")
        expect_sound(page)
        go_there(page, server, "?return_to=/account/sign-in")
        sign_in_there(page, "grace")
        expect(page).to_have_url(f"{server.url}/account/sign-in")
        expect(page.get_by_role("heading", name="Other services")).to_be_visible()
        expect(page.get_by_text("Your account has no password.")).to_be_visible()
        expect_sound(page)
        names = {cookie["name"] for cookie in page.context.cookies(server.url)}
        assert cookie_name("refresh", server.url) in names
        assert not [name for name in names if "trip" in name]

        page.get_by_role("button", name="Remove the sign-in with Company").click()
        expect(page.get_by_text("This is your only way to sign in.")).to_be_visible()

        page.goto(f"{server.url}/account")
        page.get_by_role("button", name="Sign out of this device").click()
        expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
        page.goto(f"{server.url}/sign-in")
        page.get_by_role("link", name="Sign in with Company").click()
        expect(page).to_have_url(f"{server.url}/account")
        expect(page.get_by_text("grace@example.com").first).to_be_visible()
        page.go_back()  # ends where the sign-in had led, or at the page before it
        page.goto(f"{server.url}/account")
        expect(page.get_by_role("heading", name="Where you are signed in")).to_be_visible()
    # The provider's own page asks for a font from elsewhere.
    assert [error for error in page_errors if "ERR_NAME_NOT_RESOLVED" not in error] == []


def test_it_is_added_to_an_account(chromium: Browser, server: Server) -> None:
    """With a button of the account's page, after a password sign-in; without script, and past `form-action`."""
    server.register("ada@example.com")
    with open_page(chromium, java_script_enabled=False) as page:
        page.goto(f"{server.url}/sign-in?return_to=/account/sign-in")
        page.locator("#email").fill("ada@example.com")
        page.locator("#password").fill(PASSWORD)
        page.locator("#password").press("Enter")
        page.get_by_role("button", name="Add Company").click()
        sign_in_there(page, "someone-else")
        expect(page.get_by_text("You can sign in with it from now on.")).to_be_visible()
        expect(page.get_by_text("someone-else@example.com")).to_be_visible()
        page.get_by_role("button", name="Remove the sign-in with Company").click()
        expect(page.get_by_text("It no longer signs you in.")).to_be_visible()


def test_signing_out_there_signs_out_here(chromium: Browser, server: Server) -> None:
    """The provider tells the service by itself, and the page says why."""
    with open_page(chromium) as page:
        go_there(page, server)
        sign_in_there(page, "edsger")
        expect(page).to_have_url(f"{server.url}/account")
        page.goto(f"{provider_of(server)}/session/end")
        page.locator('button[value="yes"]').click()
        expect(page.get_by_text("Sign-out Success")).to_be_visible()
        page.goto(f"{server.url}/account")
        expect(page.get_by_text("You were signed out because you signed out of the service")).to_be_visible()


def test_two_tabs_sign_in_at_once(chromium: Browser, server: Server) -> None:
    """Each comes back to where it wanted to go."""
    with open_page(chromium) as first:
        second = first.context.new_page()
        go_there(first, server, "?return_to=/account/data")
        go_there(second, server, "?return_to=/account/sign-in")
        sign_in_there(second, "barbara")
        expect(second).to_have_url(f"{server.url}/account/sign-in")
        sign_in_there(first, "barbara")
        expect(first).to_have_url(f"{server.url}/account/data")


def test_without_cookies_the_page_says_so(chromium: Browser, server: Server) -> None:
    """A browser that drops the cookies of the service on the way gets a page that tells what to do."""
    with open_page(chromium) as page:
        go_there(page, server)
        page.context.clear_cookies(name=re.compile("handstamp-trip"))
        sign_in_there(page, "alan")
        expect(page.get_by_text("Your browser has not kept the cookie")).to_be_visible()
        expect(page.get_by_role("link", name="Sign in with Company")).to_be_visible()


def test_a_page_of_an_application_signs_in_with_the_client(chromium: Browser, server: Server) -> None:
    """`signInWith` leaves the page and comes back to it, signed in; then the client lists what was linked."""
    with open_page(chromium) as page:
        open_application(page, server)
        page.evaluate("void auth.signInWith('company', { returnTo: '/docs?back' })")
        sign_in_there(page, "tim")
        expect_back(page, server)
        found = page.evaluate("auth.identities()")
        assert [(each["provider"], each["label"], each["email"]) for each in found] == [("company", "Company", "tim@example.com")]
        refused = page.evaluate("id => auth.removeIdentity(id).catch(({ code }) => code)", found[0]["id"])
        assert refused == "last_way"


def test_a_page_of_an_application_adds_it_with_the_client(chromium: Browser, server: Server) -> None:
    """`addIdentity` leaves the page and comes back to it, in the same session. From then on it signs in to this account."""
    server.register("donald@example.com")
    with open_page(chromium) as page:
        open_application(page, server)
        session = page.evaluate("password => auth.signIn('donald@example.com', password)", PASSWORD)["sessionId"]
        refused = page.evaluate("auth.addIdentity('nobody').catch(({ code }) => code)")
        assert refused == "not_found"
        page.evaluate("void auth.addIdentity('company', { returnTo: '/docs?back' })")
        sign_in_there(page, "knuth")
        expect_back(page, server)
        assert page.evaluate("auth.state.sessionId") == session
        (added,) = page.evaluate("auth.identities()")
        assert (added["provider"], added["email"]) == ("company", "knuth@example.com")

        page.evaluate("auth.signOut()")
        page.evaluate("void auth.signInWith('company', { returnTo: '/docs?back' })")  # the provider remembers the person
        expect_back(page, server)
        assert page.evaluate("auth.fetch('/profile').then((answer) => answer.json())")["email"] == "donald@example.com"
        page.evaluate("id => auth.removeIdentity(id)", added["id"])
        assert page.evaluate("auth.identities()") == []


def open_application(page: Page, server: Server, path: str = "/docs") -> None:
    """Open a page that may send requests, and create a client there, which has asked for the state."""
    page.goto(server.url + path)
    page.evaluate(
        """import("/handstamp.js").then(({ createClient }) => {
             globalThis.auth = createClient({ url: location.origin });
             return new Promise((done) => auth.state.status === "unknown" ? auth.onChange(done) : done());
           })"""
    )


def expect_back(page: Page, server: Server) -> None:
    """Expect to be back at the application, signed in."""
    expect(page).to_have_url(f"{server.url}/docs?back")
    open_application(page, server, "/docs?back")
    assert page.evaluate("auth.state.status") == "signed-in"
