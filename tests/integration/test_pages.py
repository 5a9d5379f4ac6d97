"""Tests of the HTML pages over HTTP: forms, redirects, cookies, and refused requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from handstamp.web.pages.account import MAX_DEVICES
from tests.integration.helpers import change_session, client_of, new_email, run_server, running
from tests.serving import PASSWORD, Server, cookie_name

pytestmark = pytest.mark.xdist_group("pages")
APP = "http://localhost:9999"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that trusts an application on another origin."""
    with running(Server(tmp_path_factory.mktemp("pages"), TRUSTED_ORIGINS=APP)) as server:
        yield server


class Browser:
    """An HTTP client that stores cookies and sends `Sec-Fetch-Site`, as browsers do."""

    def __init__(self, client: httpx.Client) -> None:
        """Start without cookies."""
        self.client = client
        self.refresh, self.access, self.device = (
            cookie_name(kind, str(client.base_url)) for kind in ("refresh", "access", "device")
        )
        self.cookies: dict[str, str] = {}

    def get(self, path: str, site: str = "none") -> httpx.Response:
        """Follow a link."""
        return self._keep(self.client.get(path, headers=self._headers(site)))

    def post(self, path: str, site: str = "same-origin", **form: str) -> httpx.Response:
        """Submit a form."""
        return self._keep(self.client.post(path, data=form, headers=self._headers(site)))

    def _headers(self, site: str) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"sec-fetch-site": site} | ({"cookie": cookies} if cookies else {})

    def _keep(self, answer: httpx.Response) -> httpx.Response:
        for header in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(header).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer


@pytest.fixture
def browser(client: httpx.Client) -> Browser:
    """Return a browser without cookies."""
    return Browser(client)


@pytest.fixture
def email(browser: Browser) -> str:
    """Return the address of a new account. The browser is signed in to it."""
    email = new_email()
    assert browser.client.post("/register", json={"email": email, "password": PASSWORD}).status_code == 201
    sign_in(browser, email)
    return email


def sign_in(browser: Browser, email: str, **form: str) -> httpx.Response:
    """Submit the sign-in form and expect a redirect."""
    answer = browser.post("/sign-in", email=email, password=PASSWORD, **form)
    assert answer.status_code == 303, answer.text
    return answer


def expect_redirect(answer: httpx.Response, where: str) -> None:
    """Assert that an answer redirects to a page with 303."""
    assert (answer.status_code, answer.headers["location"]) == (303, where)


def test_making_an_account_signs_in(browser: Browser) -> None:
    """A new account is signed in, and its page shows the email address."""
    email = new_email("new")
    expect_redirect(browser.post("/create-account", email=email, password=PASSWORD), "/account")
    page = browser.get("/account")
    assert page.status_code == 200
    assert email in page.text
    assert page.text.count(">this device<") == 1


def test_the_tokens_travel_as_the_delivery_says(browser: Browser, email: str) -> None:
    """The default delivery is `split`. No page contains a token."""
    assert set(browser.cookies) == {browser.refresh, browser.device}
    sign_in(browser, email, delivery="cookie")
    assert set(browser.cookies) == {browser.refresh, browser.access, browser.device}
    sign_in(browser, email, delivery="split")
    assert set(browser.cookies) == {browser.refresh, browser.device}
    for path in ("/account", "/sign-in"):
        page = browser.get(path).text
        assert browser.cookies[browser.refresh] not in page
        assert "eyJ" not in page


def test_signing_in_again_starts_a_new_session(browser: Browser, email: str) -> None:
    """A second sign-in ends the session whose cookies came with the form (session fixation, T15)."""
    before = dict(browser.cookies)
    sign_in(browser, email)
    assert browser.cookies != before
    old = Browser(browser.client)
    old.cookies = before
    expect_redirect(old.get("/account"), "/sign-in")
    assert "You signed out" in old.get("/sign-in").text
    assert set(old.cookies) == {browser.device, cookie_name("grant", str(browser.client.base_url))}


