"""The documentation page in a real browser: it sends every operation, and handles tokens, mounts and failures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pyotp
import pytest
from playwright.sync_api import Browser, Locator, Page, Request, Response, Route, expect

from tests.browser.axe import faults_of
from tests.browser.conftest import open_page
from tests.commands import run_process
from tests.serving import PASSWORD, Server

pytestmark = pytest.mark.xdist_group("browser-docs")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service, shared by all tests of this file: each creates its own account."""
    running = Server(tmp_path_factory.mktemp("docs"))
    yield running.start()
    running.kill()


@pytest.fixture
def docs(page: Page, server: Server) -> Page:
    """Return the documentation page with all operations shown."""
    open_docs(page, f"{server.url}/docs")
    return page


@pytest.fixture
def email(server: Server) -> str:
    """Return the address of a new account."""
    address = new_address()
    assert server.register(address).status_code == 201
    return address


def new_address() -> str:
    """Return an address without an account."""
    return f"ada-{uuid4().hex[:8]}@example.com"


def open_docs(page: Page, url: str) -> None:
    """Open the page and wait until it shows the operations."""
    page.goto(url)
    expect(page.locator(".opblock").first).to_be_visible()


def section(docs: Page, operation: str) -> Locator:
    """Return the part of the page that belongs to an operation such as "POST /login"."""
    method, _, path = operation.partition(" ")
    return docs.locator(f".opblock-{method.lower()}").filter(has=docs.locator(f'[data-path="{path}"]'))


def show_only(docs: Page, operation: str) -> None:
    """Leave one operation with one of its answers in the page's document: each key and click renders all that is shown."""
    method, _, path = operation.partition(" ")
    expect(docs.locator(".opblock").first).to_be_attached()  # after a reload, the page is made some time after its load event
    docs.evaluate(
        """([method, path]) => {
          const whole = (window.whole ??= ui.specSelectors.specJson().toJS());
          const { schemas: known, ...others } = whole.components;
          const schemas = {};
          const keep = (part) => JSON.stringify(part, (key, value) => {
            const name = key === "$ref" && value.split("/schemas/")[1];
            if (name && !(name in schemas)) keep(schemas[name] = known[name]);
            return value;
          });
          const shown = whole.paths[path][method];
          const responses = Object.fromEntries(Object.entries(shown.responses).slice(0, 1));
          const paths = { [path]: { [method]: { ...shown, responses } } };
          keep([paths, others]);
          ui.specActions.updateJsonSpec({ ...whole, paths, components: { ...others, schemas } });
        }""",
        [method.lower(), path],
    )


def open_alone(docs: Page, operation: str) -> Locator:
    """Open an operation, with no other on the page, and return it once the page has rendered it completely.

    The page renders it first as it stands in the document, and soon again with the parts that it refers to. A click in between
    is lost.
    """
    show_only(docs, operation)
    part = section(docs, operation)
    part.locator(".opblock-summary-control").click()
    method, _, path = operation.partition(" ")
    docs.wait_for_function("path => ui.specSelectors.specResolvedSubtree(path)", arg=["paths", path, method.lower()])
    return part


def show_tag(docs: Page, wanted: str) -> None:
    """Show the whole document again, with one tag open."""
    docs.evaluate(
        """(wanted) => {
          ui.specActions.updateJsonSpec(window.whole);
          for (const tag of ui.specSelectors.taggedOperations().keys()) {
            ui.layoutActions.show(["operations-tag", tag], tag === wanted);
          }
        }""",
        wanted,
    )


