"""The examples with pages, started as their first lines say and used in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.commands import environment_with, run_process
from tests.serving import EMAIL, PASSWORD, Server, cookie_name, free_port
from tests.verifying import eventually

pytestmark = pytest.mark.xdist_group("browser-examples")
EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def run_example(application: str, port: int, folder: Path, **environment: str) -> Iterator[str]:
    """Run an example's application, and yield its URL once it answers."""
    file = EXAMPLES / application
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", f"{file.stem}:app", "--app-dir", str(file.parent), "--port", str(port)],
        cwd=folder,
        stderr=subprocess.DEVNULL,
        env=environment_with({}) | environment,
    )
    url = f"http://localhost:{port}"

    def answers() -> bool:
        try:
            return httpx.get(url, trust_env=False).status_code < 400
        except httpx.TransportError:
            return False

    try:
        assert eventually(answers)
        yield url
    finally:
        process.kill()
        process.wait()


def test_a_single_page_application(page: Page, tmp_path: Path, page_errors: list[str]) -> None:
    """A person signs in on the service's page, returns, places an order, reloads and signs out."""
    port = free_port()
    server = Server(tmp_path, TRUSTED_ORIGINS=f"http://localhost:{port}")
    try:
        server.start().register()
        credential = re.search(r"\S+:\S{20,}", run_process(tmp_path, "credentials", "create", "orders").stdout)
        assert credential is not None
        with run_example("browser/orders.py", port, tmp_path, AUTH_ISSUER=server.url, AUTH_CREDENTIAL=credential[0]) as url:
            page.goto(url)
            page.get_by_role("link", name="Sign in").click()
            page.get_by_label("E-mail address").fill(EMAIL)
            page.get_by_role("textbox", name="Password", exact=True).fill(PASSWORD)
            page.get_by_role("button", name="Sign in", exact=True).click()
            expect(page.get_by_role("status").first).to_have_text(EMAIL)
            page.get_by_role("button", name="Place an order").click()
            expect(page.get_by_role("listitem")).to_have_text("Order 1")
            page.reload()
            expect(page.get_by_role("listitem")).to_have_text("Order 1")
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_role("link", name="Sign in")).to_be_visible()
            page.reload()
            expect(page.get_by_role("status").first).to_have_text("You are signed out.")
        assert page_errors == []
    finally:
        server.kill()


def test_a_server_rendered_site(page: Page, tmp_path: Path, page_errors: list[str]) -> None:
    """A person creates an account and returns; the site refreshes an expired access token; the person signs out."""
    port = free_port()
    with run_example("server-rendered/pages.py", port, tmp_path, SITE_ISSUER=f"http://localhost:{port}/auth") as url:
        page.goto(url)
        page.get_by_role("link", name="Create an account").click()
        page.get_by_label("E-mail address").fill(EMAIL)
        page.get_by_role("textbox", name="Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Create account").click()
        expect(page.get_by_role("heading", name="A site")).to_be_visible()
        shown = page.locator("p").first.inner_text()
        before = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
        access, renewal, device = (cookie_name(kind, url) for kind in ("access", "refresh", "device"))
        assert set(before) - {cookie_name("grant", url)} == {access, renewal, device}
        page.context.clear_cookies(name=access)  # as when it has expired
        page.reload()
        expect(page.locator("p").first).to_have_text(shown)
        after = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
        assert set(after) == set(before)
        assert after[renewal] != before[renewal]
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
        page.goto(url)
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page_errors == []
