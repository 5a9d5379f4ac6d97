"""The browser client in a real browser: tabs, lost answers, outages, refusals, wrong clocks and hostile pages."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import APIResponse, Browser, BrowserContext, Page, Route

from handstamp.crypto import jws
from tests.browser.conftest import PATIENCE_MS, open_page
from tests.commands import run_process
from tests.serving import PASSWORD, Server, free_port
from tests.verifying import eventually

pytestmark = pytest.mark.xdist_group("browser-client")
PAGE = """<!doctype html><title>An application</title><link rel="icon" href="data:,">
<script type="module">
  import {{ createClient }} from "{url}/handstamp.js";
  window.client = createClient({{ url: "{url}" }});
  window.states = [window.client.state];
  window.client.onChange((state) => window.states.push(state));
</script>"""
LIFETIME_S = 600
"""The life of access tokens: so long that no token expires and no timer of the client fires during a test."""
DAY_AWAY = "{ const now = Date.now; Date.now = () => now() + 86_400_000 * %d; }"


@contextmanager
def application(url: str, *, name: str = "localhost") -> Iterator[str]:
    """Serve the application's page on its own origin, and yield that origin."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(PAGE.format(url=url).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", APP_PORT if name == "localhost" else 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://{name}:{serving.server_port}"
        serving.shutdown()


APP_PORT = free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service with the longest grace window, so that slow tabs are within it."""
    settings = {"TRUSTED_ORIGINS": f"http://localhost:{APP_PORT}", "ACCESS_LIFETIME": f"{LIFETIME_S}s", "GRACE": "60s"}
    running = Server(tmp_path_factory.mktemp("client"), **settings)
    yield running.start()
    running.kill()


@pytest.fixture(scope="module")
def app(server: Server) -> Iterator[str]:
    """Return the address of the application, on another origin of the same site."""
    with application(server.url) as url:
        yield url


@pytest.fixture
def email(server: Server) -> str:
    """Return the address of a new account."""
    email = f"ada-{uuid4().hex[:8]}@example.com"
    assert server.register(email).status_code == 201
    return email


def open_tab(context: BrowserContext, app: str) -> Page:
    """Open the application in a new tab, and wait until its client knows whether it is signed in."""
    page = context.new_page()
    page.goto(app)
    expect_state(page, "signed-in", "signed-out")
    return page


def state(page: Page) -> Any:
    """Return the client's state."""
    return page.evaluate("window.client.state")


def expect_state(page: Page, *statuses: str, **known: object) -> None:
    """Wait until the client's state has one of these statuses and these values."""
    page.wait_for_function(
        """([statuses, known]) => statuses.includes(window.client?.state.status)
             && Object.entries(known).every(([name, value]) => window.client.state[name] === value)""",
        arg=[list(statuses), known],
    )


def wait_until(page: Page, condition: Callable[[], bool]) -> None:
    """Wait until a condition of this process is true, while Playwright reports what happens in the page."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not condition():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


def sign_in(page: Page, email: str) -> None:
    """Sign in with the client."""
    page.evaluate("([email, password]) => client.signIn(email, password)", [email, PASSWORD])
    expect_state(page, "signed-in")


def pass_time(page: Page, seconds: int) -> None:
    """Move the page's monotonic clock on, as if the token had been there for so long. No timer fires."""
    page.evaluate(
        "(ms) => { const now = performance.now.bind(performance); performance.now = () => now() + ms; }", seconds * 1000
    )


def profile(page: Page) -> Any:
    """Return the address that the service names for the client's session, or the error."""
    return page.evaluate("client.profile().then(({ email }) => email, ({ name, code }) => `${name} ${code}`)")


@pytest.fixture
def tab(page: Page, app: str, email: str) -> Page:
    """Return a tab of the application in which a person has signed in."""
    page.goto(app)
    expect_state(page, "signed-out")
    sign_in(page, email)
    return page


