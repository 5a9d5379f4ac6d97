"""The examples for React and Vue, built by Vite and used in a real browser with a real service."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyotp
import pytest
from playwright.sync_api import Page, expect

from tests.integration.helpers import change_session
from tests.packaging.npm import ROOT, ClientPackage, install, npm
from tests.serving import PASSWORD, Server, free_port

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("npm-clients")]
PORT = free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service that trusts the application's origin."""
    running = Server(tmp_path_factory.mktemp("frameworks"), TRUSTED_ORIGINS=f"http://localhost:{PORT}")
    yield running.start()
    running.stop()


@contextmanager
def built(package: ClientPackage, name: str, server: Server) -> Iterator[str]:
    """Build an example and serve it. It is a development build: in others, React's strict mode does nothing."""
    folder = package.folder.parents[1] / "examples" / name
    shutil.copytree(ROOT / "examples" / name, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    install(folder)
    npm(folder, "run", "build", "--", "--mode", "development", NODE_ENV="development", VITE_AUTH_URL=server.url)
    handler = functools.partial(QuietHandler, directory=folder / "dist")
    with http.server.ThreadingHTTPServer(("127.0.0.1", PORT), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://localhost:{PORT}"
        serving.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.parametrize("framework", ["React", "Vue"])
def test_an_application(
    page: Page, server: Server, client_package: ClientPackage, framework: str, page_errors: list[str]
) -> None:
    """A person signs in, loads the page again, stays signed in beyond the token's life, and signs out. There is one client.

    Then the person sets up an authenticator app in an old session, which asks for the password, and signs in with two steps.
    """
    email = f"{framework}@example.com"
    assert server.register(email).status_code == 201
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(server.url)))
    with built(client_package, framework.lower(), server) as url:
        page.goto(url)
        expect(page.get_by_role("heading")).to_have_text(f"{framework} and Handstamp")
        page.get_by_label("E-mail address").fill(email)
        page.get_by_label("Password").fill("not this one at all")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text(f"You are signed in as {email}.")).to_be_visible()
        asked.clear()
        page.reload()
        expect(page.get_by_text(f"You are signed in as {email}.")).to_be_visible()
        assert asked.count("/refresh") == 1
        if framework == "React":
            assert asked.count("/profile") == 2, "strict mode runs effects twice"
        with page.expect_response(f"{server.url}/refresh") as renewed:
            page.evaluate("{ const now = Date.now; Date.now = () => now() + 86_400_000; dispatchEvent(new Event('focus')); }")
        assert renewed.value.status == 200
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        page.reload()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        use_second_factor(page, server, email)
    assert page_errors == []


def use_second_factor(page: Page, server: Server, email: str) -> None:
    """Sign in, set up an authenticator app in a session that is old, and sign in with it."""

    def sign_in() -> None:
        page.get_by_label("E-mail address").fill(email)
        page.get_by_label("Password").fill(PASSWORD)
        with page.expect_response(f"{server.url}/login") as answer:
            page.get_by_role("button", name="Sign in").click()
        if "sessionId" in (body := answer.value.json()):
            change_session(server, body["sessionId"], authenticated_at_ms=0)

    sign_in()
    page.get_by_role("button", name="Set up an authenticator app").click()
    question = page.get_by_role("form", name="Confirm that it is you")
    question.get_by_label("Password").fill("not this one at all")
    question.get_by_role("button", name="Confirm").click()
    expect(question.get_by_role("alert")).to_be_visible()
    question.get_by_label("Password").fill(PASSWORD)
    question.get_by_role("button", name="Confirm").click()
    secret = page.locator("form code").inner_text().replace(" ", "")
    page.get_by_label("First code").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Confirm the app").click()
    recovery_code = page.get_by_text("Save these recovery codes:").locator("code").inner_text().split()[0]
    page.get_by_role("button", name="Sign out").click()
    sign_in()
    page.get_by_label("Code of your app").fill("000000")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Code of your app").fill(recovery_code)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text(f"You are signed in as {email}.")).to_be_visible()
