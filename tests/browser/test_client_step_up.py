"""Step-up in the browser client: an API wants a fresh proof, the person is asked once, and the requests go on (RFC 9470)."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from tests.browser.test_client import expect_state, wait_until
from tests.serving import PASSWORD, Server, free_port

pytestmark = pytest.mark.xdist_group("browser-client")
EMAIL = "ada@example.com"
PAGE = """<!doctype html><title>An application</title><link rel="icon" href="data:,">
<script type="module">
  import {{ createClient }} from "{url}/handstamp.js";
  window.asked = [];
  const onStepUp = (needed) => {{
    window.asked.push(needed);
    return new Promise((done) => {{ window.answer = done; }});
  }};
  window.client = createClient({{ url: "{url}", apis: [location.origin], onStepUp }});
</script>"""
PORT = free_port()


class Shop:
    """An application and its API, which takes orders of people who have proved a moment ago that it is them."""

    def __init__(self, service: str) -> None:
        """Serve pages that use `service`."""
        self.weak: set[str] = set()
        """The tokens of before the proof."""
        self.is_strict = True
        self.orders: list[str] = []
        shop = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(200, PAGE.format(url=service), "text/html")

            def do_POST(self) -> None:
                order = self.rfile.read(int(self.headers["content-length"])).decode()
                token = self.headers["authorization"]
                if shop.is_strict:
                    shop.weak.add(token)
                if token in shop.weak:
                    problem = {"code": "insufficient_user_authentication", "status": 401}
                    self.answer(401, json.dumps(problem), "application/problem+json")
                else:
                    shop.orders.append(order)
                    self.answer(200, order, "text/plain")

            def answer(self, status: int, text: str, media_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                if status == 401:
                    challenge = 'Bearer error="insufficient_user_authentication", max_age="300", acr_values="mfa phr"'
                    self.send_header("WWW-Authenticate", challenge)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.handler = Handler


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service that trusts the application."""
    running = Server(tmp_path_factory.mktemp("step-up"), TRUSTED_ORIGINS=f"http://localhost:{PORT}", GRACE="60s")
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
def proofs(page: Page, shop: Shop) -> list[Any]:
    """Return the list of the proofs that pages have sent. With the right one, the API takes tokens that are newer."""
    sent: list[Any] = []

    def note(route: Route) -> None:
        if route.request.method == "POST":
            sent.append(route.request.post_data_json)
            shop.is_strict = sent[-1] != {"password": PASSWORD}
        route.continue_()  # only now: an event of the request could come after the order that follows its answer

    page.context.route("**/login/step-up", note)
    return sent


@pytest.fixture
def tab(page: Page, shop: Shop, proofs: list[Any]) -> Page:  # noqa: ARG001 - both must be there before the page
    """Return a tab in which a person has signed in."""
    return open_shop(page.context, page)


def open_shop(context: BrowserContext, page: Page | None = None) -> Page:
    """Open the application, and sign in if nobody is signed in."""
    page = page or context.new_page()
    page.goto(f"http://localhost:{PORT}/")
    expect_state(page, "signed-in", "signed-out")
    page.evaluate("(p) => client.state.status === 'signed-in' || client.signIn('ada@example.com', p)", PASSWORD)
    expect_state(page, "signed-in")
    return page


def order(page: Page, *names: str) -> None:
    """Send orders. `window.outcome` is what they have come to."""
    page.evaluate(
        """(names) => {
             window.controller = new AbortController();
             const { signal } = controller;
             const read = async (answer) => answer.ok ? await answer.text() : answer.status;
             const nameOf = ({ code, name }) => typeof code === "string" ? code : name;
             window.outcome = Promise.all(names.map((body) =>
               client.fetch("/orders", { method: "POST", body, signal }).then(read, nameOf)));
           }""",
        list(names),
    )


def expect_question(page: Page, count: int = 1) -> Any:
    """Wait until the person is asked for the n-th time, and return what for."""
    page.wait_for_function("(count) => asked.length === count", arg=count)
    return page.evaluate(
        "(({ signal, error, ...rest }) => ({ ...rest, aborted: signal.aborted, error: error?.code }))(asked.at(-1))"
    )


