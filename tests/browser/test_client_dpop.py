"""DPoP in the browser client (RFC 9449): keys, proofs, nonces and tabs. The service's part is mostly the test's."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, Page, Route

from handstamp.crypto.proofs import read_proof
from tests.browser.conftest import open_page
from tests.browser.test_client import expect_state, sign_in, state, wait_until
from tests.integration.helpers import new_email
from tests.serving import PASSWORD, Server, free_port

pytestmark = pytest.mark.xdist_group("browser-client")
EMAIL = "ada@example.com"
PAGE = """<!doctype html><title>An application</title><link rel="icon" href="data:,">
<script type="module">
  import {{ createClient }} from "{url}/handstamp.js";
  window.createClient = createClient;
  window.client = createClient({{ url: "{url}", apis: [location.origin], dpop: true }});
</script>"""
PORT = free_port()
ORIGIN = f"http://localhost:{PORT}"
CORS = {
    "access-control-allow-origin": ORIGIN,
    "access-control-allow-credentials": "true",
    "access-control-allow-headers": "content-type, dpop, authorization, idempotency-key",
    "access-control-expose-headers": "dpop-nonce, www-authenticate, date",
}


class Claims(msgspec.Struct):
    """What a proof says."""

    jti: str
    htm: str
    htu: str
    iat: int
    nonce: str = ""
    ath: str = ""


class Seen(msgspec.Struct):
    """A request that came with a valid proof."""

    claims: Claims
    key: str
    path: str


class Checker:
    """Reads proofs as the service does, and asks for a nonce."""

    def __init__(self) -> None:
        """Know no proof yet."""
        self.seen: list[Seen] = []
        self.nonce = "nonce-1"

    def has_nonce(self, method: str, url: str, proof: str, *, token: str = "") -> bool:
        """Check a proof, and return whether it has the latest nonce."""
        claims, key = read_proof(proof, typ="dpop+jwt", shape=Claims)
        assert (claims.htm, claims.htu) == (method, url.partition("?")[0])
        assert claims.jti not in [each.claims.jti for each in self.seen]
        digest = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        assert claims.ath == (digest if token else "")
        self.seen.append(Seen(claims, key.thumbprint, "/" + url.split("/", 3)[3]))
        return claims.nonce == self.nonce

    def keys(self, path: str) -> list[str]:
        """Return the thumbprints of the keys of all proofs for a path."""
        return [each.key for each in self.seen if each.path == path]


class Binding:
    """The service with sessions that are bound: proofs are checked before requests go to the real one."""

    def __init__(self, server: Server) -> None:
        """Stand in front of a service."""
        self.server = server
        self.checker = Checker()
        self.bodies: list[Any] = []

    def attach(self, page: Page) -> None:
        """Answer the requests of all tabs of a browser."""
        for path in ("/login", "/refresh", "/logout"):
            page.context.route(self.server.url + path, self._answer)

    def _answer(self, route: Route) -> None:
        request = route.request
        if request.method == "OPTIONS":
            route.fulfill(status=204, headers=CORS)
        elif not self.checker.has_nonce("POST", request.url, request.headers["dpop"]):
            problem = {"code": "use_dpop_nonce", "status": 400}
            route.fulfill(status=400, json=problem, headers=CORS | {"dpop-nonce": self.checker.nonce})
        else:
            self.bodies.append(request.post_data_json)
            answer = route.fetch()
            headers = answer.headers | CORS
            if answer.status == 200:
                route.fulfill(status=200, json=answer.json() | {"tokenType": "DPoP"}, headers=headers)
            else:
                route.fulfill(response=answer, headers=headers)


class Shop:
    """The application, and an API that takes bound tokens."""

    def __init__(self, service: str) -> None:
        """Serve pages that use `service`."""
        self.checker = Checker()
        self.refused = 0
        shop = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(200, PAGE.format(url=service), "text/html")

            def do_POST(self) -> None:
                order = self.rfile.read(int(self.headers["content-length"])).decode()
                scheme, _, token = self.headers["authorization"].partition(" ")
                assert scheme == "DPoP"
                if shop.checker.has_nonce("POST", ORIGIN + self.path, self.headers["dpop"], token=token):
                    self.answer(200, order, "text/plain")
                else:
                    shop.refused += 1
                    self.answer(401, "", "text/plain")

            def answer(self, status: int, text: str, media_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                if status == 401:
                    self.send_header("WWW-Authenticate", 'DPoP error="use_dpop_nonce", algs="ES256"')
                    self.send_header("DPoP-Nonce", shop.checker.nonce)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.handler = Handler


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service that trusts the application."""
    running = Server(tmp_path_factory.mktemp("dpop"), TRUSTED_ORIGINS=ORIGIN, GRACE="60s", DEVICE_BINDING="off")
    running.start()
    assert running.register(EMAIL).status_code == 201
    yield running
    running.stop()


