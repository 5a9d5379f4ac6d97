"""The browser client where storage, timers, requests and pages are not as one would wish. All clocks are real."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi import Depends, FastAPI, WebSocket
from playwright.sync_api import Browser, Page, Route

from handstamp.verify.fastapi import Require
from tests.browser.conftest import ARGUMENTS, chromium_path, open_page
from tests.browser.test_client import expect_state, open_tab, pass_time, profile, sign_in, state, wait_until
from tests.commands import run_process
from tests.embedded.test_sockets import serve_application
from tests.serving import PASSWORD, Server, free_port
from tests.verifying import verifier_of

pytestmark = pytest.mark.xdist_group("browser-client")
PORT = free_port()
PAGE = """<!doctype html><title>An application</title><link rel="icon" href="data:,">
<script type="module">
  import {{ createClient }} from "{url}/handstamp.js";
  window.createClient = createClient;
  window.client = createClient({{ url: "{url}", apis: [location.origin] }});
</script>"""
WORKER = """
import {{ createClient }} from "{url}/handstamp.js";
const client = createClient({{ url: "{url}" }});
onmessage = async ({{ data: [method, ...args] }}) => {{
  try {{ postMessage({{ done: (await client[method](...args)) ?? null, state: client.state }}); }}
  catch (error) {{ postMessage({{ failed: String(error), state: client.state }}); }}
}};"""
ERROR_OF = "(code) => { try { eval(code); return 'no error' } catch ({ name }) { return name } }"
EXPIRED = {"code": "expired_token", "status": 401}


class Api:
    """The application's origin: its page, a worker, and an API whose clock is wrong, so that every token has expired for it."""

    def __init__(self, service: str) -> None:
        """Serve pages that use `service`."""
        self.asked: list[str] = []
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pages = {"/": ("text/html", PAGE), "/worker.js": ("text/javascript", WORKER)}
                if self.path in pages:
                    media_type, text = pages[self.path]
                    self.answer(200, media_type, text.format(url=service))
                else:
                    api.asked.append(f"GET {self.path}")
                    self.answer(401, "application/problem+json", json.dumps(EXPIRED))

            def do_POST(self) -> None:
                api.asked.append(f"POST {self.path}")
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(303)
                self.send_header("Location", "/orders/1")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def answer(self, status: int, media_type: str, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.handler = Handler

    @contextmanager
    def running(self, port: int) -> Iterator[str]:
        """Serve it, and yield its origin."""
        with http.server.ThreadingHTTPServer(("127.0.0.1", port), self.handler) as serving:
            threading.Thread(target=serving.serve_forever, daemon=True).start()
            yield f"http://localhost:{serving.server_port}"
            serving.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service that trusts the application."""
    running = Server(tmp_path_factory.mktemp("conditions"), TRUSTED_ORIGINS=f"http://localhost:{PORT}", GRACE="60s")
    running.start()
    assert running.register("ada@example.com").status_code == 201
    yield running
    running.stop()


@pytest.fixture(scope="module")
def api(server: Server) -> Api:
    """Return the application and its API."""
    return Api(server.url)


@pytest.fixture(scope="module")
def app(api: Api) -> Iterator[str]:
    """Return the address of the application."""
    with api.running(PORT) as origin:
        yield origin


@pytest.fixture
def tab(page: Page, app: str) -> Page:
    """Return a tab of the application in which a person has signed in."""
    page.goto(app)
    expect_state(page, "signed-out")
    sign_in(page, "ada@example.com")
    return page


def expect_ended(tab: Page, call: str = "client.signOut()") -> None:
    """Sign out, and check that the service has ended the session: also after a reload."""
    session = state(tab)["sessionId"]
    with tab.expect_response(lambda response: response.url.endswith("/logout")) as answer:
        assert tab.evaluate(f"{call}.then(() => 'ended', String)") == "ended"
    assert answer.value.status == 204
    assert state(tab)["status"] == "signed-out"
    tab.reload()
    expect_state(tab, "signed-out")
    assert session


# --- storage


def test_an_application_that_clears_the_storage_when_a_person_signs_out(tab: Page) -> None:
    """The request does not depend on what is stored."""
    tab.evaluate("client.onChange(({ status }) => { if (status === 'signed-out') localStorage.clear(); })")
    expect_ended(tab)


def test_a_sign_out_that_failed_is_repeated_although_the_storage_was_cleared(tab: Page, server: Server) -> None:
    """The note for the next page load is written again after the listeners have run."""
    tab.evaluate("client.onChange(() => localStorage.clear())")
    tab.route(f"{server.url}/logout", lambda route: route.abort())
    assert tab.evaluate("client.signOut().catch(({ name }) => name)") == "OfflineError"
    tab.unroute(f"{server.url}/logout")
    with tab.expect_response(f"{server.url}/logout") as answer:
        tab.reload()
    assert answer.value.status == 204
    expect_state(tab, "signed-out")


def test_a_sign_out_that_failed_is_repeated_when_the_network_is_back(tab: Page, server: Server) -> None:
    """No page load is needed."""
    tab.route(f"{server.url}/logout", lambda route: route.abort())
    assert tab.evaluate("client.signOut().catch(({ name }) => name)") == "OfflineError"
    tab.unroute(f"{server.url}/logout")
    with tab.expect_response(f"{server.url}/logout") as answer:
        tab.evaluate("dispatchEvent(new Event('online'))")
    assert answer.value.status == 204


def test_a_sign_out_that_failed_is_repeated_every_30_seconds(page: Page, app: str, server: Server) -> None:
    """Nothing has to happen in the page. The test moves the browser's clock."""
    page.clock.install()
    page.goto(app)
    expect_state(page, "signed-out")
    sign_in(page, "ada@example.com")
    page.route(f"{server.url}/logout", lambda route: route.abort())
    page.evaluate("void (window.outcome = client.signOut().catch(({ name }) => name).then((name) => (window.name = name)))")
    while page.evaluate("window.name") != "OfflineError":
        page.clock.run_for(1000)
    page.unroute(f"{server.url}/logout")
    with page.expect_response(f"{server.url}/logout") as answer:
        page.clock.run_for(31_000)
    assert answer.value.status == 204


def test_storage_that_is_full(tab: Page) -> None:
    """A `QuotaExceededError` stops no sign-out."""
    tab.evaluate(
        """() => {
             for (let size = 1 << 22; size >= 1; size = size >> 1)
               try { for (let n = 0; ; n += 1) localStorage.setItem(`full-${size}-${n}`, "x".repeat(size)); } catch {}
           }"""
    )
    assert tab.evaluate(
        "(() => { try { localStorage.setItem('another', 'x'); return 'stored' } catch ({ name }) { return name } })()"
    ) == ("QuotaExceededError")
    expect_ended(tab)


@pytest.mark.parametrize(
    "missing",
    [
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })",
        "Object.defineProperty(window, 'localStorage', { value: undefined })",
        "window.BroadcastChannel = function () { throw new DOMException('no', 'SecurityError') }",
        "window.BroadcastChannel = undefined",
        "navigator.locks.request = () => Promise.reject(new DOMException('no', 'SecurityError'))",
        "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })",
    ],
)
def test_a_browser_without(page: Page, app: str, missing: str) -> None:
    """What throws counts as absent: the client signs in, renews and signs out."""
    page.add_init_script(missing)
    page.goto(app)
    expect_state(page, "signed-out")
    sign_in(page, "ada@example.com")
    page.reload()
    expect_state(page, "signed-in")
    assert profile(page) == "ada@example.com"
    expect_ended(page)