def send(docs: Page, operation: str, body: object = None, **fields: str) -> Response:
    """Fill in an operation, send it, and return the answer once the page shows its status.

    Args:
        docs: The documentation page.
        operation: Method and path.
        body: The JSON body to type instead of the example.
        fields: Values of parameters and form fields by name.
    """
    part = open_alone(docs, operation)
    if body is not None:
        part.get_by_label("Request body").fill(json.dumps(body))
    for name, value in fields.items():
        part.locator(f'tr:is([data-param-name="{name}"], [data-property-name="{name}"]) input[type="text"]').fill(value)
    method, _, path = operation.partition(" ")
    address = re.compile(re.sub(r"\\\{\w+\\\}", "[^/?]+", re.escape(path)) + r"(\?.*)?$")
    with docs.expect_response(lambda response: response.request.method == method and bool(address.search(response.url))) as sent:
        part.get_by_role("button", name="Execute").click()
    expect(part.locator(".live-responses-table .response-col_status").last).to_contain_text(str(sent.value.status))
    part.locator(".opblock-summary-control").click()  # a page with many open sections renders slowly
    return sent.value


def sign_in(docs: Page, email: str, delivery: str = "split") -> Response:
    """Sign in from the page."""
    answer = send(docs, "POST /login", {"email": email, "password": PASSWORD, "delivery": delivery})
    assert answer.status == 200
    return answer


def use_credential(docs: Page, name: str, secret: str) -> None:
    """Enter a service's id and secret for HTTP Basic."""
    docs.locator(".auth-wrapper .authorize").first.click()
    form = docs.locator(".auth-container").filter(has_text="serviceCredential")
    form.get_by_label("Username").fill(name)
    form.get_by_label("Password").fill(secret)
    form.get_by_role("button", name="Apply credentials").click()
    docs.get_by_role("button", name="Close", exact=True).first.click()
    expect(docs.locator(".modal-ux")).to_have_count(0)


def mailed_tokens(client: httpx.Client, page: str = "") -> list[str]:
    """Return the tokens of links to a page, by default to any, in all mails, newest first."""
    paths = re.findall(r'href="[^"]*(/dev/mail/[\w-]+)"', client.get("/dev/mail").text)
    return [token for path in paths for token in re.findall(page + r"\?token=([\w-]{43})", client.get(path).text)]


def use_own_account(check: Callable[..., Any], client: httpx.Client, address: str) -> None:
    """Send every operation for mail and for a person's own data."""
    assert check("POST /profile", 200, {"name": "Ada"})["name"] == "Ada"
    assert check("GET /me/export", 200)["account"][0]["email"] == address
    check("POST /email/verify", 202, {})
    check("POST /email/verify/confirm", 200, {"token": mailed_tokens(client)[0]})
    check("POST /email/change", 202, {"email": new_address()})
    check("POST /email/change/confirm", 200, {"token": mailed_tokens(client)[0]})
    undo = mailed_tokens(client, "/undo-change")[0]
    check("POST /email/change/undo", 204, {"token": undo})
    check("POST /password/reset", 202, {"email": address})
    check("POST /password/reset/confirm", 204, {"token": mailed_tokens(client)[0], "newPassword": PASSWORD})
    check("POST /login", 200, {"email": address, "password": PASSWORD})
    check("POST /me/delete", 204, {"email": address})
    # These are off without a mail server, or by default. The page sends them like all others.
    check("POST /register/confirm", 404, {"token": undo})
    check("POST /login/code", 404, {"email": address})
    check("POST /login/code/confirm", 404, {"token": undo})


