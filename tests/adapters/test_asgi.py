"""The ASGI middleware around whole applications: public paths, mounts, websockets, CORS."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from handstamp import ConfigurationError, Verifier
from handstamp.verify.asgi import HandstampMiddleware
from tests.adapters.local import APP_ORIGIN, COOKIE, a_token, a_verifier, bearer, connect

DENIED = "websocket.http.response"
DENIAL: dict[str, Any] = {"extensions": {DENIED: {}}}


async def subject(scope: Any, receive: Any, send: Any) -> None:
    """Respond with the subject of the token, to HTTP and to websockets. This application uses no framework."""
    name = scope.get("state", {}).get("claims")
    if scope["type"] == "http":
        await PlainTextResponse(name.sub if name else "anonymous")(scope, receive, send)
    else:
        await send({"type": f"{scope['type']}.accept", "subject": name.sub if name else "anonymous"})


def protect(app: Any = subject, **options: Any) -> HandstampMiddleware:
    """Return an application behind the middleware."""
    return HandstampMiddleware(app, verifier=a_verifier(), **options)


def get(app: Any, path: str, headers: dict[str, str] | None = None, **scope: Any) -> int:
    """Return the status of the response to GET on a path."""
    sent = connect(app, {"type": "http", "method": "GET", "path": path, **scope}, headers)
    return int(sent[0]["status"])


async def ask(app: Any, method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request to an application in this process."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        return await client.request(method, path, **options)


def test_claims_are_in_the_asgi_scope() -> None:
    """The middleware puts the claims into the ASGI scope; no framework is needed."""
    sent = connect(protect(), {"type": "http", "method": "GET"}, bearer(sub="bob"))
    assert sent[1]["body"] == b"bob"


def test_the_servers_state_is_preserved() -> None:
    """The middleware adds the claims to the lifespan's state and keeps its other members."""
    scope: dict[str, Any] = {"type": "http", "method": "GET", "state": {"pool": "there"}}
    seen: list[dict[str, Any]] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["state"])
        await subject(scope, receive, send)

    connect(protect(look), scope, bearer())
    assert seen[0]["pool"] == "there"
    assert seen[0]["claims"].sub == "ada-id"


@pytest.mark.parametrize(
    "path", ["/healthz/", "/healthz/../orders", "/Healthz", "//healthz", "/orders/healthz", "healthz", "", "/"]
)
def test_public_paths_match_exactly(path: str) -> None:
    """A public path matches exactly: no prefix, no other case, no path that a router might normalise."""
    assert get(protect(), "/healthz") == 200
    assert get(protect(), path) == 401


@pytest.mark.parametrize("public", ["/healthz", ("healthz",), ("/healthz", "")])
def test_invalid_public_paths_are_refused(public: Any) -> None:
    """A string is refused: Python would iterate over its characters, one of which is "/"."""
    with pytest.raises(ConfigurationError, match="public is a list"):
        protect(public=public)


@pytest.mark.parametrize(
    ("path", "status"), [("/api/healthz", 200), ("/healthz", 200), ("/api", 401), ("/apihealthz", 401), ("/api/orders", 401)]
)
def test_public_paths_are_relative_to_the_mount_point(path: str, status: int) -> None:
    """Public paths are relative to the mount. ASGI puts the prefix `root_path` into `path`; some servers omit it."""
    assert get(protect(), path, root_path="/api") == status


@pytest.mark.anyio
async def test_a_mounted_application_keeps_its_public_paths() -> None:
    """Public paths work behind Starlette's `Mount`."""
    app = Starlette(routes=[Mount("/shop", protect())])
    assert (await ask(app, "GET", "/shop/healthz")).status_code == 200
    assert (await ask(app, "GET", "/shop/orders")).status_code == 401
    assert (await ask(app, "GET", "/shop/orders", headers=bearer())).text == "ada-id"


def test_lifespan_events_pass_through() -> None:
    """Lifespan messages carry no request, so the middleware passes them on."""
    assert connect(protect(), {"type": "lifespan"})[0]["type"] == "lifespan.accept"


def test_a_websocket_needs_the_header_not_the_cookie() -> None:
    """A websocket needs the header. The cookie is ignored, because any site's page can open a websocket with it."""
    socket = {"type": "websocket", **DENIAL}
    (accepted,) = connect(protect(), socket, bearer())
    assert accepted == {"type": "websocket.accept", "subject": "ada-id"}
    cookie = {"cookie": f"{COOKIE}={a_token()}", "origin": "https://auth.example.com", "sec-fetch-site": "same-origin"}
    start, body = connect(protect(), socket, cookie)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert (b"www-authenticate", b"Bearer") in start["headers"]
    assert json.loads(body["body"])["code"] == "missing_token"