@pytest.mark.parametrize("missing", ["delete window.fetch", "window.fetch = () => { throw new Error('not here') }"])
def test_a_page_without_fetch(page: Page, app: str, missing: str, page_errors: list[str]) -> None:
    """The client is created, and counts the service as out of reach. It says why, and no error is uncaught."""
    page.add_init_script(missing)
    page.goto(app)
    expect_state(page, "unknown", online=False)
    call = "client.signIn('ada@example.com', 'x').catch(({ name, cause }) => `${name}: ${cause}`)"
    assert re.match("OfflineError: (ReferenceError: fetch is not defined|Error: not here)", page.evaluate(call))
    assert page.evaluate("client.signOut().catch(({ name }) => name)") == "OfflineError"
    assert page_errors == []


def test_a_profile_that_blocks_all_cookies(chromium: Browser, app: str, tmp_path: Path) -> None:
    """The real setting of Chromium: storage, channels and locks throw. The client still says that there is no session."""
    (tmp_path / "Default").mkdir()
    preferences = {"profile": {"default_content_setting_values": {"cookies": 2}}}
    (tmp_path / "Default" / "Preferences").write_text(json.dumps(preferences))
    kind = chromium.browser_type
    context = kind.launch_persistent_context(tmp_path, executable_path=chromium_path(), args=ARGUMENTS)
    try:
        page = context.new_page()
        page.goto(app)
        expect_state(page, "signed-out")
        assert (
            page.evaluate("(() => { try { return typeof localStorage } catch ({ name }) { return name } })()") == "SecurityError"
        )
        assert page.evaluate("client.signOut().then(() => 'ended', String)") == "ended"
    finally:
        context.close()


