"""Fixtures for tests of pages: a real Chromium, and a page that records its errors."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserType, ConsoleMessage, Error, Page, Playwright, expect, sync_playwright

PATIENCE_MS = 60_000
"""How long to wait for an expected event. A click may take seconds on a busy machine; a passing test never waits this long."""
expect.set_options(timeout=PATIENCE_MS)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SHELL = "chromium-headless-shell"
"""The same engine without the browser's own interface. A page costs a third of the processor time."""
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # With fewer processes, pages and browsers start with less work.
    "--in-process-gpu",
    "--renderer-process-limit=1",
)
_MISSING = (
    "These tests need Chromium: install it (Debian: apt install chromium chromium-headless-shell; Fedora: dnf install chromium; "
    "macOS: brew install --cask google-chrome), or name its file in HANDSTAMP_TEST_CHROMIUM."
)
# Chromium reports every 4xx answer to a script. The tests provoke these.
_REFUSAL = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d ")
_REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  console.error(`Content-Security-Policy: ${violatedDirective} blocked ${blockedURI}`));
"""


def chromium_path() -> str | None:
    """Return the path of Chromium, or None if it is not installed."""
    named = os.environ.get("HANDSTAMP_TEST_CHROMIUM")
    return named or next((path for name in _NAMES if (path := shutil.which(name)) is not None), None)


def engine_path() -> str | None:
    """Return the path of the headless shell if it is installed and no other program is named, else that of Chromium."""
    named = os.environ.get("HANDSTAMP_TEST_CHROMIUM")
    return named or shutil.which(_SHELL) or chromium_path()


@contextmanager
def launch(kind: BrowserType, path: str | None) -> Iterator[Browser]:
    """Run a browser. Playwright disables the back-forward cache, but people's browsers have it."""
    with kind.launch(executable_path=path, args=ARGUMENTS, ignore_default_args=["--disable-back-forward-cache"]) as browser:
        yield browser


# Not for the whole run: Playwright runs its event loop in this thread, which prevents async tests and a second Playwright.
@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Run Playwright."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Return a running Chromium. Without one, skip the test; in CI, fail it."""
    path = engine_path()
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(_MISSING)
        pytest.skip(_MISSING)
    with launch(playwright.chromium, path) as browser:
        yield browser


@pytest.fixture
def page_errors() -> list[str]:
    """Return the list in which `page` records console errors, uncaught exceptions and violations of the CSP."""
    return []


@contextmanager
def open_page(chromium: Browser, page_errors: list[str] | None = None, **options: Any) -> Iterator[Page]:
    """Open an empty page with its own cookies and storage, and record its errors in `page_errors`."""

    def note(message: ConsoleMessage) -> None:
        if page_errors is not None and message.type in {"error", "warning"} and not _REFUSAL.match(message.text):
            page_errors.append(message.text)

    def note_error(error: Error) -> None:
        if page_errors is not None:
            page_errors.append(str(error))

    # Moving pictures would take half of the processor time of a page.
    context = chromium.new_context(**{"viewport": {"width": 1200, "height": 900}, "reduced_motion": "reduce"} | options)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(_REPORT_VIOLATIONS)
    opened = context.new_page()
    opened.on("console", note)
    opened.on("pageerror", note_error)
    yield opened
    context.close()


@pytest.fixture
def page(chromium: Browser, page_errors: list[str]) -> Iterator[Page]:
    """Return an empty page 1200 px wide, with its own cookies and storage."""
    with open_page(chromium, page_errors) as opened:
        yield opened


@pytest.fixture
def remembered_page(chromium: Browser, page_errors: list[str]) -> Iterator[Page]:
    """Return an empty page of a browser with a back-forward cache, which the headless shell lacks."""
    with launch(chromium.browser_type, chromium_path()) as browser, open_page(browser, page_errors) as opened:
        yield opened