def test_viewing_a_page_renews_nothing(browser: Browser, email: str) -> None:
    """A page view does not rotate the refresh token."""
    before = dict(browser.cookies)
    for _ in range(5):
        assert email in browser.get("/account").text
    assert browser.cookies == before


def test_pages_and_application_share_the_session(browser: Browser, email: str) -> None:
    """The application's script and the pages share one session: the script refreshes it, and the page ends it."""
    first = browser.cookies[browser.refresh]
    answer = browser._keep(browser.client.post("/refresh", headers=browser._headers("same-origin")))
    assert answer.status_code == 200
    assert browser.cookies[browser.refresh] != first
    token = answer.json()["accessToken"]
    assert email in browser.get("/account").text
    browser.post("/account/sign-out")
    profile = browser.client.get("/profile", headers={"authorization": f"Bearer {token}"})
    assert (profile.status_code, profile.json()["reason"]) == (401, "logout")


def test_an_old_token_shows_nothing_and_ends_nothing(browser: Browser, email: str) -> None:
    """A superseded refresh token shows no page, but a page view never counts as reuse. The session stays active."""
    thief = Browser(browser.client)
    thief.cookies = dict(browser.cookies)
    for _ in range(2):
        assert browser._keep(browser.client.post("/refresh", headers=browser._headers("same-origin"))).status_code == 200
    expect_redirect(thief.get("/account"), "/sign-in")
    assert email not in thief.get("/sign-in").text
    assert email in browser.get("/account").text


@pytest.mark.parametrize("way", ["sign-out", "sign-out-everywhere"])
def test_signing_out_takes_effect_at_once(browser: Browser, email: str, way: str) -> None:
    """A sign-out deletes the cookies, and a copy of them is refused at once."""
    copy, other = Browser(browser.client), Browser(browser.client)
    copy.cookies = dict(browser.cookies)
    sign_in(other, email)
    answer = browser.post(f"/account/{way}")
    assert answer.headers["location"].startswith("/signed-out")
    assert set(browser.cookies) == {browser.device}
    assert browser.get(answer.headers["location"]).status_code == 200
    expect_redirect(copy.get("/account"), "/sign-in")
    assert (other.get("/account").status_code == 303) is (way == "sign-out-everywhere")


def test_one_device_is_signed_out(browser: Browser, email: str) -> None:
    """The button beside a device ends its session. Another user cannot end it."""
    other, stranger = Browser(browser.client), Browser(browser.client)
    answer = other.client.post("/login", json={"email": email, "password": PASSWORD, "delivery": "json"})
    sid = answer.json()["sessionId"]
    assert f'value="{sid}"' in browser.get("/account").text
    stranger.post("/create-account", email=new_email("eve"), password=PASSWORD)
    assert stranger.post("/account/end-session", id=sid).status_code == 404
    assert f'value="{sid}"' in browser.get("/account").text
    expect_redirect(browser.post("/account/end-session", id=sid), "/account?done=session")
    page = browser.get("/account?done=session").text
    assert "That device is signed out." in page
    assert sid not in page


def test_a_person_reads_what_has_happened(browser: Browser, email: str) -> None:
    """Newest first, in their language, with the device; never about somebody else."""
    other = Browser(browser.client)
    sign_in(other, email)
    refresh = other.cookies[other.refresh]
    renewed = browser.client.post("/refresh", headers={"cookie": f"{other.refresh}={refresh}", "origin": APP})
    assert renewed.status_code == 200
    other.cookies[other.refresh] = SimpleCookie(renewed.headers["set-cookie"])[other.refresh].value
    other.post("/account/sign-out")
    page = browser.get("/account/history", site="same-origin")
    assert page.status_code == 200
    sentences = re.findall(r"<li>\s*<div>\s*<p>(.*?)</p>", page.text)
    assert sentences[0] == "The session ended, because the person signed out.", sentences
    assert sentences[-1].startswith("The account was created")
    assert [text for text in sentences if text.startswith("Signed in")]
    assert [text for text in sentences if text.startswith("Renewed once")]
    assert page.text.count("this device") >= 1
    assert email not in browser.client.get("/account/history").text
    assert 'href="/account/history"' in browser.get("/account", site="same-origin").text