def test_a_worker(tab: Page) -> None:
    """A worker has no localStorage. It signs in, reads the profile and signs out."""
    ask = """(call) => new Promise((done) => {
      window.worker ??= new Worker("/worker.js", { type: "module" });
      worker.onmessage = ({ data }) => done(data);
      worker.postMessage(call);
    })"""
    assert tab.evaluate(ask, ["signIn", "ada@example.com", PASSWORD])["state"]["status"] == "signed-in"
    assert tab.evaluate(ask, ["profile"])["done"]["email"] == "ada@example.com"
    with tab.expect_response(lambda response: response.url.endswith("/logout")) as answer:
        assert tab.evaluate(ask, ["signOut"])["state"]["status"] == "signed-out"
    assert answer.value.status == 204
    expect_state(tab, "signed-out")


def test_a_sandboxed_frame(page: Page, app: str, server: Server) -> None:
    """Its origin is opaque, and everything throws there. The client is created, and its state says what is wrong."""
    page.goto(app)
    script = f"""<script type="module">
      import {{ createClient }} from "{server.url}/handstamp.js";
      const client = createClient({{ url: "{server.url}" }});
      client.onChange((state) => {{ if (state.problem) parent.postMessage(state, "*"); }});
    </script>"""
    told = page.evaluate(
        """(html) => new Promise((done) => {
             onmessage = ({ data }) => done(data);
             const frame = document.createElement("iframe");
             frame.sandbox = "allow-scripts";
             frame.srcdoc = html;
             document.body.append(frame);
           })""",
        script,
    )
    assert told["status"] == "unknown"
    assert told["online"] is False
    assert "HANDSTAMP_TRUSTED_ORIGINS" in told["problem"]


# --- renewals


def test_twenty_renewals_in_a_row_by_real_timers(page: Page, app: str, server: Server) -> None:
    """A timer may fire a millisecond early. The next one is armed all the same."""
    renewals = []

    def shorten(route: Route) -> None:
        answer = route.fetch()
        body = answer.json() | ({"expiresIn": 0.25} if answer.ok else {})
        renewals.append(answer.status)
        route.fulfill(response=answer, json=body)

    page.route(f"{server.url}/refresh", shorten)
    page.route(f"{server.url}/login", shorten)
    page.goto(app)
    expect_state(page, "signed-out")
    renewals.clear()
    sign_in(page, "ada@example.com")
    wait_until(page, lambda: len(renewals) > 20)
    assert set(renewals) == {200}