def test_one_question_for_all_requests_that_wait(tab: Page, shop: Shop, proofs: list[Any]) -> None:
    """Their bodies are sent again. A wrong proof leads to another question, which says why."""
    order(tab, "a kettle", "two cups", "some tea")
    question = expect_question(tab)
    assert (question["maxAge"], question["acrValues"], question["error"]) == (300, ["mfa", "phr"], None)
    assert question["page"].endswith(f"/confirm?return_to=http%3A%2F%2Flocalhost%3A{PORT}%2F")
    tab.evaluate("answer({ password: 'not this one at all' })")
    assert expect_question(tab, 2)["error"] == "invalid_credentials"
    tab.evaluate("(password) => answer({ password })", PASSWORD)
    assert tab.evaluate("outcome") == ["a kettle", "two cups", "some tea"]
    assert sorted(shop.orders) == ["a kettle", "some tea", "two cups"]
    assert proofs == [{"password": "not this one at all"}, {"password": PASSWORD}]
    order(tab, "honey")
    assert tab.evaluate("outcome") == ["honey"]
    assert tab.evaluate("asked.length") == 2


def test_an_application_that_asks_its_own_users(tab: Page, shop: Shop, proofs: list[Any]) -> None:
    """Its server has recorded the proof (`sessions.step_up`). The client renews, and sends no proof itself."""
    order(tab, "a kettle", "two cups")
    expect_question(tab)
    shop.is_strict = False
    tab.evaluate("answer({ recorded: true })")
    assert tab.evaluate("outcome") == ["a kettle", "two cups"]
    assert proofs == []
    assert len(shop.weak) == 1
    shop.is_strict = True
    order(tab, "honey")
    expect_question(tab, 2)
    tab.evaluate("answer({ recorded: true })")
    assert tab.evaluate("outcome") == [401], "if it was not recorded, the application gets the refusal"


def test_a_person_who_does_not_want_to(tab: Page, shop: Shop) -> None:
    """The application gets the refusals, and the next request asks again."""
    order(tab, "a kettle", "two cups")
    expect_question(tab)
    tab.evaluate("answer(undefined)")
    assert tab.evaluate("outcome") == [401, 401]
    order(tab, "a kettle")
    expect_question(tab, 2)
    assert shop.orders == []


def test_wrong_proofs_for_ever(tab: Page, proofs: list[Any]) -> None:
    """A callback that answers by itself is asked five times. The request then fails with the refusal of the proof."""
    tab.evaluate(
        """() => { Object.defineProperty(window, "answer", { set: (done) => done({ password: "not this one at all" }) }); }""",
    )
    order(tab, "a kettle")
    assert tab.evaluate("outcome") == ["invalid_credentials"]
    assert len(proofs) == 5


def test_two_tabs(tab: Page, shop: Shop) -> None:
    """The person proves it in one. The question in the other is withdrawn, and its request goes on."""
    other = open_shop(tab.context)
    order(other, "two cups")
    order(tab, "a kettle")
    expect_question(other)
    expect_question(tab)
    tab.evaluate("(password) => answer({ password })", PASSWORD)
    assert tab.evaluate("outcome") == ["a kettle"]
    assert other.evaluate("outcome") == ["two cups"]
    assert expect_question(other)["aborted"]
    assert sorted(shop.orders) == ["a kettle", "two cups"]


@pytest.mark.parametrize(("end", "outcome"), [("controller.abort()", "AbortError"), ("void client.signOut()", "session_ended")])
def test_a_question_that_no_request_needs_any_more(tab: Page, end: str, outcome: str) -> None:
    """The question is withdrawn, so the application can close its dialog."""
    order(tab, "a kettle", "two cups")
    expect_question(tab)
    tab.evaluate(end)
    assert tab.evaluate("outcome") == [outcome, outcome]
    wait_until(tab, lambda: expect_question(tab)["aborted"])


def test_the_page_of_the_service_asks(tab: Page, shop: Shop) -> None:
    """An application without a dialog sends the person there. The page leads back, and the new token says so."""
    order(tab, "a kettle")
    expect_question(tab)
    tab.evaluate("void (location.href = asked[0].page)")
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_role("button", name="Continue").click()
    tab.wait_for_url(f"http://localhost:{PORT}/")
    expect_state(tab, "signed-in")
    shop.is_strict = False
    order(tab, "two cups")
    assert tab.evaluate("outcome") == ["two cups"]
    session = tab.evaluate("client.profile().then(({ session }) => session)")
    assert session["authenticatedAt"] >= session["createdAt"], "in whole seconds, and a fast machine needs less"