def test_signing_in_and_reloading(tab: Page, email: str, page_errors: list[str]) -> None:
    """After a reload the cookie restores the session. A wrong password raises an error and does not sign out."""
    assert profile(tab) == email
    before = state(tab)["sessionId"]
    tab.reload()
    expect_state(tab, "signed-in", sessionId=before)
    assert profile(tab) == email
    code = tab.evaluate("client.signIn('a@example.com', 'not this one at all').catch(({ code }) => code)")
    assert code == "invalid_credentials"
    assert profile(tab) == email
    assert page_errors == []


@pytest.mark.parametrize("locks", [True, False])
def test_tabs_that_renew_at_the_same_instant(tab: Page, server: Server, app: str, locks: bool) -> None:
    """All tabs stay signed in, with the browser's locks and without."""
    if not locks:
        tab.context.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    others = [open_tab(tab.context, app) for _ in range(5)]
    for page in [tab, *others]:
        page.evaluate(
            """(url) => { window.done = new Promise((done) => { new BroadcastChannel("start").onmessage =
                 async () => done((await fetch(url, { method: "POST", credentials: "include" })).status) }) }""",
            f"{server.url}/refresh",
        )
    tab.evaluate("new BroadcastChannel('start').postMessage('now')")
    assert {page.evaluate("window.done") for page in [tab, *others]} == {200}
    for page in [tab, *others]:
        page.reload(wait_until="commit")
    for page in [tab, *others]:
        expect_state(page, "signed-in")
        assert "@" in profile(page)


def test_sign_out_in_one_tab_is_sign_out_in_all(tab: Page, app: str, email: str) -> None:
    """The other tab is signed out without a request, and a new sign-in in one tab reaches the other."""
    other = open_tab(tab.context, app)
    expect_state(other, "signed-in")
    tab.evaluate("client.signOut()")
    expect_state(other, "signed-out", reason="logout")
    assert profile(other) == "HandstampError session_ended"
    sign_in(other, email)
    expect_state(tab, "signed-in", sessionId=state(other)["sessionId"])
    assert profile(tab) == email


def test_a_remote_sign_out_is_reported_with_its_reason(tab: Page, app: str) -> None:
    """After signing out everywhere, both tabs know the reason."""
    other = open_tab(tab.context, app)
    tab.evaluate("client.signOutEverywhere()")
    expect_state(tab, "signed-out", reason="logout_everywhere")
    expect_state(other, "signed-out", reason="logout_everywhere")
    tab.reload()
    expect_state(tab, "signed-out")


def test_a_lost_answer_costs_nothing(tab: Page, server: Server, email: str) -> None:
    """If the answer to a refresh is lost, the client retries and gets the same tokens."""
    lost: list[APIResponse] = []

    def lose_the_first(route: Route) -> None:
        if lost:
            route.continue_()
        else:
            lost.append(route.fetch())  # the service has answered, but neither body nor cookie reaches the page
            route.abort("connectionreset")

    cookies = tab.context.cookies()
    tab.route(f"{server.url}/refresh", lose_the_first)
    tab.reload()
    expect_state(tab, "signed-in")
    assert [answer.status for answer in lost] == [200]
    assert tab.context.cookies() != cookies
    assert profile(tab) == email


def test_a_sign_in_whose_answer_is_lost_begins_one_session(page: Page, app: str, server: Server, email: str) -> None:
    """The client sends the request once more, with the same idempotency key, from a page of another origin."""
    keys: list[str | None] = []

    def lose_the_first(route: Route) -> None:
        if route.request.method == "OPTIONS":
            route.continue_()
            return
        keys.append(route.request.header_value("idempotency-key"))
        if len(keys) > 1:
            route.continue_()
        else:
            assert route.fetch().status == 200
            route.abort("connectionreset")

    page.goto(app)
    expect_state(page, "signed-out")
    page.route(f"{server.url}/login", lose_the_first)
    sign_in(page, email)
    assert len(keys) == 2
    assert len(set(keys)) == 1
    listed = page.evaluate("(url) => client.fetch(`${url}/sessions`).then((answer) => answer.json())", server.url)
    assert [session["id"] for session in listed["sessions"]] == [state(page)["sessionId"]]


