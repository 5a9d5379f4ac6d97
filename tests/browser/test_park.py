"""The park in a real browser: each button of the story, against a real `handstamp demo`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser.axe import expect_sound
from tests.browser.conftest import open_page
from tests.demonstration import demo
from tests.serving import EMAIL, cookie_name, free_port

pytestmark = pytest.mark.xdist_group("park")
ENTER = "Get a wristband and a membership card (sign in)"
AGAIN = "Sign in again, for a new visit"
RIDE, WAIT, RENEW, TABS, LOSE, STEAL, OUT, BIND = STORY = (
    "Enter a ride",
    "Wait until it expires",
    "Renew",
    "Renew in two tabs at once",
    "Lose an answer",
    "Steal the card",
    "Sign out, then try the old wristband",
    "Bind the card, then steal everything",
)

STEP_PATIENCE_MS = 30_000  # the thief's step alone takes five seconds


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Return the URL of a running demonstration."""
    with demo("--port", "0") as (url, _, _):
        yield url


@pytest.fixture(scope="module", autouse=True)
def expiring_page(chromium: Browser, url: str) -> Iterator[Page]:
    """Return a page on which a wristband expires in thirty real seconds, while the other tests run."""
    with open_page(chromium) as page:
        page.goto(f"{url}/park")
        press(page, ENTER)
        page.get_by_role("button", name=WAIT).click()
        yield page


@pytest.fixture
def park(page: Page, url: str) -> Page:
    """Return the park without a signed-in visitor."""
    page.goto(f"{url}/park")
    expect(page.get_by_text("You are not signed in")).to_be_visible()
    return page


@pytest.fixture
def signed_in(park: Page) -> Page:
    """Return the park with a signed-in visitor."""
    press(park, ENTER)
    return park


def press(page: Page, name: str) -> None:
    """Press a button and wait until its work is done."""
    page.get_by_role("button", name=name, exact=True).click()
    expect(page.locator(".working")).to_have_count(0, timeout=STEP_PATIENCE_MS)


def conversation(page: Page) -> list[str]:
    """Return the conversation, oldest first: method, path and status."""
    lines = reversed(page.locator("#conversation .line").all())
    return [f"{line.locator('code').inner_text()} {line.locator('.status').inner_text()}" for line in lines]


def exchanges(page: Page) -> Locator:
    """Return the conversation's entries, newest first."""
    return page.locator("#conversation li")


def full_text(page: Page, number: int) -> str:
    """Return the whole text of an exchange; 0 is the newest."""
    return exchanges(page).nth(number).locator("pre").text_content() or ""


def outcome(page: Page) -> Locator:
    """Return the element that shows the result of a press."""
    return page.locator("#outcome")


def expect_card(page: Page, generation: int) -> None:
    """Assert the generation of the browser's card: its holes, its text and its label for screen readers."""
    expect(page.locator("#holes .punched")).to_have_count(generation)
    expect(page.locator("#generation")).to_have_text(f"generation {generation}")
    expect(page.get_by_role("img", name=f"The card is generation {generation}:")).to_be_visible()


def expect_record(page: Page, generation: int) -> None:
    """Assert the generation of the stored session."""
    expect(page.locator("#visit")).to_contain_text(f"Active, for {EMAIL}; generation {generation} in the service's database.")


# --- the story


def test_nothing_can_be_done_before_signing_in(park: Page) -> None:
    """The form is filled in, and all buttons of the story are disabled."""
    expect(park.get_by_label("E-mail address")).to_have_value(EMAIL)
    for name in STORY:
        expect(park.get_by_role("button", name=name, exact=True)).to_have_attribute("aria-disabled", "true")
    park.get_by_role("button", name=RIDE).click(force=True)
    assert conversation(park) == []


def test_signing_in_gives_a_wristband_and_a_card(signed_in: Page, page_errors: list[str]) -> None:
    """The access token is in the body, the refresh token in an HttpOnly cookie. The page shows both shortened."""
    assert conversation(signed_in) == ["POST /login 200"]
    expect(signed_in.locator("#left")).to_contain_text("s left")
    expect_card(signed_in, 0)
    expect_record(signed_in, 0)
    assert re.search(r'"accessToken": "eyJ...….{4}"', full_text(signed_in, 0))
    assert re.search(
        r"set-cookie: handstamp-refresh-\d+=eyJ...….{4}; Path=/; .*HttpOnly; SameSite=Strict", full_text(signed_in, 0)
    )
    assert "refreshToken" not in full_text(signed_in, 0)
    password = signed_in.locator("#password").input_value()
    assert password
    assert password not in full_text(signed_in, 0)
    expect(signed_in.get_by_role("button", name=RIDE)).to_be_focused()
    assert page_errors == []


