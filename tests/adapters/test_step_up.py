"""Step-up (RFC 9470): each framework asks for a recent and for a strong proof of who the person is, in the same words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from fastapi import Depends, FastAPI
from flask import Flask
from flask import g as flask_globals
from rest_framework.request import Request as DrfRequest
from rest_framework.response import Response as DrfResponse
from rest_framework.views import APIView
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from handstamp import AccessClaims, ConfigurationError
from handstamp.testing import LocalIssuer
from handstamp.verify import django as for_django
from handstamp.verify import drf as for_drf
from handstamp.verify.asgi import HandstampMiddleware
from handstamp.verify.authenticator import make_needs
from handstamp.verify.fastapi import Require
from handstamp.verify.flask import Require as RequireForFlask
from tests.adapters.django_project import site
from tests.adapters.local import a_verifier, bearer

LEEWAY_S = 5
"""Of the verifiers here, as by default."""


class Seen(NamedTuple):
    """What a client sees of an answer."""

    status: int
    challenge: str | None
    text: str


Ask = Callable[[dict[str, str]], Seen]
Declaration = dict[str, Any]


def fastapi_route(declared: Declaration) -> Ask:
    """Protect a FastAPI route."""
    return asking(fastapi_client(Require(a_verifier())(**declared)))


def fastapi_client(dependency: Callable[..., Any]) -> TestClient:
    """Return a client of an application with one route."""
    app, claims_of = FastAPI(), Depends(dependency)

    @app.get("/")
    async def whose(claims: AccessClaims = claims_of) -> str:
        return claims.sub

    return TestClient(app)


def asgi_application(declared: Declaration) -> Ask:
    """Protect an ASGI application."""

    async def whose(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.claims.sub)

    return asking(TestClient(HandstampMiddleware(Starlette(routes=[Route("/", whose)]), verifier=a_verifier(), **declared)))


def flask_view(declared: Declaration) -> Ask:
    """Protect a Flask view."""
    app = Flask(__name__)

    @app.get("/")
    @RequireForFlask(a_verifier())(**declared)
    def whose() -> str:
        return str(flask_globals.claims.sub)

    def ask(headers: dict[str, str]) -> Seen:
        answer = app.test_client().get("/", headers=headers)
        return Seen(answer.status_code, answer.headers.get("www-authenticate"), answer.text)

    return ask


def django_view(declared: Declaration) -> Ask:
    """Protect a Django view."""

    @for_django.require(**declared)
    def whose(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.claims.sub)

    return asking_django(whose)


def drf_view(declared: Declaration) -> Ask:
    """Protect a view of Django REST framework."""

    class Whose(APIView):
        authentication_classes = (for_drf.HandstampAuthentication,)
        permission_classes = (for_drf.require(**declared),)

        def get(self, request: DrfRequest) -> DrfResponse:
            return DrfResponse(request.auth.sub)

    return asking_django(Whose.as_view())


def asking(client: TestClient) -> Ask:
    """Return a function that sends a request."""

    def ask(headers: dict[str, str]) -> Seen:
        answer = client.get("/", headers=headers)
        return Seen(answer.status_code, answer.headers.get("www-authenticate"), answer.text)

    return ask


def asking_django(view: Any) -> Ask:
    """Return a function that sends a request to a Django view."""

    def ask(headers: dict[str, str]) -> Seen:
        with site({"whose": view}, middleware=()):
            answer = Client().get("/whose", headers=headers)
        return Seen(answer.status_code, answer.headers.get("www-authenticate"), answer.content.decode())

    return ask


@pytest.fixture(params=[fastapi_route, asgi_application, flask_view, django_view, drf_view])
def protect(request: pytest.FixtureRequest) -> Callable[[Declaration], Ask]:
    """Return a function that protects something of one framework."""
    protect: Callable[[Declaration], Ask] = request.param
    return protect


def test_a_recent_proof_is_asked_for(protect: Callable[[Declaration], Ask]) -> None:
    """`fresh` refuses a person who signed in too long ago, however new their token is, and says how recent it must be."""
    ask, now_s = protect({"fresh": "5m"}), int(time.time())
    recent, old = (bearer(auth_time=now_s - age_s) for age_s in (290, 300 + LEEWAY_S + 1))
    assert "ada-id" in ask(recent).text
    refused = ask(old)
    assert (refused.status, refused.challenge) == (401, 'Bearer error="insufficient_user_authentication", max_age="300"')
    assert '"insufficient_user_authentication"' in refused.text


def test_a_strong_proof_is_asked_for(protect: Callable[[Declaration], Ask]) -> None:
    """`acr` refuses a proof of a lower class, and one of a session that names none; a higher class is enough."""
    ask = protect({"acr": "mfa"})
    for enough in ("mfa", "phr"):
        assert "ada-id" in ask(bearer(acr=enough)).text
    for too_little in ("pwd", None):
        refused = ask(bearer(acr=too_little))
        assert (refused.status, refused.challenge) == (401, 'Bearer error="insufficient_user_authentication", acr_values="mfa"')


def test_what_is_asked_for_adds_up(protect: Callable[[Declaration], Ask]) -> None:
    """Both are required, and a scope first: nobody is sent to prove themselves again for what they may not do anyway."""
    ask, now_s = protect({"acr": "mfa", "fresh": 60, "scope": "pay"}), int(time.time())
    assert ask(bearer(acr="mfa", auth_time=now_s, scope="pay")).status == 200
    assert ask(bearer(acr="pwd", auth_time=now_s)).status == 403
    for wrong in ({"acr": "pwd", "auth_time": now_s}, {"acr": "mfa", "auth_time": now_s - 600}):
        refused = ask(bearer(scope="pay", **wrong))
        assert refused.challenge == 'Bearer error="insufficient_user_authentication", max_age="60", acr_values="mfa"'


@pytest.mark.parametrize(
    "declared", [{"fresh": "soon"}, {"fresh": ""}, {"fresh": -1}, {"fresh": True}, {"acr": 'mf"a'}, {"acr": "a b"}]
)
def test_a_malformed_requirement_fails_where_it_is_declared(protect: Callable[[Declaration], Ask], declared: Declaration) -> None:
    """No request is needed to find the mistake."""
    with pytest.raises(ConfigurationError, match=r"fresh is a duration|acr names one class"):
        protect(declared)


@pytest.mark.parametrize(("fresh", "seconds"), [(None, None), (0, 0), ("0", 0), (90, 90), ("5m", 300), ("1 h", 3600)])
def test_durations(fresh: str | int | None, seconds: int | None) -> None:
    """A duration is text with a unit, or a number of seconds. 0 asks at each request, and None never."""
    assert make_needs(fresh=fresh).fresh_s == seconds


def test_other_classes_equal_themselves_alone() -> None:
    """A class of the application's own is neither weaker nor stronger than any other."""
    ask = fastapi_route({"acr": "urn:example:gold"})
    assert [ask(bearer(acr=acr)).status for acr in ("urn:example:gold", "phr", "urn:example:silver", None)] == [
        200,
        401,
        401,
        401,
    ]


def test_applications_can_try_it_with_the_issuer_of_the_tests() -> None:
    """`LocalIssuer.signed_in` makes users who signed in long ago or with two factors, and its clock counts."""
    with LocalIssuer() as issuer:
        client = fastapi_client(Require(issuer.verifier)(fresh="5m", acr="mfa"))
        ada = issuer.signed_in("ada", acr="mfa")
        assert client.get("/", headers=ada.headers).status_code == 200
        assert client.get("/", headers=issuer.signed_in("ada", acr="mfa", signed_in_ago_s=600).headers).status_code == 401
        assert client.get("/", headers=issuer.signed_in("ada").headers).status_code == 401
        issuer.advance(seconds=600)
        assert client.get("/", headers=ada.headers).status_code == 401
