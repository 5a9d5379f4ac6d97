"""A real Chromium binds its sessions and renews them by itself, without any script (W3C DBSC).

One browser and one service, over https. The headless shell has no device-bound sessions, so this is the whole browser. With
another flag for the certificate, or without https, Chromium turns them off without a word.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from playwright.sync_api import BrowserContext, BrowserType, Page, Playwright

from handstamp.crypto.strict import base64url_decode
from tests.browser.conftest import ARGUMENTS, PATIENCE_MS, chromium_path
from tests.certificates import build_command
from tests.serving import EMAIL, PASSWORD, Server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser-bound")]
FEATURES = "DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting,DeviceBoundSessionsIncludeAudienceClaim"
NAMES = {"cookie": "__Host-handstamp-access", "split": "__Host-handstamp-bound"}
SIGN_IN = """async ([email, password, delivery]) => {
  const headers = { "content-type": "application/json" };
  return (await fetch("/login", { method: "POST", headers, body: JSON.stringify({ email, password, delivery }) })).json();
}"""
FETCH = """async ([method, path, body]) => {
  const headers = body ? { "content-type": "application/json" } : {};
  const response = await fetch(path, { method, headers, body: body ? JSON.stringify(body) : undefined });
  return { status: response.status, body: response.status === 204 ? null : await response.json() };
}"""


class Visitor:
    """A browser with a profile on disk, and what Chromium tells about its device-bound sessions."""

    def __init__(self, kind: BrowserType, server: Server, profile: Path, arguments: list[str]) -> None:
        """Start it."""
        self._kind, self.server, self._profile, self._arguments = kind, server, profile, arguments
        self.events: list[dict[str, Any]] = []
        self.context: BrowserContext
        self.page: Page
        self.start()

    def start(self) -> None:
        """Start the browser with its profile, at a page whose scripts may send requests."""
        self.context = self._kind.launch_persistent_context(
            str(self._profile), executable_path=chromium_path(), args=self._arguments, headless=True, bypass_csp=True
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.pages[0]
        told = self.context.new_cdp_session(self.page)
        told.send("Network.enable")
        told.on("Network.deviceBoundSessionEventOccurred", self._note)
        told.send("Network.enableDeviceBoundSessions", {"enable": True})
        self.page.goto(f"{self.server.url}/healthz")

    def _note(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def restart(self) -> None:
        """Close the browser and start it again."""
        self.context.close()
        self.start()

    def fetch(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        """Send a request from the page."""
        answer: dict[str, Any] = self.page.evaluate(FETCH, [method, path, body])
        return answer

    def wait_for(self, is_it: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for an event of the browser."""
        for _ in range(PATIENCE_MS // 20):
            if any(is_it(event) for event in self.events):
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"no such event: {self.events}")

    def sign_in(self, delivery: str) -> str:
        """Sign in, wait until the browser has bound the session, and return its id."""
        answer = self.page.evaluate(SIGN_IN, [EMAIL, PASSWORD, delivery])
        self.wait_for_binding(answer["sessionId"])
        sid: str = answer["sessionId"]
        return sid

    def wait_for_binding(self, sid: str) -> None:
        """Wait until the browser has bound a session."""
        self.wait_for(lambda event: event.get("sessionId") == sid and "creationEventDetails" in event and event["succeeded"])

    def expire(self, delivery: str) -> None:
        """Let the bound cookie end, as after the access token's life."""
        self.context.clear_cookies(name=NAMES[delivery])
        self.events.clear()

    def wait_for_proofs(self, count: int, *, of_registration: bool = False) -> list[dict[str, str]]:
        """Return the header fields with the proofs that the browser has sent, oldest first, from the log of its network."""
        log, found = Path(f"{self._profile}.log"), list[str]()
        for _ in range(PATIENCE_MS // 20):
            sent = dict.fromkeys(re.findall(r"secure-session-response: ([\w-]+\.[\w-]+\.[\w-]+)", log.read_text(), re.IGNORECASE))
            found = [proof for proof in sent if (b"jwk" in base64url_decode(proof.partition(".")[0])) == of_registration]
            if len(found) >= count:
                return [{"secure-session-response": proof} for proof in found]
            self.page.wait_for_timeout(20)
        raise AssertionError(f"only {len(found)} proofs")

    @property
    def cookie_names(self) -> set[str]:
        """The names of the cookies that the browser has."""
        return {cookie["name"] for cookie in self.context.cookies()}

    @property
    def renewals(self) -> int:
        """How often the browser has renewed a session since the last `expire`."""
        return sum(event.get("refreshEventDetails", {}).get("refreshResult") == "Refreshed" for event in self.events)


class SecureServer(Server):
    """The service over https as `auth.handstamp.test`, and an application on a sibling host. Both are this machine."""

    def __init__(self, folder: Path) -> None:
        """Make a certificate."""
        self.certificate = folder / "certificate.pem"
        command = build_command(self.certificate, folder / "key.pem", name="auth.handstamp.test")
        subprocess.run(command, check=True, capture_output=True)
        super().__init__(folder, "--tls-cert", str(self.certificate), "--tls-key", str(folder / "key.pem"))
        self.url = self.settings["ISSUER"] = f"https://auth.handstamp.test:{self.port}"
        self.application = self.settings["TRUSTED_ORIGINS"] = f"https://app.handstamp.test:{self.port}"

    def client(self, **options: Any) -> Any:
        """Return a client that accepts the certificate."""
        return super().client(**{"verify": False} | options)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate's key, as Chromium's flag wants it."""
        key = x509.load_pem_x509_certificate(self.certificate.read_bytes()).public_key()
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(der).digest()).decode()


@contextmanager
def visiting(kind: BrowserType, server: SecureServer, profile: Path) -> Iterator[Visitor]:
    """Run a browser with device-bound sessions."""
    arguments = [
        *ARGUMENTS,
        f"--enable-features={FEATURES}",
        "--host-resolver-rules=MAP *.test 127.0.0.1",
        f"--ignore-certificate-errors-spki-list={server.fingerprint}",
        f"--log-net-log={profile}.log",
        "--net-log-capture-mode=Everything",
    ]
    visitor = Visitor(kind, server, profile, arguments)
    try:
        yield visitor
    finally:
        visitor.context.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureServer]:
    """Run the service with one account."""
    started = SecureServer(tmp_path_factory.mktemp("bound"))
    started.settings["IMPERSONATION"] = "read"
    try:
        started.start()
        assert started.register().status_code == 201
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def kind(playwright: Playwright) -> BrowserType:
    """Return what starts browsers."""
    if chromium_path() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("These tests need Chromium.")
        pytest.skip("These tests need Chromium.")
    return playwright.chromium


@pytest.fixture
def visitor(kind: BrowserType, server: SecureServer, tmp_path: Path) -> Iterator[Visitor]:
    """Return a new browser. Chromium signs six times in nine minutes for a site, and then sends requests without the cookie."""
    with visiting(kind, server, tmp_path / "profile") as started:
        yield started


@pytest.mark.parametrize("delivery", ["cookie", "split"])
def test_the_browser_renews_what_a_copy_cannot(
    visitor: Visitor, kind: BrowserType, server: SecureServer, tmp_path: Path, delivery: str
) -> None:
    """It stays signed in without script, after a restart too, while a browser with all its cookies gets nothing."""
    sid = visitor.sign_in(delivery)
    visitor.expire(delivery)
    answers = visitor.page.evaluate("() => Promise.all([1, 2, 3].map(() => fetch('/account').then((page) => page.text())))")
    assert all("bound to its device" in answer for answer in answers)
    assert visitor.renewals == 1
    stolen: list[Any] = [cookie for cookie in visitor.context.cookies() if cookie["name"] != NAMES[delivery]]  # it expires

    visitor.restart()
    visitor.expire(delivery)
    visitor.page.goto(f"{server.url}/account")
    assert visitor.page.url == f"{server.url}/account"
    assert visitor.renewals == 1
    visitor.page.goto(f"{server.url}/healthz")

    with visiting(kind, server, tmp_path / "thief") as thief:
        thief.context.add_cookies(stolen)
        assert thief.fetch("POST", "/refresh")["body"]["code"] == "proof_required"
        assert thief.fetch("POST", "/device/refresh")["body"]["code"] == "proof_required"
        thief.page.goto(f"{server.url}/account")
        thief.page.wait_for_url("**/sign-in")

    visitor.expire(delivery)
    assert visitor.fetch("POST", "/refresh")["body"]["sessionId"] == sid
    assert visitor.renewals == 1


def test_outages_and_limits_end_nothing(visitor: Visitor, server: SecureServer) -> None:
    """Offline, a killed service and a storm of 503: the browser keeps its session and goes on with the next request."""
    delivery = "cookie"
    sid = visitor.sign_in(delivery)
    visitor.expire(delivery)
    visitor.context.set_offline(True)
    with pytest.raises(Exception, match="Failed to fetch"):
        visitor.fetch("POST", "/refresh")
    visitor.context.set_offline(False)
    assert visitor.fetch("POST", "/refresh")["body"]["sessionId"] == sid

    visitor.expire(delivery)
    server.kill()
    with pytest.raises(Exception, match="Failed to fetch"):
        visitor.fetch("POST", "/refresh")
    server.start()
    assert visitor.fetch("POST", "/refresh")["body"]["sessionId"] == sid
    assert NAMES[delivery] in visitor.cookie_names

    visitor.expire(delivery)
    with closing(sqlite3.connect(server.folder / "handstamp.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            assert visitor.fetch("POST", "/refresh")["body"]["code"] == "unavailable"
        other.execute("ROLLBACK")
    assert visitor.fetch("POST", "/refresh")["body"]["sessionId"] == sid
    assert visitor.renewals == 1


def test_a_copied_proof_is_worth_nothing(visitor: Visitor, server: SecureServer) -> None:
    """Proofs of Chromium are sent once more, and elsewhere: for another session, generation, method and URL."""
    visitor.sign_in("cookie")
    sid = visitor.sign_in("cookie")
    visitor.expire("cookie")
    assert visitor.fetch("POST", "/refresh")["body"]["sessionId"] == sid
    other, own = visitor.wait_for_proofs(2, of_registration=True)
    used = visitor.wait_for_proofs(1)[-1]
    visitor.expire("cookie")
    cookies = {cookie["name"]: cookie["value"] for cookie in visitor.context.cookies(server.url)}
    database = sqlite3.connect(server.folder / "handstamp.db", isolation_level=None)
    headers = {"origin": server.url, "sec-fetch-site": "same-origin"}
    with closing(database), server.client(headers=headers, cookies=cookies) as thief:
        database.execute("BEGIN IMMEDIATE")
        assert visitor.fetch("POST", "/refresh")["body"]["code"] == "unavailable"
        database.execute("ROLLBACK")
        unused = visitor.wait_for_proofs(2)[-1]  # it has reached the service, which could not use it
        row = "SELECT generation, bound_key, revoked_at_ms FROM session WHERE id = ?"
        before = database.execute(row, (sid,)).fetchone()
        for method, path, proof, status, code in (
            ("POST", "/device/start", other, 400, "invalid_request"),
            ("POST", "/device/start", own, 200, None),
            ("POST", "/device/start", unused, 400, "invalid_request"),
            ("POST", "/device/refresh", own, 403, "proof_required"),
            ("POST", "/device/refresh", used, 403, "proof_required"),
            ("GET", "/device/refresh", unused, 405, "invalid_request"),
            ("POST", "/refresh", unused, 403, "proof_required"),
        ):
            answer = thief.request(method, path, headers=proof)
            assert (answer.status_code, answer.json().get("code")) == (status, code), (method, path, answer.text)
            assert "set-cookie" not in answer.headers
        assert database.execute(row, (sid,)).fetchone() == before

        assert visitor.fetch("POST", "/refresh")["body"]["sessionId"] == sid
        after = database.execute(row, (sid,)).fetchone()
        assert after == (before[0] + 1, *before[1:])
        assert thief.post("/device/refresh", headers=unused).json()["code"] == "proof_required"
        assert database.execute(row, (sid,)).fetchone() == after


def test_a_key_that_comes_late_is_refused(visitor: Visitor, server: SecureServer) -> None:
    """Five minutes after the sign-in, Chromium binds nothing. The session goes on without."""
    with closing(sqlite3.connect(server.folder / "handstamp.db", isolation_level=None)) as other:
        other.execute(
            "CREATE TRIGGER older AFTER INSERT ON session BEGIN "
            "UPDATE session SET created_at_ms = created_at_ms - 300000 WHERE id = new.id; END"
        )
        try:
            sid = visitor.page.evaluate(SIGN_IN, [EMAIL, PASSWORD, "cookie"])["sessionId"]
            visitor.wait_for(lambda event: "creationEventDetails" in event and not event["succeeded"])
        finally:
            other.execute("DROP TRIGGER older")
        assert other.execute("SELECT bound_key FROM session WHERE id = ?", (sid,)).fetchone() == (None,)
    assert visitor.fetch("POST", "/refresh")["body"]["sessionId"] == sid


def test_pages_bind_renew_and_sign_out(visitor: Visitor, server: SecureServer) -> None:
    """A form signs in; a form's POST waits for the renewal; a link of another site leads to a page that loads itself again."""
    page = visitor.page
    page.goto(f"{server.url}/sign-in")
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/account")
    visitor.wait_for(lambda event: "creationEventDetails" in event and event["succeeded"])

    visitor.expire("split")
    page.get_by_label("What you want to be called").fill("Ada of the tests")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/account?done=profile")
    assert "bound to its device" in page.content()
    assert visitor.renewals == 1

    visitor.expire("split")
    page.goto(f"https://elsewhere.test:{server.port}/healthz")
    page.evaluate("(url) => { location.href = url; }", f"{server.url}/account")
    page.wait_for_url("**/account?here=")
    assert "bound to its device" in page.content()
    assert visitor.renewals == 1

    page.get_by_role("button", name="Sign out of this device").click()
    page.wait_for_url("**/signed-out")
    visitor.wait_for(lambda event: "terminationEventDetails" in event)
    assert not visitor.cookie_names & {*NAMES.values(), "__Host-handstamp-refresh"}


def test_an_administrators_form_waits_for_a_new_proof(visitor: Visitor, server: SecureServer) -> None:
    """Before a look at an account begins, the browser proves its key, and sends the form again by itself."""
    server.register("bob@example.com")
    sid = visitor.sign_in("split")
    with closing(sqlite3.connect(server.folder / "handstamp.db", timeout=60)) as database, database:
        (person,) = database.execute("SELECT id FROM account WHERE email = 'bob@example.com'").fetchone()
        database.execute("UPDATE account SET roles = '[\"admin\"]' WHERE email = ?", (EMAIL,))
        database.execute("UPDATE session SET acr = 'mfa' WHERE id = ?", (sid,))
    page, before = visitor.page, visitor.renewals
    page.goto(f"{server.url}/admin/look?id={person}")
    page.get_by_label("The reason").fill("Ticket 4711")
    page.get_by_role("button", name="Make a link").click()
    page.get_by_text("/look?token=").wait_for()
    assert page.url.startswith(f"{server.url}/admin/look?proof=")
    assert visitor.renewals == before + 1
    assert NAMES["split"] in visitor.cookie_names


def test_signing_out_by_script_ends_the_session_of_the_browser_too(visitor: Visitor) -> None:
    """Nothing is left that asks for a renewal."""
    sid = visitor.sign_in("cookie")
    visitor.events.clear()
    assert visitor.fetch("POST", "/logout")["status"] == 204
    assert visitor.fetch("GET", "/profile")["body"]["code"] == "missing_token"
    visitor.wait_for(lambda event: event.get("sessionId") == sid and "terminationEventDetails" in event)
    assert NAMES["cookie"] not in visitor.cookie_names


def test_pages_of_a_trusted_origin_stay_signed_in(visitor: Visitor, server: SecureServer) -> None:
    """A script of an application on a sibling host renews with the cookies, which makes the browser renew its own."""
    sid = visitor.sign_in("split")
    visitor.page.goto(f"{server.application}/healthz")
    for _ in range(2):
        visitor.expire("split")
        answer = visitor.page.evaluate(
            "async (url) => (await fetch(url, { method: 'POST', credentials: 'include' })).json()", f"{server.url}/refresh"
        )
        assert answer.get("sessionId") == sid, answer
        assert visitor.renewals == 1


def test_a_new_password_binds_the_new_session(visitor: Visitor) -> None:
    """The session that takes the place of the old one is bound anew, and the browser forgets the old one."""
    visitor.sign_in("cookie")
    changed = visitor.fetch("POST", "/password", {"currentPassword": PASSWORD, "newPassword": f"{PASSWORD} more"})
    visitor.wait_for_binding(changed["body"]["sessionId"])
    visitor.expire("cookie")
    answer = visitor.fetch("GET", "/profile")
    assert answer["status"] == 200, (answer, visitor.events)
    assert answer["body"]["session"]["id"] == changed["body"]["sessionId"]