@pytest.mark.parametrize("status", [429, 503])
def test_repeated_503_answers_keep_the_session(tab: Page, server: Server, email: str, status: int) -> None:
    """The client reports that it is offline, and recovers by itself. The test sends the refusals, as a proxy would."""
    tab.route(f"{server.url}/refresh", lambda route: route.fulfill(status=status, body="<h1>Not now</h1>"))
    tab.reload()
    expect_state(tab, "unknown", online=False)
    assert profile(tab) == "OfflineError undefined"
    tab.unroute(f"{server.url}/refresh")
    tab.evaluate("dispatchEvent(new Event('online'))")
    expect_state(tab, "signed-in", online=True)
    assert profile(tab) == email


def test_the_service_is_killed_and_comes_back(tab: Page, server: Server, email: str) -> None:
    """The client stays signed in while the service is down, and continues when it is back."""
    session = state(tab)["sessionId"]
    server.kill()
    try:
        assert tab.evaluate("client.profile().catch(({ name }) => name)") in ("OfflineError", "TypeError")
        assert state(tab)["status"] == "signed-in"
    finally:
        server.start()
    assert profile(tab) == email
    assert state(tab) == {"status": "signed-in", "online": True, "sessionId": session}


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_is_wrong_by_a_day(page: Page, app: str, email: str, days: int) -> None:
    """The client works the same, because it does not use the device's date."""
    page.add_init_script(DAY_AWAY % days)
    page.goto(app)
    expect_state(page, "signed-out")
    sign_in(page, email)
    assert profile(page) == email
    page.reload()
    expect_state(page, "signed-in")
    assert profile(page) == email


def test_it_renews_before_the_token_expires(page: Page, app: str, server: Server, email: str) -> None:
    """The client refreshes in the last third of the token's life, without a request. The test advances the browser's clock."""
    page.clock.install()
    page.goto(app)
    expect_state(page, "signed-out")
    sign_in(page, email)
    page.clock.run_for(LIFETIME_S * 500)
    with page.expect_response(f"{server.url}/refresh") as answer:
        page.clock.run_for(LIFETIME_S * 360)
    assert answer.value.status == 200


def test_a_request_with_an_expired_token_is_renewed_and_repeated(tab: Page, server: Server, email: str) -> None:
    """After `expired_token`, as after sleep when no timer ran, the client refreshes once and retries."""
    asked = []

    def refuse_once(route: Route) -> None:
        asked.append(route.request.headers["authorization"])
        if len(asked) == 1:
            problem = {"code": "expired_token", "status": 401}
            route.fulfill(status=401, json=problem, headers={"access-control-allow-origin": "*"})
        else:
            route.continue_()

    tab.route(f"{server.url}/profile", refuse_once)
    pass_time(tab, 11)
    assert profile(tab) == email
    assert len(set(asked)) == 2


TRACE = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "own=1"}


def fetch_traced(tab: Page, server: Server) -> list[dict[str, str]]:
    """Send a request with a trace and an expired token from another origin; return the trace of each renewal that it causes."""
    asked = []

    def refuse_once(route: Route) -> None:
        asked.append(route.request.headers)
        if len(asked) == 1:
            problem = {"code": "expired_token", "status": 401}
            route.fulfill(status=401, json=problem, headers={"access-control-allow-origin": "*"})
        else:
            route.continue_()

    renewals: list[dict[str, str]] = []
    tab.route(f"{server.url}/profile", refuse_once)
    tab.on("request", lambda request: renewals.append(request.headers) if request.url == f"{server.url}/refresh" else None)
    pass_time(tab, 11)
    status = "([url, headers]) => client.fetch(url, { headers }).then(({ status }) => status)"
    assert tab.evaluate(status, [f"{server.url}/profile", TRACE]) == 200
    assert [{name: each.get(name) for name in TRACE} for each in asked] == [TRACE, TRACE]
    return [{name: each[name] for name in TRACE if name in each} for each in renewals]


def test_a_renewal_is_in_the_trace_of_the_request_that_needs_it(tab: Page, server: Server) -> None:
    """The service's CORS allows the header fields. A renewal that no request causes has none."""
    assert fetch_traced(tab, server) == [TRACE]
    pass_time(tab, 24 * 3600)
    with tab.expect_request(f"{server.url}/refresh") as renewal:
        tab.evaluate("dispatchEvent(new Event('focus'))")
    assert TRACE.keys().isdisjoint(renewal.value.headers)


