from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.serving import Server

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service, one for all tests here: each makes an account of its own."""
    running = Server(tmp_path_factory.mktemp("docs"))
    yield running.start()
    running.kill()


@pytest.fixture
def docs(page: Page, server: Server) -> Page:
    """Return the documentation page, read and built."""
    page.goto(f"{server.url}/docs")
    expect(page.locator("main")).to_be_visible()
    return page


def _section(docs: Page, operation: str) -> Locator:
    return docs.get_by_role("region", name=operation, exact=True)


def _send(docs: Page, operation: str) -> None:
    _section(docs, operation).get_by_role("button", name=f"Send {operation}", exact=True).click()


def _expect_status(docs: Page, operation: str, status: int) -> None:
    expect(_section(docs, operation).get_by_role("status")).to_contain_text(str(status))


def _fill_in_new_address(docs: Page) -> str:
    address = f"{uuid4().hex}@example.com"
    for operation in ("POST /register", "POST /login"):
        _section(docs, operation).get_by_label("email").fill(address)
    return address


def _sign_in(docs: Page, delivery: str = "") -> str:
    """Register and sign in by the forms; return the e-mail address."""
    address = _fill_in_new_address(docs)
    _send(docs, "POST /register")
    _expect_status(docs, "POST /register", 201)
    _section(docs, "POST /login").get_by_label("delivery").select_option(delivery)
    _send(docs, "POST /login")
    _expect_status(docs, "POST /login", 200)
    return address


def test_every_operation_has_a_section_and_an_entry_in_the_contents(docs: Page, server: Server) -> None:
    """The page shows exactly what openapi.json lists."""
    document = httpx.get(f"{server.url}/openapi.json", trust_env=False).json()
    operations = [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]

    expect(docs.locator("main h2 a")).to_have_text(operations)
    entries = docs.get_by_role("navigation", name="Endpoints").get_by_role("link")
    expect(entries.locator("code")).to_have_text(operations)
    for number, operation in enumerate(operations):
        target = entries.nth(number).get_attribute("href") or ""
        expect(docs.locator(target).get_by_role("button", name=f"Send {operation}", exact=True)).to_have_count(1)


def test_the_forms_walk_through_a_whole_visit(docs: Page, troubles: list[str]) -> None:
    """Register, sign in, read the profile, renew and sign out work by the forms alone; then the token is worth nothing."""
    steps = [
        ("POST /register", 201),
        ("POST /login", 200),
        ("GET /profile", 200),
        ("POST /refresh", 200),
        ("POST /logout", 204),
        ("GET /profile", 401),
    ]
    for operation, status in steps:
        _send(docs, operation)
        _expect_status(docs, operation, status)

    refused = _section(docs, "GET /profile").locator("pre").last
    expect(refused).to_contain_text("www-authenticate: Bearer")
    expect(refused).to_contain_text('"code": "session_ended"')
    assert troubles == []


def test_the_profile_form_shows_the_request_and_the_answer(docs: Page) -> None:
    """What was sent and what came back stand below the form as they were."""
    address = _sign_in(docs)
    _send(docs, "GET /profile")

    request, answer = _section(docs, "GET /profile").locator("pre").nth(0), _section(docs, "GET /profile").locator("pre").nth(1)
    expect(request).to_contain_text("GET /profile\nauthorization: Bearer ey", use_inner_text=True)
    expect(answer).to_contain_text(f'"email": "{address}"')


def test_no_token_is_left_where_a_later_script_finds_it(docs: Page) -> None:
    """Tokens are in no storage and no readable cookie, and a reloaded page knows none."""
    _sign_in(docs)
    expect(docs.get_by_label("Access token")).to_have_value(re.compile("^ey"))
    assert docs.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]

    docs.reload()
    expect(docs.get_by_label("Access token")).to_have_value("")


def test_a_refresh_token_in_the_answer_is_filled_in_and_renewed(docs: Page) -> None:
    """With the delivery `json` the forms carry the refresh token, and each renewal replaces it."""
    _sign_in(docs, "json")
    refresh_token = _section(docs, "POST /refresh").get_by_label("refreshToken")
    first = refresh_token.input_value()
    assert first

    _send(docs, "POST /refresh")
    _expect_status(docs, "POST /refresh", 200)
    expect(refresh_token).not_to_have_value(first)


def test_the_path_of_a_request_is_filled_in_from_the_form(docs: Page) -> None:
    """The id of the session that was started is offered for ending it."""
    _sign_in(docs)
    _send(docs, "DELETE /sessions/{id}")
    _expect_status(docs, "DELETE /sessions/{id}", 204)


def test_an_empty_part_of_the_path_is_asked_for_before_anything_is_sent(docs: Page) -> None:
    """A missing id is said beside its field, which gets the focus."""
    _send(docs, "DELETE /sessions/{id}")
    identifier = _section(docs, "DELETE /sessions/{id}").get_by_label("id")
    expect(identifier).to_be_focused()
    expect(identifier).to_have_accessible_description("id: is part of the address: fill it in")


def test_a_wrong_field_is_said_beside_it_and_focused(docs: Page) -> None:
    """The service's answer about fields is shown where the person can mend them."""
    email = _section(docs, "POST /register").get_by_label("email")
    email.fill("")
    _send(docs, "POST /register")
    _expect_status(docs, "POST /register", 422)
    expect(email).to_be_focused()
    expect(email).to_have_accessible_description(re.compile("email: is missing"))


