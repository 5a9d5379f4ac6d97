"""The park: each button of the story, pressed in a real browser against a real `handstamp demo`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import open_page
from tests.integration.helpers import running
from tests.serving import EMAIL, PASSWORD, command

pytestmark = pytest.mark.xdist_group("park")


@contextmanager
def demo(*options: str, **environment: str) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """Run the demonstration; give its address, what it said first, and its process."""
    process = subprocess.Popen(
        command("demo", "--no-browser", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    try:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(3))
        match = re.search(r"(http://localhost:\d+)/park", said)
        assert match is not None, said
        yield match[1], said, process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Return the address of a demonstration that runs."""
    with demo("--port", "0") as (url, _, _):
        yield url


@pytest.fixture
def park(page: Page, url: str) -> Page:
    """Return the park, with nobody signed in."""
    page.goto(f"{url}/park")
    expect(page.locator("#visit")).to_have_text("Nobody is signed in.")
    return page


@pytest.fixture
def press(park: Page) -> Callable[[str], None]:
    """Return what presses a button and waits until it has done what it does."""

    def press(name: str) -> None:
        park.get_by_role("button", name=name, exact=True).click()
        expect(park.locator(".working")).to_have_count(0)

    return press


def said(park: Page) -> list[str]:
    """Return the conversation, oldest first."""
    return [line.split("\n")[0] for line in reversed(park.locator("#conversation summary").all_inner_texts())]


def expect_holes(park: Page, count: int) -> None:
    """Assert how often the card was punched, which the page has from the store."""
    expect(park.locator("#holes i")).to_have_count(count)
    expect(park.locator("#card-text")).to_contain_text(f"Generation {count}")


def test_the_story_from_ticket_to_renewal(park: Page, press: Callable[[str], None], troubles: list[str]) -> None:
    """Sign in, ride, renew, and renew in two tabs: one more hole for both."""
    for button in park.get_by_role("button").all()[1:]:
        expect(button).to_be_disabled()
    press("Buy a ticket")
    expect(park.locator("#visit")).to_contain_text(EMAIL)
    expect(park.locator("#band-text")).to_contain_text("seconds left")
    expect_holes(park, 0)
    press("Enter a ride")
    press("Renew")
    expect_holes(park, 1)
    press("Renew in two tabs at once")
    expect_holes(park, 2)
    assert said(park) == ["POST /login 200", "GET /profile 200", "POST /refresh 200", *["POST /refresh?answer=late 200"] * 2]
    assert troubles == []


def test_an_answer_is_lost_and_nothing_with_it(park: Page, press: Callable[[str], None]) -> None:
    """The service has renewed once, and answers the same again."""
    press("Buy a ticket")
    press("Lose an answer")
    assert said(park)[1:] == ["POST /refresh?answer=lost no answer", "POST /refresh 200"]
    expect_holes(park, 1)
    press("Enter a ride")
    assert said(park)[-1] == "GET /profile 200"


def test_a_thief_is_found_out(park: Page, press: Callable[[str], None]) -> None:
    """The thief's renewal is refused, and the visitor is out as well."""
    press("Buy a ticket")
    press("Let somebody steal the card")
    assert said(park)[1:] == [
        "POST /park/copy 200",
        "POST /refresh 200",
        "POST /refresh 200",
        "POST /refresh 401",
        "GET /profile 401",
    ]
    expect(park.locator("#visit")).to_contain_text("an old copy of the card was used")
    expect(park.locator("#conversation li").first).to_contain_text("dead too, at once")
    expect(park.locator("#conversation pre").first).to_contain_text('"reason": "reuse"')
    expect(park.get_by_role("button", name="Renew", exact=True)).to_be_disabled()
    press("Buy a ticket")
    expect(park.locator("#visit")).to_contain_text("is signed in")


def test_signing_out_holds_at_once(park: Page, press: Callable[[str], None]) -> None:
    """The wristband has time left and is refused."""
    press("Buy a ticket")
    press("Sign out, then try the old wristband")
    assert said(park)[1:] == ["POST /logout 204", "GET /profile 401"]
    expect(park.locator("#conversation pre").first).to_contain_text('"reason": "logout"')
    expect(park.locator("#band-text")).to_contain_text("refused")


def test_a_wristband_runs_out(park: Page, press: Callable[[str], None]) -> None:
    """After its thirty seconds, which are real."""
    press("Buy a ticket")
    park.get_by_role("button", name="Wait until it runs out").click()
    expect(park.locator("#band")).to_have_class(re.compile("short"), timeout=40_000)
    expect(park.locator("#conversation li").first).to_contain_text("expired_token", timeout=40_000)
    expect(park.locator("#band-text")).to_have_text("run out")
    press("Renew")
    expect(park.locator("#band-text")).to_contain_text("seconds left")


def test_no_token_is_shown_whole(park: Page, press: Callable[[str], None]) -> None:
    """Neither in the conversation nor anywhere on the page; the claims are there for those who look."""
    press("Buy a ticket")
    press("Renew")
    assert re.search(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", park.content()) is None
    expect(park.locator("#attempt")).to_contain_text('document.cookie → ""')
    claims = park.locator("#claims")
    park.locator("#band").focus()
    expect(claims).to_contain_text('"sid"')
    assert (claims.bounding_box() or {"height": 0})["height"] > 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_serious_for_those_who_do_not_see_it(chromium: Browser, url: str, scheme: str, width: int) -> None:
    """The axe rules find nothing, and the page is not wider than the screen."""
    with open_page(chromium, color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce") as page:
        page.goto(f"{url}/park")
        for name in ("Buy a ticket", "Renew", "Sign out, then try the old wristband"):
            page.get_by_role("button", name=name, exact=True).click()
            expect(page.locator(".working")).to_have_count(0)
            found = Axe().run(page).response["violations"]
            assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_and_nothing_of_yours_is_read(by: signal.Signals, tmp_path: Path) -> None:
    """It works beside settings that would stop a start, says whom to be, and its folder goes with it."""
    with demo(
        "--port",
        "0",
        TMPDIR=str(tmp_path),
        HANDSTAMP_DATABASE="nonsense",
        HANDSTAMP_NONSENSE="1",
        HANDSTAMP_REGISTRATION="closed",
    ) as (_, said, process):
        assert EMAIL in said
        assert PASSWORD in said
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(by)
        assert process.wait(30) == 0
        assert list(tmp_path.iterdir()) == []


def test_the_service_itself_has_none_of_it(url: str, tmp_path: Path) -> None:
    """What the demonstration adds is there in the demonstration alone."""
    paths = [("GET", "/park"), ("GET", "/park/visit"), ("POST", "/park/copy"), ("POST", "/park/thief")]
    with running(tmp_path) as server, server.client() as real, httpx.Client(base_url=url, trust_env=False) as shown:
        for method, path in paths:
            assert real.request(method, path).status_code == 404
            assert shown.request(method, path).status_code != 404
        assert real.post("/refresh?answer=lost", timeout=3).status_code == 401
