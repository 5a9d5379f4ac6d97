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
_LOGO = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 150 48">
<style>text { fill: #191c1c } @media (prefers-color-scheme: dark) { text { fill: #e7ebea } }</style>
<rect width="48" height="48" rx="12" fill="#6d28d9"/><circle cx="24" cy="24" r="10" fill="#fff"/>
<text x="60" y="33" font-family="system-ui, sans-serif" font-size="26" font-weight="700">Acme</text></svg>"""
_BRAND = {
    "BRAND_NAME": "Acme",
    "BRAND_COLOR": "#5b21b6 #a78bfa",
    "TERMS_URL": "https://www.example.com/terms",
    "PRIVACY_URL": "https://www.example.com/privacy",
    "SUPPORT_CONTACT": "help@example.com",
}


def main() -> None:
    """Sign in from a phone and a computer, and save a picture of each page."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        logo = Path(folder, "logo.svg")
        logo.write_text(_LOGO)
        server = Server(Path(folder)).start()
        branded = Server(Path(folder, "branded"), **_BRAND, BRAND_LOGO=str(logo))
        branded.folder.mkdir()
        branded.start()
        try:
            server.register()
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
            with open_page(browser, user_agent=_PHONE, viewport={"width": 390, "height": 700}, color_scheme="dark") as page:
                page.goto(f"{server.url}/sign-in")
                photograph(page, "sign-in.png")
                page.goto(f"{server.url}/create-account")
                photograph(page, "create-account.png")
                page.goto(f"{branded.url}/create-account?ui_locales=ar")
                photograph(page, "branded.png")
                sign_in(page, server, EMAIL)
                page.wait_for_url("**/account")
            with open_page(browser, viewport={"width": 1000, "height": 960}) as page:
                sign_in(page, server, EMAIL)
                page.wait_for_url("**/account")
                photograph(page, "account.png")
        finally:
            server.kill()
            branded.kill()
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