def test_a_new_password_signs_the_others_out(browser: Browser, email: str) -> None:
    """A password change ends the person's other sessions and keeps this browser signed in."""
    other = Browser(browser.client)
    sign_in(other, email)
    new = "another kelp lantern rivet of the tests"
    wrong = browser.post("/account/password", current_password="not this one at all", new_password=new)
    assert wrong.status_code == 422
    assert "That is not your current password." in wrong.text
    short = browser.post("/account/password", current_password=PASSWORD, new_password="short")
    assert "The new password is too short" in short.text
    expect_redirect(
        browser.post("/account/password", current_password=PASSWORD, new_password=new), "/account/sign-in?done=password"
    )
    assert "Your password is changed" in browser.get("/account/sign-in?done=password").text
    expect_redirect(other.get("/account"), "/sign-in")
    assert "your password was changed" in other.get("/sign-in").text


def test_a_failed_sign_in_shows_the_form_again(browser: Browser, email: str) -> None:
    """A failed sign-in shows the form again with a message, the email address and no password.

    The current session stays active.
    """
    for address in (email, "nobody@example.com"):
        answer = browser.post("/sign-in", email=address, password="not this one at all")
        assert answer.status_code == 401
        assert "That e-mail address and password do not match." in answer.text
        assert f'value="{address}"' in answer.text
        assert "not this one at all" not in answer.text
        assert "refresh" not in answer.headers["set-cookie"]
    taken = browser.post("/create-account", email=email, password=PASSWORD)
    assert taken.status_code == 409
    empty = browser.post("/create-account", email="", password="")
    assert empty.status_code == 422
    assert empty.text.count('aria-invalid="true"') == 2
    assert empty.text.count("autofocus") == 1


def test_user_input_is_escaped(browser: Browser) -> None:
    """Form input is escaped in the page."""
    answer = browser.post("/sign-in", email='"><script>alert(1)</script>', password=PASSWORD)
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/sign-in",
        "/create-account",
        *(f"/account/{name}" for name in ("sign-out", "sign-out-everywhere", "password", "profile", "delete")),
    ],
)
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_forms_are_refused(browser: Browser, email: str, path: str, site: str) -> None:
    """Forms of other sites are refused and change nothing."""
    answer = browser.post(path, site=site, email=email, password=PASSWORD, current_password=PASSWORD, new_password="x" * 20)
    assert answer.status_code == 403
    assert "another origin" in answer.text
    assert "set-cookie" not in answer.headers
    assert email in browser.get("/account").text


def test_a_cross_site_link_keeps_the_session(browser: Browser, email: str) -> None:
    """A link on another site shows the signed-in page.

    It carries no `SameSite=Strict` cookie, so the page first reloads itself once.
    """
    cookies, browser.cookies = browser.cookies, {}
    answer = browser.get("/account?done=session", site="cross-site")
    assert answer.status_code == 200
    assert 'http-equiv="refresh" content="0;url=/account?done=session&amp;here="' in answer.text
    browser.cookies = cookies
    assert email in browser.get("/account?done=session&here=", site="same-origin").text
    browser.cookies = {}
    expect_redirect(browser.get("/account?here=", site="cross-site"), "/sign-in")  # reloads once, never in a loop


@pytest.mark.parametrize("where", ["/orders?id=7", f"{APP}/orders", f"{APP}/?a=b&c=d#e"])
def test_return_to_leads_back_to_the_application(browser: Browser, email: str, where: str) -> None:
    """`return_to` is kept from the page to the form and to the link to the other form.

    After sign-in it is the redirect target.
    """
    browser.post("/account/sign-out")
    page = browser.get(f"/sign-in?return_to={quote(where, safe='')}")
    assert where.replace("&", "&amp;") in page.text
    assert f"return_to={quote(where, safe='')}" in page.text  # in the link to the other form
    expect_redirect(sign_in(browser, email, return_to=where), where)
    assert f'href="{where.replace("&", "&amp;")}"' in browser.get(f"/sign-in?return_to={quote(where, safe='')}").text