def test_a_proxy_that_refuses_traces_costs_one_try(tab: Page, server: Server) -> None:
    """The next try of the renewal has no trace, so that nobody is offline because of it."""
    tab.route(
        f"{server.url}/refresh", lambda route: route.abort() if "traceparent" in route.request.headers else route.continue_()
    )
    assert fetch_traced(tab, server) == [TRACE, {}]


def test_a_late_answer_for_an_earlier_session_is_ignored(tab: Page, server: Server, email: str) -> None:
    """A request of an old session is answered after a new sign-in: its `session_ended` does not end the new session."""
    held: list[Route] = []
    tab.route(f"{server.url}/profile", lambda route: held.append(route), times=1)  # noqa: PLW0108 (Playwright marks it)
    tab.evaluate("void (window.late = client.profile().catch(({ code }) => code))")
    wait_until(tab, lambda: bool(held))
    sign_in(tab, email)
    session = state(tab)["sessionId"]
    held[0].continue_()
    assert tab.evaluate("window.late") == "session_ended"
    assert state(tab) == {"status": "signed-in", "online": True, "sessionId": session}
    assert profile(tab) == email


def test_a_void_key_causes_one_renewal(page: Page, server: Server, app: str, email: str) -> None:
    """Tokens of a voided key are refused as `invalid_token`. The client refreshes, and no new sign-in is needed."""
    page.clock.install()
    page.goto(app)
    expect_state(page, "signed-out")
    with page.expect_response(f"{server.url}/login") as signed_in:
        sign_in(page, email)
    token = signed_in.value.json()["accessToken"]
    for command in (("rotate",), ("retire", jws.split(token)[0].kid, "--now")):
        assert run_process(server.folder, "keys", *command).returncode == 0
    bearer = {"authorization": f"Bearer {token}"}
    assert eventually(lambda: httpx.get(f"{server.url}/profile", headers=bearer).json().get("code") == "invalid_token")
    page.clock.run_for(11_000)
    with page.expect_response(f"{server.url}/refresh") as answer:
        assert profile(page) == email
    assert answer.value.status == 200


def test_a_failed_sign_out_is_repeated_at_the_next_page_load(tab: Page, server: Server) -> None:
    """The client signs out at once and reports `OfflineError`. It stays signed out after a reload, and then ends the session."""
    tab.route(f"{server.url}/**", lambda route: route.continue_() if route.request.url.endswith(".js") else route.abort())
    cookies = {cookie["name"]: cookie["value"] for cookie in tab.context.cookies()}
    assert tab.evaluate("client.signOut().catch(({ name }) => name)") == "OfflineError"
    assert state(tab)["status"] == "signed-out"
    tab.reload()
    expect_state(tab, "signed-out")
    tab.unroute(f"{server.url}/**")
    with tab.expect_response(f"{server.url}/logout") as answer:
        tab.reload()
    assert answer.value.status == 204
    renewed = httpx.post(f"{server.url}/refresh", cookies=cookies, headers={"origin": server.url})
    assert (renewed.status_code, renewed.json()["reason"]) == (401, "logout")


def test_a_failed_sign_out_is_dropped_by_a_new_sign_in(tab: Page, server: Server, email: str) -> None:
    """The client retries the sign-out. A session that starts meanwhile is not signed out by it."""
    tab.route(f"{server.url}/logout", lambda route: route.abort())
    tab.evaluate("void (window.outcome = client.signOut().then(() => 'done', ({ name }) => name))")
    expect_state(tab, "signed-out")
    sign_in(tab, email)
    tab.unroute(f"{server.url}/logout")
    tab.evaluate("window.outcome")
    assert profile(tab) == email
    tab.reload()
    expect_state(tab, "signed-in")