def test_a_password_is_shown_only_on_request(docs: Page) -> None:
    """The password field hides what is typed until its button is pressed, and the shown request never repeats it."""
    section = _section(docs, "POST /register")
    password = section.get_by_label("password", exact=True)
    expect(password).to_have_attribute("type", "password")
    section.get_by_role("button", name="Show password").click()
    expect(password).to_have_attribute("type", "text")

    _fill_in_new_address(docs)
    _send(docs, "POST /register")
    _expect_status(docs, "POST /register", 201)
    expect(section.locator("pre").first).not_to_contain_text(password.input_value())


def test_the_first_tab_stop_leads_past_the_contents(docs: Page) -> None:
    """The skip link is first, and the next stop after it is in the reference itself."""
    docs.keyboard.press("Tab")
    expect(docs.get_by_role("link", name="Skip to the reference")).to_be_focused()
    docs.keyboard.press("Enter")
    docs.keyboard.press("Tab")
    expect(docs.get_by_label("Access token")).to_be_focused()


def test_enter_in_a_field_sends_the_form(docs: Page) -> None:
    """A form needs no mouse."""
    _fill_in_new_address(docs)
    _section(docs, "POST /register").get_by_label("email").press("Enter")
    _expect_status(docs, "POST /register", 201)


def test_a_phone_never_scrolls_sideways(docs: Page) -> None:
    """At 390 px everything fits, with tokens on the page and every table open."""
    docs.set_viewport_size({"width": 390, "height": 844})
    _sign_in(docs, "json")
    _send(docs, "GET /profile")
    _expect_status(docs, "GET /profile", 200)
    docs.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    assert docs.evaluate("document.documentElement.scrollWidth") == 390


def test_the_page_works_below_a_path(page: Page, server: Server, troubles: list[str]) -> None:
    """Behind a proxy that mounts the service at /auth, the page and its requests stay below /auth."""

    def without_mount(route: Route) -> None:
        route.continue_(url=route.request.url.replace("/auth/", "/"))

    page.route(f"{server.url}/auth/**", without_mount)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(server.url)))
    page.goto(f"{server.url}/auth/docs")
    _sign_in(page)
    assert asked == [
        f"/auth/{name}"
        for name in ("docs", "assets/base.css", "assets/docs.css", "assets/docs.js", "openapi.json", "register", "login")
    ]
    assert troubles == []


def test_a_service_that_is_away_is_said_and_can_be_asked_again(page: Page, server: Server) -> None:
    """Without openapi.json the page says what is wrong, and its button reads it again."""
    page.route("**/openapi.json", lambda route: route.abort())
    page.goto(f"{server.url}/docs")
    expect(page.get_by_role("status")).to_contain_text("openapi.json could not be read")
    expect(page.locator("main")).to_be_hidden()

    page.unroute("**/openapi.json")
    page.get_by_role("button", name="Read openapi.json again").click()
    expect(page.locator("main")).to_be_visible()


def test_a_request_without_an_answer_is_said(docs: Page) -> None:
    """When the service is gone the form says so and can be sent again."""
    docs.route("**/healthz", lambda route: route.abort())
    _send(docs, "GET /healthz")
    expect(_section(docs, "GET /healthz").get_by_role("status")).to_contain_text("the service cannot be reached")

    docs.unroute("**/healthz")
    _send(docs, "GET /healthz")
    _expect_status(docs, "GET /healthz", 200)
