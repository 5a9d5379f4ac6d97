"""Impersonation: each framework serves an operator who looks for a person, and refuses what changes something (RFC 8693)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from fastapi import Depends, FastAPI, WebSocket
from flask import Flask
from flask import g as flask_globals
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request as DrfRequest
from rest_framework.response import Response as DrfResponse
from rest_framework.views import APIView
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from handstamp import AccessClaims, ConfigurationError
from handstamp.domain.claims import ActorClaim
from handstamp.errors import Impersonated
from handstamp.testing import LocalIssuer
from handstamp.verify import django as for_django
from handstamp.verify import drf as for_drf
from handstamp.verify.asgi import HandstampMiddleware
from handstamp.verify.fastapi import Require
from handstamp.verify.flask import Require as RequireForFlask
from handstamp.verify.mcp import HandstampTokenVerifier
from tests.adapters.django_project import CSRF, OURS, site
from tests.adapters.local import a_token, a_verifier, bearer, connect

METHODS = ["GET", "POST", "DELETE"]
GRACE = ActorClaim(sub="grace-id", sid="grace-session")
READS, WRITES, SELF = (
    {"actor": GRACE, "scope": "read", "auth_time": 1},
    {"actor": GRACE, "scope": "read write", "auth_time": 1},
    {"scope": "read"},
)
Ask = Callable[[str, dict[str, str]], tuple[int, str]]


def fastapi_route(declared: dict[str, Any]) -> Ask:
    """Protect a FastAPI route."""
    return _fastapi(Depends(Require(a_verifier())(**declared)))


def fastapi_claims(_: dict[str, Any]) -> Ask:
    """Use the dependency from which all others get the claims, as it is."""
    return _fastapi(Depends(Require(a_verifier()).claims))


def _fastapi(claims_of: Any) -> Ask:
    app = FastAPI()

    @app.api_route("/", methods=METHODS)
    async def whose(claims: AccessClaims = claims_of) -> str:
        return claims.sub

    return _asking(TestClient(app))


def asgi_application(declared: dict[str, Any]) -> Ask:
    """Protect an ASGI application."""

    async def whose(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.claims.sub)

    app = Starlette(routes=[Route("/", whose, methods=METHODS)])
    return _asking(TestClient(HandstampMiddleware(app, verifier=a_verifier(), **declared)))


def _asking(client: TestClient) -> Ask:
    def ask(method: str, headers: dict[str, str]) -> tuple[int, str]:
        answer = client.request(method, "/", headers=headers)
        return answer.status_code, answer.text

    return ask


def flask_view(declared: dict[str, Any]) -> Ask:
    """Protect a Flask view."""
    app = Flask(__name__)

    @app.route("/", methods=METHODS)
    @RequireForFlask(a_verifier())(**declared)
    def whose() -> str:
        return str(flask_globals.claims.sub)

    def ask(method: str, headers: dict[str, str]) -> tuple[int, str]:
        answer = app.test_client().open("/", method=method, headers=headers)
        return answer.status_code, answer.text

    return ask


def django_view(declared: dict[str, Any]) -> Ask:
    """Protect a Django view with the decorator."""

    @for_django.require(**declared)
    def whose(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.claims.sub)

    return _asking_django(whose, ())


def django_middleware(_: dict[str, Any]) -> Ask:
    """Protect a Django view with the middleware alone."""

    def whose(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.claims.sub)

    return _asking_django(whose, (OURS, CSRF))


def drf_view(declared: dict[str, Any]) -> Ask:
    """Protect a view of Django REST framework with our permission."""
    return _drf(for_drf.require(**declared))


def drf_authentication(_: dict[str, Any]) -> Ask:
    """Protect a view of Django REST framework with the framework's own permission."""
    return _drf(IsAuthenticated)


def _drf(permission: Any) -> Ask:
    class Whose(APIView):
        authentication_classes = (for_drf.HandstampAuthentication,)
        permission_classes = (permission,)

        def get(self, request: DrfRequest) -> DrfResponse:
            return DrfResponse(request.auth.sub)

        post = delete = get

    return _asking_django(Whose.as_view(), ())


def _asking_django(view: Any, middleware: tuple[str, ...]) -> Ask:
    def ask(method: str, headers: dict[str, str]) -> tuple[int, str]:
        with site({"whose": view}, middleware=middleware):
            answer = Client().generic(method, "/whose", headers=headers)
        return answer.status_code, answer.content.decode()

    return ask


ALL = [fastapi_route, asgi_application, flask_view, django_view, drf_view]
PLAIN = [fastapi_claims, django_middleware, drf_authentication]
each = pytest.mark.parametrize("protect", ALL, ids=lambda protect: protect.__name__)


