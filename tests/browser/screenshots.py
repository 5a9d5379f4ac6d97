"""Take the screenshots of the documentation: `python -m tests.browser.screenshots`."""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, chromium_path, open_page
from tests.browser.test_pages import sign_in
from tests.browser.test_park import ENTER, LOSE, RENEW, RIDE, TABS, press
from tests.demonstration import demo
from tests.serving import EMAIL, Server

IMAGES = Path(__file__).parents[2] / "docs/images"
_PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Mobile/15E148 Safari/604.1"


def main() -> None:
    """Sign in from a phone and a computer, and save a picture of each page."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder)).start()
        try:
            server.register()
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
            with open_page(browser, user_agent=_PHONE, viewport={"width": 390, "height": 700}, color_scheme="dark") as page:
                page.goto(f"{server.url}/sign-in")
                photograph(page, "sign-in.png")
                page.goto(f"{server.url}/create-account")
                photograph(page, "create-account.png")
                sign_in(page, server, EMAIL)
                page.wait_for_url("**/account")
            with open_page(browser, viewport={"width": 1000, "height": 800}) as page:
                sign_in(page, server, EMAIL)
                page.wait_for_url("**/account")
                photograph(page, "account.png", full_page=True)
        finally:
            server.kill()
        with demo("--port", "0") as (url, _, _), open_page(browser) as page:
            page.goto(f"{url}/park")
            for name in (ENTER, RIDE, RENEW, TABS, LOSE, "Let script try"):
                press(page, name)
            photograph(page, "park.png", full_page=True)


def photograph(page: Page, name: str, *, full_page: bool = False) -> None:
    """Save a picture of a page for the documentation, in 256 colours to keep the file small."""
    page.mouse.move(0, 0)
    picture = Image.open(BytesIO(page.screenshot(full_page=full_page))).convert("RGB")
    picture.quantize(method=Image.Quantize.MAXCOVERAGE).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