def test_an_api_with_a_wrong_clock_costs_one_renewal(tab: Page, app: str) -> None:
    """Every answer says `expired_token`. The first one is worth a try; the next ones are handed to the application."""
    renewals: list[str] = []
    tab.on("request", lambda request: renewals.append(request.url) if request.url.endswith("/refresh") else None)
    for _ in range(4):
        pass_time(tab, 11)
        assert tab.evaluate("(url) => client.fetch(url).then(({ status }) => status)", f"{app}/orders/1") == 401
    assert len(renewals) == 1
    assert profile(tab) == "ada@example.com"


def test_a_request_that_was_redirected_is_not_carried_out_twice(tab: Page, app: str, api: Api) -> None:
    """POST, 303, GET and 401: the client renews for the next request and hands out this answer."""
    pass_time(tab, 11)
    api.asked.clear()
    call = "(url) => client.fetch(url, { method: 'POST', body: '{}' }).then(({ status }) => status)"
    assert tab.evaluate(call, f"{app}/orders") == 401
    assert api.asked == ["POST /orders", "GET /orders/1"]


def test_a_request_is_aborted_while_a_renewal_is_awaited(tab: Page, server: Server) -> None:
    """The request ends with the signal's reason. The renewal, which others share, goes on."""
    held: list[Route] = []
    tab.route(f"{server.url}/refresh", lambda route: held.append(route), times=1)  # noqa: PLW0108 (Playwright marks it)
    tab.reload(wait_until="commit")
    expect_state(tab, "unknown")
    wait_until(tab, lambda: bool(held))
    tab.evaluate(
        """(url) => { window.controller = new AbortController();
             window.aborted = client.fetch(url, { signal: controller.signal }).catch((reason) => reason);
             window.other = client.profile().then(({ email }) => email); }""",
        f"{server.url}/profile",
    )
    tab.evaluate("controller.abort('no longer needed')")
    assert tab.evaluate("aborted") == "no longer needed"
    held[0].continue_()
    assert tab.evaluate("other") == "ada@example.com"


# --- signing out


def test_a_sign_out_during_a_sign_in(page: Page, app: str, server: Server) -> None:
    """The answer to the sign-in comes after the sign-out. The session that it began ends, too."""
    page.goto(app)
    expect_state(page, "signed-out")
    held: list[Route] = []
    page.route(f"{server.url}/login", lambda route: held.append(route), times=1)  # noqa: PLW0108 (Playwright marks it)
    page.evaluate(
        "(p) => void (window.signedIn = client.signIn('ada@example.com', p).then(() => 'yes', ({ code }) => code))", PASSWORD
    )
    wait_until(page, lambda: bool(held))
    page.evaluate("void (window.signedOut = client.signOut().then(() => 'ended', String))")
    held[0].continue_()
    assert page.evaluate("signedIn") == "session_ended"
    assert page.evaluate("signedOut") == "ended"
    page.reload()
    expect_state(page, "signed-out")


def test_two_tabs_that_sign_out_together(tab: Page, app: str) -> None:
    """Both calls resolve: the session has ended."""
    other = open_tab(tab.context, app)
    expect_state(other, "signed-in")
    for page in (tab, other):
        page.evaluate("void (window.done = client.signOut().then(() => 'ended', String))")
    assert [page.evaluate("done") for page in (tab, other)] == ["ended", "ended"]
    tab.reload()
    expect_state(tab, "signed-out")


# --- in an application