@pytest.mark.parametrize("protect", [*ALL, *PLAIN], ids=lambda protect: protect.__name__)
def test_reading_is_served_and_changing_needs_the_scope(protect: Callable[[dict[str, Any]], Ask]) -> None:
    """Without a word of the application. The person is the subject, and the refusal says why."""
    ask = protect({})
    for method in METHODS:
        assert ask(method, bearer(**WRITES))[0] == ask(method, bearer(**SELF))[0] == 200
        status, text = ask(method, bearer(**READS))
        assert (status, '"impersonated"' in text) == ((200, False) if method == "GET" else (403, True))
    assert "ada-id" in ask("GET", bearer(**READS))[1]


@each
@pytest.mark.parametrize(
    ("declared", "served"),
    [
        ({"impersonation": "always"}, {"GET": (READS, WRITES), "POST": (READS, WRITES)}),
        ({"impersonation": "write"}, {"GET": (WRITES,), "POST": (WRITES,)}),
        ({"impersonation": "never"}, {}),
        ({"fresh": "1h"}, {}),
        ({"acr": "pwd"}, {}),
        ({"impersonation": "always", "acr": "pwd"}, {}),
    ],
    ids=str,
)
def test_a_route_says_when_it_serves_support(
    protect: Callable[[dict[str, Any]], Ask], declared: dict[str, Any], served: dict[str, tuple[Any, ...]]
) -> None:
    """The person is always served. A route that asks for a proof never serves an operator, who could not give it."""
    ask = protect(declared)
    for method in ("GET", "POST"):
        assert ask(method, bearer(acr="pwd"))[0] == 200
        for claims in (READS, WRITES):
            status, text = ask(method, bearer(**claims))
            assert status == (200 if claims in served.get(method, ()) else 403), (method, claims, text)


@each
def test_a_malformed_word_fails_where_it_is_declared(protect: Callable[[dict[str, Any]], Ask]) -> None:
    """No request is needed to find the mistake."""
    with pytest.raises(ConfigurationError, match="impersonation must be one of"):
        protect({"impersonation": "sometimes"})


def test_every_requirement_counts() -> None:
    """One that is declared around a route is not loosened by the route."""
    require = Require(a_verifier())
    app = FastAPI(dependencies=[Depends(require())])
    whole, never = Depends(require(impersonation="always")), Depends(require(impersonation="never"))

    @app.post("/search")
    async def search(claims: AccessClaims = whole) -> str:
        return claims.sub

    @app.get("/secrets", dependencies=[never])
    async def secrets() -> str:
        return "hush"

    client = TestClient(app)
    assert client.post("/search", headers=bearer(**SELF)).status_code == 200
    assert client.post("/search", headers=bearer(**READS)).status_code == 403
    assert client.get("/secrets", headers=bearer(**READS)).status_code == 403


def test_a_websocket_counts_as_a_change() -> None:
    """Its messages may change something, although its handshake is a GET."""
    require = Require(a_verifier())
    app, claims_of = FastAPI(), Depends(require())

    @app.websocket("/")
    async def live(socket: WebSocket, _: AccessClaims = claims_of) -> None:
        await socket.accept()

    async def plain(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    for application in (app, HandstampMiddleware(plain, verifier=a_verifier())):
        scope = {"type": "websocket", "path": "/", "extensions": {"websocket.http.response": {}}, "subprotocols": []}
        for claims, expected in ((SELF, "accept"), (WRITES, "accept"), (READS, "http.response.start")):
            assert connect(application, scope, bearer(**claims))[0]["type"] == f"websocket.{expected}"


def test_what_does_not_know_of_operators_refuses_them() -> None:
    """`verify` by hand, and servers of the Model Context Protocol."""
    verifier = a_verifier()
    for _ in range(2):  # such a token is not cached
        with pytest.raises(Impersonated):
            verifier.verify(a_token(**WRITES))
        with pytest.raises(Impersonated):
            asyncio.run(verifier.verify_async(a_token(**READS)))
    claims = verifier.verify(a_token(**READS), impersonation=True)
    assert (claims.actor, claims.is_read_only) == (GRACE, True)
    assert verifier.status().cached_tokens == 0
    assert asyncio.run(HandstampTokenVerifier(verifier).verify_token(a_token(**WRITES))) is None


def test_applications_can_try_it_with_the_issuer_of_the_tests() -> None:
    """`LocalIssuer.signed_in` makes the tokens of operators."""
    with LocalIssuer() as issuer:
        grace = issuer.signed_in("ada", operator="grace", scope="read")
        assert grace.claims.actor is not None
        assert grace.claims.actor.sub == "grace"
        claims = issuer.verifier.verify(grace.token, impersonation=True)
        assert (claims.sub, claims.is_read_only) == ("ada", True)
