"""The ASGI middleware around whole applications: which paths are public, mounts, websockets, CORS."""

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

from handstamp import ConfigurationError
from handstamp.verify.asgi import HandstampMiddleware
from tests.adapters.local import APP_ORIGIN, COOKIE, a_token, a_verifier, bearer, connect

DENIAL: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


async def subject(scope: Any, receive: Any, send: Any) -> None:
    """Answer, or accept a websocket, with whose token it was: an application without a framework."""
    name = scope.get("state", {}).get("claims")
    if scope["type"] == "http":
        await PlainTextResponse(name.sub if name else "nobody")(scope, receive, send)
    else:
        await send({"type": f"{scope['type']}.accept", "subject": name.sub if name else "nobody"})


def protected(app: Any = subject, **options: Any) -> HandstampMiddleware:
    """Return an application behind the middleware."""
    return HandstampMiddleware(app, verifier=a_verifier(), **options)


def get(app: Any, path: str, headers: dict[str, str] | None = None, **scope: Any) -> int:
    """Return the status that a path is answered with."""
    sent = connect(app, {"type": "http", "method": "GET", "path": path, **scope}, headers)
    return int(sent[0]["status"])


async def ask(app: Any, method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request to an application in this process."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        return await client.request(method, path, **options)


def test_any_application_finds_the_claims_in_its_scope() -> None:
    """No framework is needed."""
    sent = connect(protected(), {"type": "http", "method": "GET"}, bearer(sub="bob"))
    assert sent[1]["body"] == b"bob"


def test_what_the_server_keeps_in_the_state_stays() -> None:
    """The lifespan's state comes with each request, and the claims come to it."""
    scope: dict[str, Any] = {"type": "http", "method": "GET", "state": {"pool": "there"}}
    seen: list[dict[str, Any]] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["state"])
        await subject(scope, receive, send)

    connect(protected(look), scope, bearer())
    assert seen[0]["pool"] == "there"
    assert seen[0]["claims"].sub == "ada-id"


@pytest.mark.parametrize(
    "path", ["/healthz/", "/healthz/../orders", "/Healthz", "//healthz", "/orders/healthz", "healthz", "", "/"]
)
def test_public_is_exactly_what_was_named(path: str) -> None:
    """No prefix, no other case, nothing that some router behind it may take for something else."""
    assert get(protected(), "/healthz") == 200
    assert get(protected(), path) == 401


@pytest.mark.parametrize("public", ["/healthz", ("healthz",), ("/healthz", "")])
def test_a_list_of_public_paths_that_cannot_be_meant_is_refused(public: Any) -> None:
    """One string would be taken for a list of letters, one of which is a slash."""
    with pytest.raises(ConfigurationError, match="public is a list"):
        protected(public=public)


@pytest.mark.parametrize(
    ("path", "status"), [("/api/healthz", 200), ("/healthz", 200), ("/api", 401), ("/apihealthz", 401), ("/api/orders", 401)]
)
def test_public_paths_are_those_of_the_application_wherever_it_is_mounted(path: str, status: int) -> None:
    """ASGI: `path` has the mount's prefix, which is `root_path`. A server may have left it out already."""
    assert get(protected(), path, root_path="/api") == status


@pytest.mark.anyio
async def test_a_mounted_application_keeps_its_public_paths() -> None:
    """As Starlette mounts it."""
    app = Starlette(routes=[Mount("/shop", protected())])
    assert (await ask(app, "GET", "/shop/healthz")).status_code == 200
    assert (await ask(app, "GET", "/shop/orders")).status_code == 401
    assert (await ask(app, "GET", "/shop/orders", headers=bearer())).text == "ada-id"


def test_start_and_stop_pass_through() -> None:
    """There is nobody to let in."""
    assert connect(protected(), {"type": "lifespan"})[0]["type"] == "lifespan.accept"


def test_a_websocket_is_opened_by_the_header_alone() -> None:
    """Any page may open a websocket, and the browser sends the cookie with it."""
    socket = {"type": "websocket", **DENIAL}
    (accepted,) = connect(protected(), socket, bearer())
    assert accepted == {"type": "websocket.accept", "subject": "ada-id"}
    cookie = {"cookie": f"{COOKIE}={a_token()}", "origin": "https://auth.example.com", "sec-fetch-site": "same-origin"}
    start, body = connect(protected(), socket, cookie)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert (b"www-authenticate", b"Bearer") in start["headers"]
    assert json.loads(body["body"])["code"] == "missing_token"


def test_a_server_that_cannot_answer_a_websocket_closes_it() -> None:
    """Before it was accepted, which servers answer with 403."""
    assert connect(protected(), {"type": "websocket"}) == [{"type": "websocket.close", "code": 1008}]


def test_the_applications_own_errors_are_its_own() -> None:
    """Also those of our family: who raises them in a route has something else in mind."""

    async def broken(*_: Any) -> None:
        raise ConfigurationError("the application's")

    with pytest.raises(ConfigurationError, match="the application's"):
        connect(protected(broken), {"type": "http", "method": "GET"}, bearer())


def test_a_policy_that_the_verifier_cannot_follow_is_no_answer() -> None:
    """Whoever asks learns nothing of how the application is configured; whoever runs it learns all."""
    with pytest.raises(ConfigurationError, match="needs a credential"):
        connect(protected(check="live"), {"type": "http", "method": "GET"}, bearer())


@pytest.mark.anyio
async def test_a_page_of_another_origin_behind_cors() -> None:
    """Preflights carry no credentials and are answered around us; a refusal can be read by the page."""
    app = CORSMiddleware(protected(), allow_origins=[APP_ORIGIN], allow_headers=["authorization"], allow_methods=["POST"])
    asks = {"origin": APP_ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    assert (await ask(app, "OPTIONS", "/orders", headers=asks)).status_code == 200
    refused = await ask(app, "POST", "/orders", headers={"origin": APP_ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, APP_ORIGIN)
    assert (await ask(protected(), "OPTIONS", "/orders", headers=asks)).status_code == 401


@pytest.mark.anyio
async def test_a_trusted_origin_may_write_with_the_cookie() -> None:
    """It was named, so it is ours."""
    headers = {"cookie": f"{COOKIE}={a_token()}", "origin": APP_ORIGIN, "sec-fetch-site": "same-site"}
    assert (await ask(protected(), "POST", "/", headers=headers)).status_code == 403
    assert (await ask(protected(trusted_origins=[APP_ORIGIN]), "POST", "/", headers=headers)).status_code == 200


@pytest.mark.parametrize("origins", [APP_ORIGIN, [f"{APP_ORIGIN}/"], ["app.example.com"], ["https://app.example.com:443"]])
def test_an_origin_that_no_browser_sends_is_refused(origins: Any) -> None:
    """It would never match, and whoever wrote it would look for the reason elsewhere."""
    with pytest.raises(ConfigurationError, match="origin"):
        protected(trusted_origins=origins)


@pytest.mark.anyio
async def test_around_a_starlette_application_and_one_of_its_routes() -> None:
    """The whole application wants somebody who is signed in, one route wants more."""

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