def test_a_websocket_of_the_page(page: Page, app: str, server: Server) -> None:
    """A script cannot send headers with a WebSocket. The API takes the token from the subprotocols, and selects another one."""
    api = FastAPI()
    made = run_process(server.folder, "credentials", "create", "sockets", "--json")
    with verifier_of(server.url, credential=json.loads(made.stdout)["credential"]) as verifier:
        require = Require(verifier)

        @api.websocket("/live", dependencies=[Depends(require())])
        async def live(socket: WebSocket) -> None:
            await socket.accept(subprotocol="orders" if "orders" in socket.scope["subprotocols"] else None)
            await socket.send_json([socket.state.claims.sid, socket.state.claims.jti])

        with serve_application(api) as address:
            page.goto(app)
            expect_state(page, "signed-out")
            page.evaluate(
                "([url, api]) => { window.client = createClient({ url, apis: [api] }); }", [server.url, f"http://{address}"]
            )
            sign_in(page, "ada@example.com")
            opened = """async ([url, protocols]) => {
              const socket = await client.webSocket(url, protocols);
              return new Promise((done) => {
                socket.onmessage = ({ data }) => done([socket.protocol, data]);
                socket.onclose = ({ code }) => done([code]);
              });
            }"""
            selected, first = page.evaluate(opened, [f"ws://{address}/live", []])
            assert (selected, json.loads(first)[0]) == ("handstamp", state(page)["sessionId"])
            assert page.evaluate(opened, [f"http://{address}/live", "orders"]) == ["orders", first]
            pass_time(page, 800)  # a token lives for 900 s and is renewed after at most 85 % of that
            selected, second = page.evaluate(opened, [f"ws://{address}/live", []])
            assert (selected, json.loads(second)[0]) == ("handstamp", state(page)["sessionId"])
            assert first != second, "a token that is due is renewed"
            refused = page.evaluate("client.webSocket('ws://localhost:1/live').catch(String)")
            assert refused.startswith("TypeError: http://localhost:1 may not get the access token.")


def test_methods_can_be_handed_on_and_a_client_closed(tab: Page, server: Server) -> None:
    """Frameworks take functions out of objects. A closed client neither renews nor hears of others."""
    answer = tab.evaluate(
        """async (url) => {
             const { fetch, getState, onChange, profile } = client;
             let heard = 0;
             const stop = onChange(() => { heard += 1; });
             const second = createClient({ url });
             await second.profile();
             const before = getState();
             second.close();
             stop();
             return [before === client.state, (await profile()).email, (await fetch(`${url}/profile`)).status, heard,
                     await second.profile().catch(String), typeof second[Symbol.dispose ?? "close"]];
           }""",
        server.url,
    )
    assert answer == [True, "ada@example.com", 200, 0, "TypeError: This client was closed.", "function"]


def test_an_origin_that_is_not_trusted_is_named(chromium: Browser, server: Server) -> None:
    """The browser hides the refusal from the page. The client says in the console and its state what to mend."""
    messages: list[str] = []
    with Api(server.url).running(0) as origin, open_page(chromium) as page:
        page.on("console", lambda message: messages.append(message.text))
        page.goto(origin)
        page.wait_for_function("window.client?.state.problem")
        assert f"Is {origin} one of its HANDSTAMP_TRUSTED_ORIGINS?" in state(page)["problem"]
    assert any(message.startswith(f"Handstamp: {server.url} can be reached") for message in messages)


def test_a_wrong_url_is_named(page: Page, app: str, server: Server) -> None:
    """A path where no service is answers 404."""
    page.goto(app)
    expect_state(page, "signed-out")
    problem = page.evaluate(
        """(url) => {
             const lost = createClient({ url: `${url}/nowhere` });
             return new Promise((done) => lost.onChange(({ problem }) => problem && done(problem)));
           }""",
        server.url,
    )
    assert problem.startswith(f"{server.url}/nowhere/refresh: HandstampError")


def test_node(server: Server, tmp_path: Path) -> None:
    """On a server the client is created, knows nothing, refuses to sign in with words, and lets the process end."""
    node = shutil.which("node")
    assert node is not None
    (tmp_path / "handstamp.mjs").write_bytes((Path(__file__).parents[2] / "src/handstamp/web/static/handstamp.js").read_bytes())
    (tmp_path / "server.mjs").write_text(
        f"""import {{ createClient }} from "./handstamp.mjs";
            const client = createClient({{ url: "{server.url}" }});
            console.log(client.state.status, String(await client.signIn("a", "b").catch((error) => error)));
            console.log(String(await client.fetch("{server.url}/profile").catch((error) => error)));"""
    )
    output = subprocess.run([node, "server.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120).stdout
    first, second = output.splitlines()
    assert first.startswith("unknown TypeError: There is no browser here to keep the session's cookie.")
    assert second.startswith("TypeError: There is no browser here")