def test_a_page_from_the_back_forward_cache_checks_the_session(
    remembered_page: Page, app: str, server: Server, email: str
) -> None:
    """A page from the back-forward cache missed all messages, so the client asks the service."""
    tab = remembered_page
    tab.goto(app)
    expect_state(tab, "signed-out")
    sign_in(tab, email)
    tab.evaluate("window.isRemembered = true")
    tab.goto(f"{server.url}/account")
    cookies = {cookie["name"]: cookie["value"] for cookie in tab.context.cookies()}
    httpx.post(f"{server.url}/logout", cookies=cookies, headers={"origin": server.url}).raise_for_status()
    tab.go_back(wait_until="commit")
    expect_state(tab, "signed-out", reason="logout")
    assert tab.evaluate("window.isRemembered") is True


def test_clients_that_signed_in_together_do_not_renew_together(page: Page, app: str, email: str) -> None:
    """Each client chooses a random moment between 70 and 85 % of the token's life, as its `setTimeout` calls show."""
    page.add_init_script(
        """{ const later = setTimeout; window.delays = [];
             window.setTimeout = (work, delay, ...rest) => { delays.push(delay); return later(work, delay, ...rest); }; }"""
    )
    page.goto(app)
    expect_state(page, "signed-out")
    sign_in(page, email)
    chosen = []
    for _ in range(8):
        page.reload()
        expect_state(page, "signed-in")
        chosen += [delay for delay in page.evaluate("delays") if delay > LIFETIME_S * 500]
    assert len(chosen) == 8
    assert LIFETIME_S * 700 <= min(chosen) < max(chosen) - 10_000 <= LIFETIME_S * 850


def test_another_origin_reads_no_token(tab: Page, server: Server, email: str) -> None:
    """Another site can load the client, but its requests are refused: no refresh, no sign-out."""
    with application(server.url, name="127.0.0.1") as hostile:
        other = tab.context.new_page()
        other.goto(hostile)
        other.wait_for_function("window.client")
        for call in ("client.signOut()", f"fetch('{server.url}/refresh', {{ method: 'POST', credentials: 'include' }})"):
            assert other.evaluate(f"{call}.then(() => 'done', ({{ name }}) => name)") in ("OfflineError", "TypeError")
        forced = (
            f"fetch('{server.url}/logout', {{ method: 'POST', credentials: 'include', mode: 'no-cors' }}).then(String, String)"
        )
        other.evaluate(forced)  # the request is sent, and the service refuses it
    assert profile(tab) == email


def test_no_script_can_read_a_token(chromium: Browser, app: str, email: str) -> None:
    """Tokens are not in cookies, storage, databases, or any object reachable from the page's globals."""
    with open_page(chromium) as page:
        tokens: list[str] = []
        page.on("response", lambda answer: tokens.append(answer.json()["accessToken"]) if answer.url.endswith("/login") else None)
        page.goto(app)
        expect_state(page, "signed-out")
        sign_in(page, email)
        tokens += [cookie["value"] for cookie in page.context.cookies()]
        assert len(tokens) == 3  # with the cookie of the known device
        readable = page.evaluate(
            """async () => {
                 const seen = new Set(), texts = [document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage),
                   JSON.stringify(await indexedDB.databases()), document.documentElement.outerHTML];
                 const look = (value, depth) => {
                   if (typeof value === "string") texts.push(value);
                   if (value === null || !["object", "function"].includes(typeof value) || seen.has(value) || depth > 6) return;
                   seen.add(value);
                   for (const name of Reflect.ownKeys(value)) {
                     try { look(value[name], depth + 1); } catch {}
                   }
                   look(Object.getPrototypeOf(value), depth + 1);
                 };
                 look(window, 0);
                 return texts.join("\\n");
               }"""
        )
        assert len(readable) > 1000
        for token in tokens:
            assert token not in readable
            assert token.rpartition(".")[2] not in readable


def test_the_token_is_sent_to_listed_origins_only(tab: Page) -> None:
    """A request to an unknown origin raises an error that says how to add the origin."""
    error = tab.evaluate("client.fetch('http://127.0.0.1:1/x').catch((error) => String(error))")
    assert error.startswith("TypeError: http://127.0.0.1:1 may not get the access token.")