@pytest.fixture
def shop(server: Server) -> Iterator[Shop]:
    """Return an application and its API."""
    shop = Shop(server.url)
    with http.server.ThreadingHTTPServer(("127.0.0.1", PORT), shop.handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield shop
        serving.shutdown()


@pytest.fixture
def binding(page: Page, server: Server) -> Binding:
    """Return the service, as the browser of `page` sees it."""
    binding = Binding(server)
    binding.attach(page)
    return binding


@pytest.fixture
def tab(page: Page, shop: Shop, binding: Binding) -> Page:  # noqa: ARG001 - both must be there before the page
    """Return a tab in which a person has signed in."""
    page.goto(ORIGIN)
    expect_state(page, "signed-out")
    sign_in(page, EMAIL)
    return page


def order(page: Page, name: str) -> Any:
    """Send an order, and return the answer of the API."""
    return page.evaluate(
        "(body) => client.fetch('/orders?n=1', { method: 'POST', body }).then((answer) => answer.text(), String)", name
    )


KEPT = """() => new Promise((done) => {
  indexedDB.open("handstamp").onsuccess = ({ target: { result } }) => {
    const all = result.transaction("sessions").objectStore("sessions").getAll();
    all.onsuccess = () => { result.close(); done(all.result.map(({ current, ending }) => [
      current?.token, current?.keys.privateKey.extractable, current?.keys.privateKey.type, ending.length])); };
  };
})"""


def test_one_key_for_sign_in_renewal_and_requests(tab: Page, binding: Binding, shop: Shop) -> None:
    """The nonce is answered once, and then used. After a reload the key is the same; no script can read it."""
    assert order(tab, "a kettle") == "a kettle"
    assert order(tab, "two cups") == "two cups"
    assert shop.refused == 1
    assert [bool(each.claims.nonce) for each in binding.checker.seen] == [False, True]
    session = state(tab)["sessionId"]
    tab.reload()
    expect_state(tab, "signed-in", sessionId=session)
    assert order(tab, "some tea") == "some tea"
    keys = {each.key for each in (*binding.checker.seen, *shop.checker.seen)}
    assert len(keys) == 1
    ((token, is_extractable, kind, _),) = tab.evaluate(KEPT)
    assert (is_extractable, kind) == (False, "private")
    assert token not in [body.get("refreshToken") for body in binding.bodies], "the next one is kept"
    shop.checker.nonce = "nonce-2"
    assert order(tab, "honey") == "honey"


def test_tabs_share_the_session(tab: Page, binding: Binding) -> None:
    """A tab renews with the latest token, whichever tab got it. A sign-out ends all and deletes the key."""
    other = tab.context.new_page()
    other.goto(ORIGIN)
    expect_state(other, "signed-in", sessionId=state(tab)["sessionId"])
    tab.reload()
    expect_state(tab, "signed-in")
    other.reload()
    expect_state(other, "signed-in")
    sent = [body["refreshToken"] for body in binding.bodies if body and "refreshToken" in body]
    assert len(sent) == len(set(sent)) == 3
    tab.evaluate("client.signOut()")
    expect_state(other, "signed-out", reason="logout")
    assert tab.evaluate(KEPT) == []
    assert len(set(binding.checker.keys("/logout") + binding.checker.keys("/refresh"))) == 1
    sign_in(other, EMAIL)
    expect_state(tab, "signed-in", sessionId=state(other)["sessionId"])
    assert len(set(binding.checker.keys("/login"))) == 2, "each sign-in makes a key"
    assert order(tab, "a kettle") == "a kettle"


def test_a_sign_out_without_a_network(tab: Page, server: Server, binding: Binding) -> None:
    """The key stays until the service has ended the session, so that it can be told at the next start."""
    tab.context.unroute(f"{server.url}/logout")
    tab.context.route(f"{server.url}/logout", lambda route: route.abort())
    assert tab.evaluate("client.signOut().catch(({ name }) => name)") == "OfflineError"
    ((token, *_, ending),) = tab.evaluate(KEPT)
    assert (token, ending) == (None, 1)
    tab.context.unroute(f"{server.url}/logout")
    binding.attach(tab)
    with tab.expect_response(lambda response: response.url.endswith("/logout") and response.status == 204):
        tab.reload()
    wait_until(tab, lambda: tab.evaluate(KEPT) == [])
    expect_state(tab, "signed-out")


def test_a_clock_that_is_wrong(page: Page, shop: Shop, binding: Binding) -> None:
    """Proofs have the time of the service, which the first answer has told."""
    page.add_init_script("{ const now = Date.now; Date.now = () => now() - 86_400_000; }")
    page.goto(ORIGIN)
    expect_state(page, "signed-out")
    sign_in(page, EMAIL)
    assert order(page, "a kettle") == "a kettle"
    first, *others = [abs(each.claims.iat - time.time()) < 3600 for each in (*binding.checker.seen, *shop.checker.seen)]
    assert not first
    assert all(others[1:])


@pytest.mark.parametrize(
    "missing",
    [
        "Object.defineProperty(window, 'indexedDB', { get() { throw new DOMException('no', 'SecurityError') } })",
        "IDBObjectStore.prototype.put = () => { throw new DOMException('no', 'DataCloneError') }",
    ],
)
def test_a_browser_that_keeps_nothing(page: Page, shop: Shop, binding: Binding, missing: str, page_errors: list[str]) -> None:
    """The session lives until the page is closed, and the console says why."""
    page.add_init_script(missing)
    page.goto(ORIGIN)
    expect_state(page, "signed-out")
    sign_in(page, EMAIL)
    assert order(page, "a kettle") == "a kettle"
    assert page.evaluate("client.signOut().then(() => 'ended', String)") == "ended"
    assert binding.bodies[-1]["refreshToken"]
    assert shop.refused == 1
    assert [error for error in page_errors if error.startswith("Handstamp: IndexedDB cannot be used")] == page_errors
    assert page_errors


def test_a_service_that_does_not_bind(page: Page, shop: Shop, binding: Binding, server: Server) -> None:
    """A token that anyone can use is not taken for a bound one."""
    page.context.unroute(f"{server.url}/login")

    def answer(route: Route) -> None:
        route.fulfill(status=204, headers=CORS) if route.request.method == "OPTIONS" else route.continue_()

    page.context.route(f"{server.url}/login", answer)
    page.goto(ORIGIN)
    expect_state(page, "signed-out")
    failed = page.evaluate("(p) => client.signIn('ada@example.com', p).catch(String)", PASSWORD)
    assert failed.startswith("TypeError: The service has not bound the session")
    assert state(page)["status"] == "signed-out"
    assert shop.checker.seen == binding.checker.seen[1:]


def test_a_websocket(tab: Page) -> None:
    """It cannot carry a proof, and a bound token without one is refused everywhere."""
    refused = tab.evaluate("client.webSocket(location.href).catch(String)")
    assert refused.startswith("TypeError: A WebSocket cannot prove the key")


def test_a_copy_of_the_storage_has_no_key(tab: Page, chromium: Browser, shop: Shop) -> None:
    """A thief with the refresh token alone has nothing to sign with: another browser has no session."""
    assert tab.evaluate(KEPT)[0][0].count(".") == 2
    with open_page(chromium) as elsewhere:
        elsewhere.goto(ORIGIN)
        expect_state(elsewhere, "signed-out")
    assert shop.refused == 0


def test_the_real_service_binds_the_session(chromium: Browser, default_server: Server) -> None:
    """Sign-in, requests, a page that is loaded again, and the sign-out, with the proofs that the service checks itself."""
    email = new_email()
    default_server.register(email)
    create = (
        "const { createClient } = await import('/handstamp.js'); "
        "const client = createClient({ url: location.origin, dpop: true });"
    )
    with open_page(chromium, bypass_csp=True) as page:
        page.goto(f"{default_server.url}/docs")
        status = page.evaluate(
            f"async ([email, password]) => {{ {create} await client.signIn(email, password); "
            "return (await client.fetch('/profile')).status; }",
            [email, PASSWORD],
        )
        assert status == 200
        page.reload()
        listed = page.evaluate(
            f"async () => {{ {create} const {{ sessions }} = await (await client.fetch('/sessions')).json(); "
            "await client.signOut(); return sessions; }"
        )
        assert [session["bound"] for session in listed] == [True]