def test_the_form_appears_once_no_session_is_found(page: Page, url: str) -> None:
    """The form appears only after the page has looked for a session, and a double click signs in once."""
    looking: list[Route] = []
    page.route("**/park/visit", lambda route: looking.append(route), times=1)  # noqa: PLW0108 (Playwright marks the function)
    page.goto(f"{url}/park")
    expect(page.get_by_text("Looking for a card")).to_be_visible()
    expect(page.get_by_role("button", name=ENTER, exact=True)).to_be_hidden()
    looking[0].continue_()
    page.get_by_role("button", name=ENTER, exact=True).dblclick()
    expect(page.get_by_role("button", name=RIDE)).to_be_focused()
    expect(page.get_by_text("Looking for a card")).to_be_hidden()
    assert conversation(page) == ["POST /login 200"]


def test_the_form_returns_after_the_session_has_ended(signed_in: Page) -> None:
    """After a sign-out the form appears only when the step has finished, so that a press is not ignored."""
    signed_in.get_by_role("button", name=OUT).click()
    expect(signed_in.locator("#visit")).to_have_text("You signed out.")
    expect(signed_in.get_by_role("button", name=AGAIN)).to_be_hidden()
    signed_in.get_by_role("button", name=AGAIN).click()
    expect_card(signed_in, 0)
    assert conversation(signed_in)[1:] == ["POST /logout 204", "GET /profile 401", "POST /login 200"]


def test_a_wrong_password_is_shown_at_the_form(park: Page) -> None:
    """The form shows the service's message and keeps its fields."""
    park.get_by_label("Password", exact=True).fill("another sentence than that")
    press(park, ENTER)
    expect(park.get_by_role("alert").filter(has_text="do not match")).to_be_visible()
    expect(park.get_by_label("Password", exact=True)).to_be_focused()
    assert conversation(park) == ["POST /login 401"]


def test_a_ride_and_a_renewal(signed_in: Page, page_errors: list[str]) -> None:
    """The wristband opens the ride. Each renewal punches a hole into the card, and the previous card is an old copy."""
    press(signed_in, RIDE)
    expect(outcome(signed_in)).to_contain_text("Accepted")
    assert "authorization: Bearer eyJ" in full_text(signed_in, 0)
    press(signed_in, RENEW)
    expect(outcome(signed_in)).to_contain_text("the card is generation 1, and generation 0 is an old copy")
    expect_card(signed_in, 1)
    expect_record(signed_in, 1)
    assert conversation(signed_in) == ["POST /login 200", "GET /profile 200", "POST /refresh 200"]
    assert re.search(r"cookie: handstamp-refresh-\d+=eyJ", full_text(signed_in, 0))
    assert page_errors == []


def test_two_tabs_get_the_same_card(signed_in: Page) -> None:
    """Both requests carry the same card, and both answers set the same next card."""
    press(signed_in, TABS)
    expect(outcome(signed_in)).to_contain_text("Both showed card 0 and both got the same card 1")
    assert conversation(signed_in)[1:] == ["POST /refresh 200"] * 2
    for header in ("cookie", "set-cookie"):
        pattern = rf"^{header}: handstamp-refresh-\d+=(\S+?)[; ]"
        found = {re.findall(pattern, full_text(signed_in, number), re.MULTILINE)[0] for number in (0, 1)}
        assert len(found) == 1, found
    expect_card(signed_in, 1)


def test_a_lost_answer_costs_no_session(signed_in: Page, page_errors: list[str]) -> None:
    """After a lost answer the service is one generation ahead; a retry brings the browser to the same generation."""
    signed_in.get_by_role("button", name=LOSE).click()
    expect(signed_in.locator("#holes .missed")).to_have_count(1)
    expect_card(signed_in, 0)
    expect_record(signed_in, 1)
    expect(outcome(signed_in)).to_contain_text("You have card 1, the one that was lost")
    expect_card(signed_in, 1)
    expect_record(signed_in, 1)
    assert conversation(signed_in)[1:] == ["POST /refresh lost", "POST /refresh 200"]
    press(signed_in, RIDE)
    assert conversation(signed_in)[-1] == "GET /profile 200"
    assert page_errors == []