def test_switching_accounts_returns_to_the_application(browser: Browser, email: str) -> None:
    """`return_to` is kept when another person signs out and signs in."""
    assert email
    query = f"?return_to={quote(APP, safe='')}"
    assert f'action="/account/sign-out{query}"' in browser.get(f"/sign-in{query}").text
    expect_redirect(browser.post(f"/account/sign-out{query}"), f"/signed-out{query}")
    assert f'href="/sign-in{query}"' in browser.get(f"/signed-out{query}").text
    elsewhere = "?return_to=%2F%2Fevil.example"
    expect_redirect(browser.post(f"/account/sign-out{elsewhere}"), f"/signed-out{elsewhere}")
    assert browser.get(f"/signed-out{elsewhere}").text.count("evil") == 1
    assert browser.get(f"/sign-in{elsewhere}").status_code == 400


@pytest.mark.parametrize("where", ["//evil.example", "https://evil.example", "javascript:alert(1)", "\\\\evil.example"])
def test_return_to_accepts_only_trusted_targets(browser: Browser, email: str, where: str) -> None:
    """An untrusted `return_to` is refused in the link and in the form."""
    assert browser.get(f"/sign-in?return_to={quote(where, safe='')}").status_code == 400
    answer = browser.post("/sign-in", email=email, password=PASSWORD, return_to=where)
    assert (answer.status_code, "set-cookie" in answer.headers) == (400, False)


def test_pages_have_security_headers(browser: Browser, email: str) -> None:
    """The headers of a page forbid foreign scripts and styles, inline code, frames and caching.

    Forms may lead only to trusted origins.
    """
    assert email
    for path in ("/account", "/sign-in", "/create-account", "/signed-out", "/sign-in?return_to=//x"):
        answer = browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert f"form-action 'self' {APP}" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "clear-site-data" not in answer.headers
        assert "<style" not in answer.text
        assert " style=" not in answer.text
        assert "<script>" not in answer.text
        assert " on" not in [part[:3] for part in answer.text.split('"')[::2]]


@pytest.mark.parametrize("path", ["sign-out", "sign-out-everywhere"])
def test_a_sign_out_on_a_page_clears_copies_and_nothing_else(browser: Browser, email: str, path: str) -> None:
    """The browser drops its copies of pages. Cookies of other services and the storage of applications stay (ASVS 14.3.1)."""
    assert email
    before = dict(browser.cookies)
    answer = browser.post(f"/account/{path}")
    assert (answer.status_code, answer.headers["clear-site-data"]) == (303, '"cache"')
    assert set(browser.cookies) == {browser.device}
    browser.cookies = before
    assert browser.get("/sign-in").headers["clear-site-data"] == '"cache"'  # the session was ended elsewhere
    assert "clear-site-data" not in browser.post("/account/end-session").headers


def test_the_name_is_saved_and_shown(browser: Browser, email: str) -> None:
    """A name that cannot be one is shown again with what is wrong."""
    assert email
    expect_redirect(browser.post("/account/profile", name=" Ada  <Lovelace> "), "/account?done=profile")
    page = browser.get("/account?done=profile").text
    assert "Your profile is saved." in page
    assert 'value="Ada &lt;Lovelace&gt;"' in page
    wrong = browser.post("/account/profile", name="Ada\u202e")
    assert wrong.status_code == 422
    assert "The name contains characters that names cannot have." in wrong.text
    assert 'value="Ada\u202e"' in wrong.text


