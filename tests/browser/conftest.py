"""A real Chromium for the tests of pages, and a page that writes down what goes wrong in it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect, sync_playwright

PATIENCE_MS = 60_000
"""How long to wait for what must happen. On a busy machine a click takes seconds; a passing test never waits in vain."""
expect.set_options(timeout=PATIENCE_MS)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_MISSING = (
    "These tests need Chromium: install it (Debian: apt install chromium; Fedora: dnf install chromium; "
    "macOS: brew install --cask google-chrome), or name its file in HANDSTAMP_TEST_CHROMIUM."
)
# Chromium reports every 4xx that a script asked for, here always on purpose.
_REFUSAL = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d ")
_REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  console.error(`Content-Security-Policy: ${violatedDirective} blocked ${blockedURI}`));
"""


def chromium_path() -> str | None:
    """Return where Chromium is, None where there is none."""
    named = os.environ.get("HANDSTAMP_TEST_CHROMIUM")
    return named or next((path for name in _NAMES if (path := shutil.which(name)) is not None), None)


# Not for the whole run: while Playwright is there, its event loop runs in this thread and no async test could.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Return a running Chromium; skip where there is none, except in CI, where that is a failure."""
    path = chromium_path()
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(_MISSING)
        pytest.skip(_MISSING)
    with sync_playwright() as playwright:
        # With the back button's memory of whole pages, which Playwright turns off and people have.
        browser = playwright.chromium.launch(
            executable_path=path, args=ARGUMENTS, ignore_default_args=["--disable-back-forward-cache"]
        )
        yield browser
        browser.close()


@pytest.fixture
def troubles() -> list[str]:
    """Return the list in which `page` writes console errors, uncaught exceptions and violations of the CSP."""
    return []


@contextmanager
def open_page(chromium: Browser, troubles: list[str] | None = None, **options: Any) -> Iterator[Page]:
    """Open an empty page with cookies and storages of its own; write what goes wrong in it into `troubles`."""

    def note(message: ConsoleMessage) -> None:
        if troubles is not None and message.type in {"error", "warning"} and not _REFUSAL.match(message.text):
            troubles.append(message.text)

    def note_error(error: Error) -> None:
        if troubles is not None:
            troubles.append(str(error))

    context = chromium.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(_REPORT_VIOLATIONS)
    opened = context.new_page()
    opened.on("console", note)
    opened.on("pageerror", note_error)
    yield opened
    context.close()


@pytest.fixture
def page(chromium: Browser, troubles: list[str]) -> Iterator[Page]:
    """Return an empty page 1200 px wide, with cookies and storages of its own."""
    with open_page(chromium, troubles) as opened:
        yield opened