def test_a_stolen_card_ends_the_session(signed_in: Page, page_errors: list[str]) -> None:
    """The thief's renewal is refused and ends the session, so the visitor must sign in again."""
    press(signed_in, STEAL)
    expect(outcome(signed_in)).to_contain_text("The thief got no wristband")
    assert conversation(signed_in)[1:] == [
        "POST /park/copy 200",
        "POST /refresh 200",
        "POST /refresh 200",
        "POST /refresh 401",
        "GET /profile 401",
    ]
    assert "user-agent: thief" in full_text(signed_in, 1)
    assert '"reason": "reuse"' in full_text(signed_in, 1)
    assert '"reason": "reuse"' in full_text(signed_in, 0)
    expect(signed_in.locator("#visit")).to_contain_text("an old copy of your sign-in was used")
    expect(signed_in.locator("#left")).to_contain_text(re.compile(r"void, \d+ s unused"))
    press(signed_in, RENEW)
    expect(outcome(signed_in)).to_contain_text("You were signed out because an old copy")
    expect(signed_in.locator("#generation")).to_have_text("taken away")
    press(signed_in, AGAIN)
    expect_card(signed_in, 0)
    assert page_errors == []


def test_signing_out_takes_effect_at_once(signed_in: Page, page_errors: list[str]) -> None:
    """After a sign-out an unexpired wristband is refused, and the browser has no card."""
    press(signed_in, OUT)
    expect(outcome(signed_in)).to_contain_text(re.compile(r"had \d+ seconds left and a valid signature, and it is refused"))
    assert conversation(signed_in)[1:] == ["POST /logout 204", "GET /profile 401"]
    assert '"reason": "logout"' in full_text(signed_in, 0)
    expect(signed_in.locator("#visit")).to_have_text("You signed out.")
    expect(signed_in.locator("#generation")).to_have_text("taken away")
    assert page_errors == []


def test_a_thief_with_every_token_gets_nothing_from_a_bound_card(signed_in: Page, page_errors: list[str]) -> None:
    """Each try of the thief is refused without any effect, while the visitor renews and rides with proofs (RFC 9449)."""
    press(signed_in, BIND)
    expect(outcome(signed_in)).to_contain_text("The thief had every token and got nowhere")
    tries = ["POST /refresh 400", "POST /refresh 400", "GET /profile 401"]
    assert conversation(signed_in)[1:] == [
        "POST /login 200",
        *tries,
        "POST /refresh 200",
        *tries,
        "GET /profile 200",
        "POST /login 200",
    ]
    assert '"tokenType": "DPoP"' in full_text(signed_in, 9)
    assert '"code": "invalid_dpop_proof"' in full_text(signed_in, 3)
    assert "authorization: DPoP eyJ" in full_text(signed_in, 1)
    assert "dpop: eyJ" in full_text(signed_in, 1)
    press(signed_in, RENEW)
    expect_card(signed_in, 1)
    assert page_errors == []


# --- what the visitor holds


def test_script_cannot_read_the_card(signed_in: Page) -> None:
    """Script finds no card in any place that it can read, although the browser has the cookie."""
    press(signed_in, "Let script try")
    expect(signed_in.locator("#attempts span")).to_have_text(
        [f"{place} → nothing" for place in ("document.cookie", "cookieStore.getAll()", "localStorage, sessionStorage")]
    )
    names = {cookie_name(kind, signed_in.url) for kind in ("refresh", "device")}
    assert {cookie["name"]: cookie["httpOnly"] for cookie in signed_in.context.cookies()} == dict.fromkeys(names, True)


def test_claims_open_by_mouse_and_keyboard(signed_in: Page) -> None:
    """Hovering and focus show the token's claims, and Escape closes them."""
    claims, band = signed_in.get_by_role("tooltip"), signed_in.get_by_role("group", name="Wristband")
    expect(claims).to_be_hidden()
    band.hover()
    expect(claims).to_be_visible()
    signed_in.mouse.move(0, 0)
    expect(claims).to_be_hidden()
    band.focus()
    for name in ("iss", "sub", "sid", "exp"):
        expect(claims.locator("dt code").get_by_text(name, exact=True)).to_be_visible()
    signed_in.keyboard.press("Escape")
    expect(claims).to_be_hidden()