def use_factors(check: Callable[..., Any]) -> None:
    """Send every operation about second factors and bound sessions, with the access token of a fresh sign-in."""
    rubbish = {"challenge": "rubbish", "passkey": {"id": "x"}}
    assert check("GET /factors", 200)["hasPassword"] is True
    begun = check("POST /totp", 200, {})
    code = pyotp.TOTP(begun["secret"].replace(" ", "")).now()
    assert len(check("POST /totp/confirm", 200, {"enrolment": begun["enrolment"], "code": code})["recoveryCodes"]) == 10
    codes = check("POST /recovery-codes", 200)["recoveryCodes"]
    assert check("POST /login/step-up", 200, {"recoveryCode": codes[0]})["acr"] == "mfa"
    check("DELETE /totp", 204)
    check("POST /factors/undo", 422, {"token": "rubbish"})
    check("POST /login/second-factor", 422, {"challenge": "rubbish", "code": "123456"})
    check("POST /login/passkey/options", 200, {})
    check("POST /login/passkey", 422, rubbish)
    assert check("GET /passkeys", 200)["passkeys"] == []
    check("POST /passkeys/options", 200, {})
    check("POST /passkeys", 422, {"passkeyChallenge": "rubbish", "passkey": {"id": "x"}})
    check("PATCH /passkeys/{id}", 404, {"name": "Blue key"}, id="x")
    check("DELETE /passkeys/{id}", 404, id="x")
    check("GET /.well-known/webauthn", 200)
    assert check("GET /providers", 200) == {"providers": []}
    assert check("GET /identities", 200) == {"identities": []}
    answered = {"challenge": "rubbish", "ticket": "rubbish", "answer": {"code": "x"}}
    check("POST /login/with/{provider}", 404, {}, provider="google")
    check("POST /login/with/{provider}/complete", 422, answered, provider="google")
    check("POST /identities/with/{provider}", 404, {}, provider="google")
    check("POST /identities/with/{provider}/complete", 422, answered, provider="google")
    check("DELETE /identities/{id}", 404, id="x")
    check("POST /backchannel-logout/{provider}", 404, provider="google", logout_token="rubbish")
    check("POST /device/start", 400)  # without a proof, which only a browser makes
    assert check("POST /device/refresh", 200) == {"continue": False}  # this session is not bound


