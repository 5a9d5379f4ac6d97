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

from tests.serving import EMAIL, PASSWORD, Server, environment_with, free_port, run
from tests.verifying import eventually

pytestmark = pytest.mark.xdist_group("browser-examples")
EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def started(example: str, port: int, **environment: str) -> Iterator[str]:
    """Run an example's application."""
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "orders:app", "--port", str(port), "--log-level", "warning"],
        cwd=EXAMPLES / example,
        env=environment_with({}) | environment,
    )
    url = f"http://localhost:{port}"

    def answers() -> bool:
        try:
            return httpx.get(url, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        assert eventually(answers)
        yield url
    finally:
        process.kill()
        process.wait()


def test_a_single_page_application(page: Page, tmp_path: Path, troubles: list[str]) -> None:
    """Sign in on the service's page, come back, place an order, reload, and sign out."""
    port = free_port()
    server = Server(tmp_path, TRUSTED_ORIGINS=f"http://localhost:{port}")
    try:
        server.start().register()
        credential = re.search(r"\S+:\S{20,}", run(tmp_path, "clients", "create", "orders").stdout)
        assert credential is not None
        with started("browser", port, AUTH_ISSUER=server.url, AUTH_CREDENTIAL=credential[0]) as url:
            page.goto(url)
            page.get_by_role("link", name="Sign in").click()
            page.get_by_label("E-mail address").fill(EMAIL)
            page.get_by_label("Password", exact=True).fill(PASSWORD)
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
        assert troubles == []
    finally:
        server.kill()