def test_the_data_is_downloaded_and_the_account_deleted(browser: Browser, email: str) -> None:
    """The page downloads a file, and deletes the account once its address is typed. The browser is signed out then."""
    page = browser.get("/account/data").text
    assert 'href="/account/export"' in page
    assert f"Type {email}" in page
    data = browser.get("/account/export")
    assert data.headers["content-disposition"].startswith("attachment")
    assert data.json()["account"][0]["email"] == email
    wrong = browser.post("/account/delete", email="not" + email)
    assert wrong.status_code == 422
    assert "The e-mail address is not the address of this account." in wrong.text
    answer = browser.post("/account/delete", email=email)
    expect_redirect(answer, "/signed-out?from=deleted")
    assert set(browser.cookies) == {browser.device}
    assert "Your account is deleted" in browser.get("/signed-out?from=deleted").text
    assert browser.post("/sign-in", email=email, password=PASSWORD).status_code == 401


@pytest.mark.parametrize("delivery", ["split", "cookie"])
def test_an_old_sign_in_is_asked_for_the_password_again(server: Server, browser: Browser, email: str, delivery: str) -> None:
    """The way leads over the page that asks for a proof and back, in the same session, whatever its delivery."""
    sign_in(browser, email, delivery=delivery)
    sessions = browser.get("/account/export").json()["sessions"]
    for session in sessions:
        change_session(server, session["id"], authenticated_at_ms=0)
    for path in ("/account/data", "/account/export"):
        expect_redirect(browser.get(path), f"/confirm?return_to={quote(path, safe='')}")
    assert "Confirm that it is you" in browser.post("/account/delete", email=email).text
    assert browser.get("/account").status_code == 200
    page = browser.get("/confirm?return_to=%2Faccount%2Fdata").text
    assert f'value="{email}"' in page
    expect_redirect(browser.post("/confirm", way="password", password=PASSWORD, return_to="/account/data"), "/account/data")
    assert browser.get("/account/data").status_code == 200
    assert [each["id"] for each in browser.get("/account/export").json()["sessions"]] == [each["id"] for each in sessions]
    assert (browser.access in browser.cookies) is (delivery == "cookie")


def test_signing_in_again_replaces_the_session(browser: Browser, email: str) -> None:
    """An application asks for it with `again` in the link. The form keeps the address and the delivery of the session."""
    sign_in(browser, email, delivery="cookie")
    page = browser.get("/sign-in?again=&return_to=%2Faccount%2Fdata").text
    assert f'value="{email}"' in page
    assert 'name="delivery" value="cookie"' in page
    answer = browser.post("/sign-in", email=email, password=PASSWORD, return_to="/account/data", delivery="cookie")
    expect_redirect(answer, "/account/data")
    assert browser.access in browser.cookies


def test_the_account_page_requires_a_session(browser: Browser) -> None:
    """Without cookies the account page and its forms redirect to the sign-in page."""
    expect_redirect(browser.get("/"), "/account")
    expect_redirect(browser.get("/account"), "/sign-in")
    for path in ("data", "export"):
        expect_redirect(browser.get(f"/account/{path}"), "/sign-in")
    for path in ("end-session", "profile", "password", "email", "delete", "sign-out-everywhere"):
        expect_redirect(browser.post(f"/account/{path}", id="x"), "/sign-in")
    expect_redirect(browser.post("/account/sign-out"), "/signed-out")


def test_closed_registration_has_no_page(tmp_path: Path) -> None:
    """With closed registration there is neither a registration form nor a link to it."""
    with run_server(tmp_path, REGISTRATION="closed") as server, client_of(server) as client:
        browser = Browser(client)
        assert browser.get("/create-account").status_code == 404
        assert browser.post("/create-account", email="a@example.com", password=PASSWORD).status_code == 404
        assert "create-account" not in browser.get("/sign-in").text


def test_pages_work_below_a_path(tmp_path: Path) -> None:
    """All links begin with the issuer's path, under which a proxy serves the pages."""
    with (
        run_server(tmp_path, ISSUER="http://localhost:8000/auth") as server,
        httpx.Client(base_url=f"http://localhost:{server.port}") as client,
    ):
        browser = Browser(client)
        page = browser.get("/sign-in").text
        assert page.count('"/auth/') >= 5
        assert page.count('"/assets') == 0
        expect_redirect(browser.get("/account"), "/auth/sign-in")