def administer(docs: Page, document: dict[str, Any], sent: dict[str, Response]) -> None:
    """Send the examples of all operations for administrators, with the credential that was entered."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "/admin/" in path and (name := f"{method.upper()} {path}") not in sent:
                answer = sent[name] = send(docs, name, **dict.fromkeys(re.findall(r"\{(\w+)\}", path), "nobodys"))
                assert str(answer.status) in operation["responses"], (name, answer.text())
                assert answer.status not in (401, 403, 415), (name, answer.text())


def test_the_examples_sign_up_and_in_as_they_are(docs: Page) -> None:
    """The page makes a password for its examples, because the service refuses the one that the document prints."""
    assert send(docs, "POST /register").status == 201
    assert send(docs, "POST /login").status == 200
    assert send(docs, "POST /password").status == 200


def test_every_operation_can_be_sent(page: Page, server: Server, page_errors: list[str]) -> None:
    """The page sends bodies, forms, queries and paths with cookie, Bearer and Basic, to no other host and within its policy."""
    foreign: list[str] = []
    page.on("request", lambda request: None if request.url.startswith((server.url, "data:")) else foreign.append(request.url))
    credential = run_process(
        server.folder, "clients", "create", f"docs-{uuid4().hex[:6]}", "--scope=read", "--scope=admin"
    ).stdout
    match = re.search(r"(\S+):(\S{20,})", credential)
    assert match is not None
    address = new_address()
    sent: dict[str, Response] = {}

    def check(operation: str, status: int, body: object = None, **fields: str) -> Any:
        answer = sent[operation] = send(page, operation, body, **fields)
        assert answer.status == status, (operation, answer.text())
        return answer.json() if answer.headers.get("content-type", "").startswith("application/json") else None

    def tokens_of(client: httpx.Client) -> dict[str, str]:
        answer = client.post("/login", json={"email": address, "password": PASSWORD, "delivery": "json"})
        return dict(answer.raise_for_status().json())

    open_docs(page, f"{server.url}/docs")
    with httpx.Client(base_url=server.url, trust_env=False) as elsewhere:
        document = elsewhere.get("/openapi.json").json()
        use_credential(page, match[1], match[2])
        assert check("GET /admin/accounts", 200, email=address, limit="1")["accounts"] == []
        administer(page, document, sent)
        check("POST /register", 201, {"email": address, "password": PASSWORD})
        check("POST /login", 200, {"email": address, "password": PASSWORD})
        check("POST /refresh", 200)
        assert check("GET /profile", 200)["email"] == address
        other = tokens_of(elsewhere)
        assert len(check("GET /sessions", 200)["sessions"]) == 2
        check("DELETE /sessions/{id}", 204, id=other["sessionId"])
        changed = {"currentPassword": PASSWORD, "newPassword": PASSWORD + " again"}
        check("POST /password", 200, changed)
        check("POST /password", 200, {"currentPassword": changed["newPassword"], "newPassword": PASSWORD})

        other = tokens_of(elsewhere)
        assert check("POST /introspect", 200, token=other["accessToken"])["active"] is True
        check("POST /identities/token", 404, {"provider": "google", "accessToken": other["accessToken"]})
        feed = check("GET /revocations", 200, wait="0")
        assert len(feed["entries"]) >= 2
        assert check("GET /revocations", 200, after=feed["cursor"], wait="0")["entries"] == []
        other["refreshToken"] = check("POST /token", 200, grant_type="refresh_token", refresh_token=other["refreshToken"])[
            "refresh_token"
        ]
        check("POST /revoke", 200, token=other["refreshToken"])

        for path in ("/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/healthz", "/readyz"):
            check(f"GET {path}", 200)
        check("POST /logout", 204)
        check("GET /profile", 401)
        check("POST /login", 200, {"email": address, "password": PASSWORD})
        check("POST /logout-everywhere", 204)
        check("POST /login", 200, {"email": address, "password": PASSWORD})
        use_factors(check)
        for path, status in (("/metrics", 404), ("/diagnostics", 200)):
            check(f"GET {path}", status)
        use_own_account(check, elsewhere, address)

    assert set(sent) == {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert foreign == []
    assert page_errors == []


def test_every_operation_is_on_the_page_with_its_summary(docs: Page, server: Server) -> None:
    """The page shows exactly what openapi.json lists."""
    document = httpx.get(f"{server.url}/openapi.json", trust_env=False).json()
    operations = [(path, operation["summary"]) for path, methods in document["paths"].items() for operation in methods.values()]
    shown = [
        (summary.locator("[data-path]").get_attribute("data-path"), summary.locator(".opblock-summary-description").inner_text())
        for summary in docs.locator(".opblock-summary").all()
    ]
    assert sorted(shown) == sorted(operations)


def test_a_received_access_token_is_used_at_once(docs: Page, email: str) -> None:
    """After a sign-in, requests carry its token. If a later session keeps its token in a cookie, the older one is dropped."""
    token = sign_in(docs, email).json()["accessToken"]
    assert send(docs, "GET /profile").request.headers["authorization"] == f"Bearer {token}"
    sign_in(docs, email, delivery="cookie")
    by_cookie = send(docs, "GET /profile")
    assert by_cookie.status == 200
    assert "authorization" not in by_cookie.request.headers


def test_the_page_signs_the_requests_of_a_bound_session(docs: Page, email: str) -> None:
    """If a sign-in is to be signed, its session is bound to a key of the page, which proves it with each request (RFC 9449)."""
    part = open_alone(docs, "POST /login")
    part.locator('tr[data-param-name="DPoP"] select').select_option("sign")
    part.locator(".opblock-summary-control").click()
    tokens = sign_in(docs, email, delivery="json").json()
    assert tokens["tokenType"] == "DPoP"
    for operation in ("GET /profile", "GET /sessions"):
        answer = send(docs, operation)
        assert answer.status == 200, answer.text()
        assert answer.request.headers["authorization"] == f"DPoP {tokens['accessToken']}"
    assert send(docs, "POST /refresh", {"refreshToken": tokens["refreshToken"]}).json()["code"] == "invalid_dpop_proof"
    sign_in(docs, email, delivery="split")
    assert send(docs, "GET /profile").request.headers["authorization"].startswith("Bearer ")


def test_an_optional_body_without_a_field_is_not_sent(docs: Page, email: str) -> None:
    """Without a field, the service uses the refresh cookie; with a field, it uses the body."""
    sign_in(docs, email)
    assert send(docs, "POST /refresh").request.post_data is None
    assert send(docs, "POST /refresh", {"refreshToken": "a.b.c"}).status == 400


def test_no_token_is_left_in_browser_storage(docs: Page, email: str) -> None:
    """Tokens are in no storage and no readable cookie, and a reloaded page sends none."""
    sign_in(docs, email)
    assert docs.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    docs.reload()
    assert "authorization" not in send(docs, "GET /profile").request.headers


def test_the_page_works_below_a_path(page: Page, server: Server, page_errors: list[str]) -> None:
    """Behind a proxy that mounts the service at /auth, the page and its requests stay below /auth."""

    def without_mount(route: Route) -> None:
        route.continue_(url=route.request.url.replace("/auth/", "/"))

    page.route(f"{server.url}/auth/**", without_mount)
    requested: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith("data:"):
            requested.append(request.url.removeprefix(server.url))

    page.on("request", note)
    open_docs(page, f"{server.url}/auth/docs")
    send(page, "GET /healthz")
    assert requested == [
        f"/auth/{name}"
        for name in (
            "docs",
            "assets/swagger-ui/swagger-ui.css",
            "assets/docs.css",
            "assets/swagger-ui/swagger-ui-bundle.js",
            "assets/docs.js",
            "openapi.json",
            "healthz",
        )
    ]
    assert page_errors == []


def test_requests_go_to_the_address_of_the_page_and_not_of_the_issuer(page: Page, tmp_path: Path) -> None:
    """The page works at a local address of a service whose issuer is a public URL."""
    running = Server(tmp_path, ISSUER="https://auth.example.com")
    try:
        address = f"http://localhost:{running.start().port}"
        open_docs(page, f"{address}/docs")
        assert send(page, "GET /healthz").url == f"{address}/healthz"
    finally:
        running.kill()


def test_no_link_makes_the_page_show_another_api(page: Page, server: Server) -> None:
    """The page ignores `url` and `configUrl` in the query: a link could otherwise show another API under this service's name."""
    open_docs(page, f"{server.url}/docs?url=https://evil.example.com/api.json&configUrl=https://evil.example.com/config.json")
    expect(page.locator(".info .title")).to_contain_text("Handstamp")
    expect(page.locator('[data-path="/login"]')).to_have_count(1)


def test_a_service_that_is_away_is_reported_and_can_be_asked_again(page: Page, server: Server) -> None:
    """Without openapi.json the page says what is wrong, and its button loads it again."""
    page.route("**/openapi.json", lambda route: route.abort())
    page.goto(f"{server.url}/docs")
    expect(page.get_by_role("status")).to_contain_text("openapi.json could not be loaded")
    page.unroute("**/openapi.json")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".opblock").first).to_be_visible()
    expect(page.locator("#state")).to_be_hidden()


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1200)])
def test_axe_finds_no_serious_problem(chromium: Browser, server: Server, email: str, scheme: str, width: int) -> None:
    """The axe rules find nothing serious with an answer and the dialog open, and the page is not wider than the screen."""
    with open_page(chromium, color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        open_docs(page, f"{server.url}/docs")
        sign_in(page, email)
        send(page, "GET /profile")
        show_tag(page, "Account")
        section(page, "GET /profile").locator(".opblock-summary-control").click()
        expect(page.locator(".live-responses-table")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator(".auth-wrapper .authorize").first.click()
        expect(page.locator(".modal-ux")).to_be_visible()
        assert [fault for fault in faults_of(page) if fault[2] in {"critical", "serious"}] == []
