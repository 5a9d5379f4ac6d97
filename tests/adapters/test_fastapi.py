"""What is specific to FastAPI: the OpenAPI document, exception handlers, application-wide dependencies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.requests import HTTPConnection
from starlette.middleware.cors import CORSMiddleware

from handstamp import AccessClaims, ConfigurationError
from handstamp.verify.fastapi import Refused, Require
from tests.adapters.local import APP_ORIGIN, COOKIE, a_token, a_verifier, bearer, connect
from tests.integration.helpers import expect_problem

SCOPE_OF_A_REQUEST: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": []}


@pytest.fixture
def require() -> Require:
    """Return the `Require` that the routes of a test use."""
    return Require(a_verifier(), trusted_origins=[APP_ORIGIN])


async def ask(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request to an application in this process."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example.com") as client:
        return await client.request(method, path, **options)


def an_application(dependency: Callable[..., Any], **options: Any) -> FastAPI:
    """Return an application with one route, which returns the token's subject."""
    app = FastAPI(**options)

    async def whose(claims: AccessClaims = Depends(dependency)) -> str:  # noqa: B008 - FastAPI's own syntax
        return claims.sub

    app.get("/orders")(whose)
    app.post("/orders")(whose)
    return app


@pytest.mark.anyio
async def test_openapi_lists_a_routes_requirements(require: Require) -> None:
    """The OpenAPI document gives both schemes, header and cookie, and the scopes of each route."""
    document = (await ask(an_application(require(scope="orders:read orders:list")), "GET", "/openapi.json")).json()
    assert document["components"]["securitySchemes"] == {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access token"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    scopes = ["orders:read", "orders:list"]
    operation = document["paths"]["/orders"]["get"]
    assert operation["security"] == [{"bearer": scopes}, {"cookie": scopes}]
    assert "parameters" not in operation


@pytest.mark.anyio
async def test_openapi_lists_both_schemes_without_scopes(require: Require) -> None:
    """A route without scopes documents the header and the cookie too."""
    document = (await ask(an_application(require(role="admin")), "GET", "/openapi.json")).json()
    assert document["components"]["securitySchemes"].keys() == {"bearer", "cookie"}
    operation = document["paths"]["/orders"]["get"]
    assert operation["security"] == [{"bearer": []}, {"cookie": []}]
    assert "parameters" not in operation


@pytest.mark.anyio
async def test_refusals_need_no_exception_handler_in_the_application(require: Require) -> None:
    """The first refusal is a complete problem although the application registered no handler."""
    answer = await ask(an_application(require()), "GET", "/orders")
    expect_problem(answer, 401, "missing_token")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.anyio
async def test_other_exceptions_are_unchanged(require: Require) -> None:
    """Other exceptions keep FastAPI's form, even after a refusal has added Handstamp's handler."""
    app = an_application(require())

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout")

    assert (await ask(app, "GET", "/orders")).status_code == 401
    answer = await ask(app, "GET", "/teapot")
    assert (answer.status_code, answer.json()) == (418, {"detail": "short and stout"})


@pytest.mark.anyio
@pytest.mark.parametrize("handled", [401, Refused])
async def test_an_application_may_replace_the_handler(require: Require, handled: int | type[Exception]) -> None:
    """The application's handler for the status or for the class takes precedence."""
    app = an_application(require())

    @app.exception_handler(handled)
    async def own(_: Request, refused: Refused) -> Response:
        return Response(refused.problem["code"], refused.status_code, refused.headers)

    answer = await ask(app, "GET", "/orders")
    assert (answer.status_code, answer.text, answer.headers["www-authenticate"]) == (401, "missing_token", "Bearer")


@pytest.mark.anyio
async def test_without_our_handler_status_and_headers_are_right(require: Require) -> None:
    """`Refused` itself carries the status, headers and problem, in case a later Starlette moves its handlers."""
    with pytest.raises(Refused) as raised:
        await require()(HTTPConnection(dict(SCOPE_OF_A_REQUEST)))
    assert raised.value.status_code == 401
    assert raised.value.headers == {"cache-control": "no-store", "www-authenticate": "Bearer"}
    assert vars(raised.value)["detail"] == raised.value.problem
    assert raised.value.problem["code"] == "missing_token"


@pytest.mark.anyio
async def test_a_whole_application_can_be_protected(require: Require) -> None:
    """A dependency of the application protects every route, also when it is mounted in another one."""
    inner = FastAPI(dependencies=[Depends(require(role="admin"))])

    @inner.get("/reports")
    async def reports() -> str:
        return "all"

    app = FastAPI()
    app.mount("/inner", inner)
    assert (await ask(app, "GET", "/inner/reports")).status_code == 401
    expect_problem(await ask(app, "GET", "/inner/reports", headers=bearer()), 403, "insufficient_scope")
    assert (await ask(app, "GET", "/inner/reports", headers=bearer(roles=("admin",)))).json() == "all"


@pytest.mark.anyio
async def test_cors_applications_read_refusals(require: Require) -> None:
    """CORS middleware answers preflights before any dependency runs and lets the page read a refusal."""
    app = an_application(require())
    app.add_middleware(CORSMiddleware, allow_origins=[APP_ORIGIN], allow_headers=["authorization"], allow_methods=["POST"])
    asks = {"origin": APP_ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    assert (await ask(app, "OPTIONS", "/orders", headers=asks)).status_code == 200
    refused = await ask(app, "POST", "/orders", headers={"origin": APP_ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, APP_ORIGIN)


@pytest.mark.anyio
async def test_a_trusted_origin_may_write_with_the_cookie(require: Require) -> None:
    """A request with the cookie may write if its origin is one of `trusted_origins`."""
    headers = {"cookie": f"{COOKIE}={a_token()}", "sec-fetch-site": "same-site"}
    app = an_application(require())
    assert (await ask(app, "POST", "/orders", headers=headers | {"origin": APP_ORIGIN})).status_code == 200
    assert (await ask(app, "POST", "/orders", headers=headers | {"origin": "https://other.example.com"})).status_code == 403


@pytest.mark.anyio
async def test_a_check_that_the_verifier_cannot_do_is_a_configuration_error(require: Require) -> None:
    """A policy that the verifier cannot apply raises ConfigurationError. The client sees no configuration details."""
    with pytest.raises(ConfigurationError, match="needs a credential"):
        await ask(an_application(require(check="live")), "GET", "/orders", headers=bearer())


def test_a_websocket_needs_the_header_not_the_cookie(require: Require) -> None:
    """A websocket needs the header. The cookie is ignored, because any site's page can open a websocket with it."""
    app = FastAPI(dependencies=[Depends(require())])

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()

    scope = {"type": "websocket", "path": "/live", "extensions": {"websocket.http.response": {}}, "subprotocols": []}
    assert connect(app, scope, bearer())[0]["type"] == "websocket.accept"
    cookie = {"cookie": f"{COOKIE}={a_token()}", "sec-fetch-site": "same-origin"}
    refused = connect(app, scope, cookie)[0]
    assert (refused["type"], refused["status"]) == ("websocket.http.response.start", 401)