def test_the_page_shows_the_newest_devices_and_says_that_there_are_more(browser: Browser, email: str) -> None:
    """A dozen are shown, this one first. When one of them is signed out, an older one appears."""
    body = {"email": email, "password": PASSWORD}
    sids = [browser.client.post("/login", json=body).json()["sessionId"] for _ in range(MAX_DEVICES)]
    page = browser.get("/account").text
    assert (page.count("<li>"), "There are more" in page) == (MAX_DEVICES, True)
    assert page.index(">this device<") < page.index("/account/end-session")
    browser.post("/account/end-session", id=sids[-1])
    page = browser.get("/account").text
    assert (page.count("<li>"), "There are more" in page) == (MAX_DEVICES, False)


# --- forms that are sent again


def key_in(page: httpx.Response, form: str) -> str:
    """Return the idempotency key in the hidden field of a page's form."""
    found = re.search(rf'action="{form}".*?name="idempotency_key" value="([^"]+)"', page.text, re.DOTALL)
    assert found, page.text
    return found[1]


def send_twice(browser: Browser, path: str, **form: str) -> httpx.Response:
    """Submit a form twice, with the cookies of before, as after a lost answer; return the second answer."""
    cookies = dict(browser.cookies)
    assert browser.post(path, **form).status_code == 303
    browser.cookies = cookies
    return browser.post(path, **form)


@pytest.mark.usefixtures("email")
def test_every_page_has_a_key_of_its_own(browser: Browser) -> None:
    """No two pages have the same key."""
    account = [key_in(browser.get("/account/sign-in"), "/account/password") for _ in range(2)]
    browser.cookies.clear()
    keys = {*account, key_in(browser.get("/sign-in"), "/sign-in"), key_in(browser.get("/create-account"), "/create-account")}
    assert len(keys) == 4


def test_a_new_account_whose_form_is_sent_again_is_signed_in_once(browser: Browser) -> None:
    """The second answer is no "address taken", and there is one session."""
    email, key = new_email("twice"), key_in(browser.get("/create-account"), "/create-account")
    expect_redirect(send_twice(browser, "/create-account", email=email, password=PASSWORD, idempotency_key=key), "/account")
    assert browser.get("/account").text.count("<li>") == 1


def test_a_sign_in_form_that_is_sent_again_begins_one_session(browser: Browser, email: str) -> None:
    """Two clicks on the button, or a lost answer, make one session."""
    browser.post("/account/sign-out")
    key = key_in(browser.get("/sign-in"), "/sign-in")
    expect_redirect(send_twice(browser, "/sign-in", email=email, password=PASSWORD, idempotency_key=key), "/account")
    assert browser.get("/account").text.count("<li>") == 1


def test_a_password_form_that_is_sent_again_signs_nobody_out(browser: Browser, email: str) -> None:
    """The second form comes with the cookie of the session that the first has ended, and gets that of the new one."""
    form = {"current_password": PASSWORD, "new_password": "another sentence, hers alone"}
    key = key_in(browser.get("/account/sign-in"), "/account/password")
    answer = send_twice(browser, "/account/password", **form, idempotency_key=key)
    expect_redirect(answer, "/account/sign-in?done=password")
    assert "Your password is changed" in browser.get("/account/sign-in?done=password").text
    back = {"current_password": form["new_password"], "new_password": PASSWORD}  # the way back shows the same key
    expect_redirect(browser.post("/account/password", **back, idempotency_key=key), "/account/sign-in?done=password")
    sign_in(browser, email)


@pytest.mark.usefixtures("email")
def test_signing_out_everywhere_twice_ends_on_the_same_page(browser: Browser) -> None:
    """The second form comes with the cookie of an ended session."""
    expect_redirect(send_twice(browser, "/account/sign-out-everywhere"), "/signed-out?from=everywhere")