def test_the_wristband_turns_amber_and_expires(page: Page, url: str) -> None:
    """Its colour and text change. The label for screen readers changes only with the state, not every second."""
    page.clock.install()
    page.goto(f"{url}/park")
    press(page, ENTER)
    band, strap = page.locator("#band"), page.locator("#strap")
    expect(strap).to_have_attribute("aria-label", "The wristband is valid.")
    page.clock.run_for(21_000)
    expect(band).to_have_attribute("data-state", "short")
    expect(strap).to_have_attribute("aria-label", "The wristband expires in less than 10 seconds.")
    page.clock.run_for(10_000)
    expect(band).to_have_attribute("data-state", "out")
    expect(page.locator("#left")).to_have_text("expired")
    expect(strap).to_have_attribute("aria-label", "The wristband has expired.")


def test_a_page_that_is_loaded_again_renews(signed_in: Page) -> None:
    """After a reload the page has no access token, and renews with the card."""
    signed_in.reload()
    expect(outcome(signed_in)).to_contain_text("Welcome back")
    assert conversation(signed_in) == ["POST /refresh 200"]
    expect_card(signed_in, 1)


def test_no_token_is_shown_full_text(signed_in: Page) -> None:
    """No complete token is on the page, in storage or in a readable cookie."""
    for name in (RENEW, STEAL):
        press(signed_in, name)
    assert re.search(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", signed_in.content()) is None
    assert signed_in.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_waiting_can_be_stopped(signed_in: Page) -> None:
    """A button stops the wait of thirty seconds."""
    signed_in.get_by_role("button", name=WAIT).click()
    press(signed_in, "Stop waiting")
    expect(outcome(signed_in)).to_contain_text("Stopped waiting")
    assert conversation(signed_in) == ["POST /login 200"]


def test_the_whole_story_by_keyboard(park: Page) -> None:
    """Signing in moves the focus to the first step. Tab moves through the steps, and a step keeps the focus while it runs."""
    park.get_by_label("Password", exact=True).press("Enter")
    expect(park.get_by_role("button", name=RIDE)).to_be_focused()
    park.keyboard.press("Enter")
    expect(outcome(park)).to_contain_text("Accepted")
    expect(park.get_by_role("button", name=RIDE)).to_be_focused()
    park.keyboard.press("Tab")
    park.keyboard.press("Tab")
    park.keyboard.press("Space")
    expect(outcome(park)).to_contain_text("A fresh wristband")


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1200)])
def test_axe_finds_no_serious_problem(chromium: Browser, url: str, scheme: str, width: int) -> None:
    """Axe finds no violation in any state, and the page is not wider than the screen."""
    with open_page(chromium, color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce") as page:
        page.goto(f"{url}/park")
        for name in (ENTER, "Let script try", RENEW, OUT):
            press(page, name)
            exchanges(page).first.locator("details").evaluate("details => { details.open = true; }")
            page.get_by_role("group", name="Wristband").focus()
            expect_sound(page)
            page.keyboard.press("Escape")  # close the claims, which cover the elements below


# --- an outage


def test_a_stopped_demo_is_reported_and_can_be_retried(page: Page) -> None:
    """The page reports that the service is away, and works with the next demonstration at the same address."""
    port = str(free_port())
    with demo("--port", port) as (url, _, _):
        page.goto(f"{url}/park")
        press(page, ENTER)
    press(page, RIDE)
    away = page.get_by_role("alert").filter(has_text="The service does not answer")
    expect(away).to_be_visible()
    with demo("--port", port):
        press(page, "Try again")
        expect(away).to_be_hidden()
        press(page, ENTER)
        expect_card(page, 0)


# Last, so that the wristband expires during the other tests.
def test_a_wristband_expires(expiring_page: Page) -> None:
    """After thirty real seconds and the leeway, the service refuses the wristband; the card gets a new one."""
    expect(outcome(expiring_page)).to_contain_text("Refused with expired_token", timeout=45_000)
    assert conversation(expiring_page) == ["POST /login 200", "GET /profile 401"]
    assert '"code": "expired_token"' in full_text(expiring_page, 0)
    expect(expiring_page.locator("#left")).to_have_text("expired")
    press(expiring_page, RENEW)
    expect(expiring_page.locator("#left")).to_contain_text("s left")