def test_a_server_that_cannot_answer_a_websocket_closes_it() -> None:
    """Without the denial extension the socket is closed before it is accepted. Servers turn that into 403."""
    assert connect(protect(), {"type": "websocket"}) == [{"type": "websocket.close", "code": 1008}]


def test_errors_of_the_application_pass_through() -> None:
    """An exception that a route raises passes through unchanged, even if it is one of Handstamp's classes."""

    async def broken(*_: Any) -> None:
        raise ConfigurationError("the application's")

    with pytest.raises(ConfigurationError, match="the application's"):
        connect(protect(broken), {"type": "http", "method": "GET"}, bearer())


def test_a_check_that_the_verifier_cannot_do_fails_where_it_is_declared() -> None:
    """A policy that needs a credential fails when the middleware is created, and not at the first request."""
    with pytest.raises(ConfigurationError, match="needs a credential"):
        protect(check="live")


def test_the_verifier_may_be_created_later() -> None:
    """A function creates the verifier at the first request, once."""
    made: list[Verifier] = []

    def make() -> Verifier:
        made.append(a_verifier())
        return made[-1]

    app = HandstampMiddleware(subject, verifier=make, trusted_origins=[APP_ORIGIN])
    assert made == []
    for _ in range(2):
        assert get(app, "/", bearer()) == 200
    assert len(made) == 1


def test_an_application_may_write_refusals_itself() -> None:
    """Its answer is sent, with the headers that tell a client what to do; those that it sends itself stay."""
    app = protect(
        on_refusal=lambda refusal: PlainTextResponse(f"sorry: {refusal.code}", refusal.status, {"cache-control": "private"})
    )
    for scope, kind in (({"type": "http", "method": "GET"}, "http.response"), ({"type": "websocket", **DENIAL}, DENIED)):
        start, body = connect(app, scope)
        assert (start["type"], start["status"], body["body"]) == (f"{kind}.start", 401, b"sorry: missing_token")
        headers = [field for field in start["headers"] if field[0] != b"content-length"]
        assert sorted(headers) == [
            (b"cache-control", b"private"),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"www-authenticate", b"Bearer"),
        ]
    assert connect(app, {"type": "websocket"}) == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.anyio
async def test_cors_applications_read_refusals() -> None:
    """CORS middleware outside answers preflights, which carry no credentials, and lets the page read a refusal."""
    app = CORSMiddleware(protect(), allow_origins=[APP_ORIGIN], allow_headers=["authorization"], allow_methods=["POST"])
    asks = {"origin": APP_ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    assert (await ask(app, "OPTIONS", "/orders", headers=asks)).status_code == 200
    refused = await ask(app, "POST", "/orders", headers={"origin": APP_ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, APP_ORIGIN)
    assert (await ask(protect(), "OPTIONS", "/orders", headers=asks)).status_code == 401


@pytest.mark.anyio
async def test_a_trusted_origin_may_write_with_the_cookie() -> None:
    """A request with the cookie may write if its origin is one of `trusted_origins`."""
    headers = {"cookie": f"{COOKIE}={a_token()}", "origin": APP_ORIGIN, "sec-fetch-site": "same-site"}
    assert (await ask(protect(), "POST", "/", headers=headers)).status_code == 403
    assert (await ask(protect(trusted_origins=[APP_ORIGIN]), "POST", "/", headers=headers)).status_code == 200


@pytest.mark.parametrize("origins", [APP_ORIGIN, [f"{APP_ORIGIN}/"], ["app.example.com"], ["https://app.example.com:443"]])
def test_an_origin_that_no_browser_sends_is_refused(origins: Any) -> None:
    """A value that is not a serialised origin is refused, because it could never match."""
    with pytest.raises(ConfigurationError, match="origin"):
        protect(trusted_origins=origins)


@pytest.mark.anyio
async def test_it_wraps_a_starlette_application_or_one_route() -> None:
    """The application requires a token, and one of its routes also requires a role."""

    async def whose(request: Request) -> Response:
        return PlainTextResponse(request.state.claims.sub)

    admins = Middleware(HandstampMiddleware, verifier=a_verifier(), role="admin")
    app = Starlette(
        routes=[Route("/orders", whose), Route("/reports", whose, middleware=[admins])],
        middleware=[Middleware(HandstampMiddleware, verifier=a_verifier())],
    )
    assert (await ask(app, "GET", "/orders", headers=bearer())).text == "ada-id"
    assert (await ask(app, "GET", "/reports", headers=bearer())).status_code == 403
    assert (await ask(app, "GET", "/reports", headers=bearer(roles=("admin",)))).text == "ada-id"
    assert (await ask(app, "GET", "/nowhere")).status_code == 401
