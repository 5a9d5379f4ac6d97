"""Look for faults of accessibility with axe."""

from __future__ import annotations

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

# What axe tells of the rules that a page keeps is left in the browser: to send it costs as much as a third of the rules.
_RUN = """() => axe.run({ resultTypes: ["violations"] }).then(({ violations }) =>
  violations.map(({ id, impact, nodes }) => [location.href, id, impact, nodes.map(({ html }) => html)]))"""


def expect_sound(page: Page) -> None:
    """Assert that a page is no wider than the screen, and that axe finds nothing."""
    page.wait_for_load_state()  # before that, its style may be missing
    assert page.viewport_size is not None
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert faults_of(page) == []


def faults_of(page: Page) -> list[tuple[str, str, str, list[str]]]:
    """Return every violation of axe's rules: the page's URL, the rule, its impact, and the HTML of the elements."""
    page.evaluate(AXE_SCRIPT)
    return [(url, rule, impact, elements) for url, rule, impact, elements in page.evaluate(_RUN)]
