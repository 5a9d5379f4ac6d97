"""Every adapter tells clients where tokens come from, if it knows the URL of its API (RFC 9728)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from django.http import HttpResponse
from django.test import Client
from fastapi import Depends, FastAPI
from flask import Flask, jsonify
from rest_framework.response import Response
from rest_framework.views import APIView
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from handstamp import ConfigurationError
from handstamp.client.challenge import refusal_reason
from handstamp.verify import django as handstamp_django
from handstamp.verify import drf as handstamp_drf
from handstamp.verify import fastapi as handstamp_fastapi
from handstamp.verify import flask as handstamp_flask
from handstamp.verify.asgi import HandstampMiddleware
from handstamp.verify.resource import Resource
from tests.adapters.django_project import HANDSTAMP, site
from tests.adapters.local import ISSUER, a_verifier, bearer

RESOURCE = "https://api.example.com/shop"
PLACE = "/.well-known/oauth-protected-resource/shop"
METADATA = f'resource_metadata="https://api.example.com{PLACE}"'
SCOPES = "orders:read orders:list"
Ask = Callable[[str, dict[str, str]], Any]
"""Sends GET to a path with headers; returns the response of the framework."""


@contextmanager
def fastapi() -> Iterator[Ask]:
    """Serve `/orders`, which needs two scopes, and the metadata."""
    require = handstamp_fastapi.Require(a_verifier(), resource=RESOURCE)
    app = FastAPI()
    app.get("/orders", dependencies=[Depends(require(scope=SCOPES))])(lambda: "ok")
    app.get(PLACE)(require.resource_metadata)
    with TestClient(app) as client:
        yield lambda path, headers: client.get(path, headers=headers)


@contextmanager
def asgi() -> Iterator[Ask]:
    """Do the same. The middleware serves the metadata by itself."""
    app = HandstampMiddleware(PlainTextResponse("ok"), verifier=a_verifier(), scope=SCOPES, resource=RESOURCE)
    client = TestClient(app)
    yield lambda path, headers: client.get(path, headers=headers)


@contextmanager
def flask() -> Iterator[Ask]:
    """Do the same."""
    require = handstamp_flask.Require()
    app = Flask(__name__)
    app.add_url_rule("/orders", "orders", require(scope=SCOPES)(lambda: "ok"))
    app.add_url_rule(PLACE, "metadata", lambda: jsonify(require.resource_metadata()))
    require.init_app(app, a_verifier(), resource=RESOURCE)
    client = app.test_client(use_cookies=False)
    yield lambda path, headers: client.get(path, headers=headers)


@contextmanager
def django() -> Iterator[Ask]:
    """Do the same."""
    view = handstamp_django.require(scope=SCOPES)(lambda _: HttpResponse("ok"))
    with site({"orders": view, PLACE[1:]: handstamp_django.resource_metadata}, HANDSTAMP={**HANDSTAMP, "RESOURCE": RESOURCE}):
        yield lambda path, headers: Client().get(path, headers=headers)


@contextmanager
def drf() -> Iterator[Ask]:
    """Do the same."""

    class Orders(APIView):
        permission_classes = (handstamp_drf.require(scope=SCOPES),)

        def get(self, _: Any) -> Response:
            return Response("ok")

    views = {"orders": Orders.as_view(), PLACE[1:]: handstamp_django.resource_metadata}
    with site(views, middleware=(), HANDSTAMP={**HANDSTAMP, "RESOURCE": RESOURCE}):
        yield lambda path, headers: Client().get(path, headers=headers)


@pytest.mark.parametrize("framework", [fastapi, asgi, flask, django, drf], ids=lambda it: it.__name__)
def test_each_challenge_says_where_to_get_a_token(framework: Any) -> None:
    """Without a token, with a wrong one and without the scope: the challenge names the metadata and all needed scopes."""
    with framework() as ask:
        for headers, status, start in (
            ({}, 401, "Bearer"),
            ({"authorization": "Bearer rubbish"}, 401, 'Bearer error="invalid_token", error_description="invalid_token",'),
            (bearer(scope="orders:read"), 403, 'Bearer error="insufficient_scope",'),
        ):
            refused = ask("/orders", headers)
            assert refused.status_code == status
            assert refused.headers["www-authenticate"] == f'{start} scope="{SCOPES}", {METADATA}'
        assert ask("/orders", bearer(scope=SCOPES)).status_code == 200
        document = ask(PLACE, {})
        assert document.status_code == 200
        found = document.json if isinstance(getattr(document, "json", None), dict) else document.json()
        assert (found["resource"], found["authorization_servers"]) == (RESOURCE, [ISSUER])
        assert set(SCOPES.split()) <= set(found["scopes_supported"])


def test_our_client_reads_such_a_challenge() -> None:
    """The parameters that follow do not hide the reason from the client."""
    described = Resource(RESOURCE).describe('Bearer error="invalid_token", error_description="expired_token"', "a b")
    assert refusal_reason(httpx.Response(401, headers={"www-authenticate": described})) == "expired_token"
    assert refusal_reason(httpx.Response(401, headers={"www-authenticate": Resource(RESOURCE).describe("Bearer", "a")})) is None


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://api.example.com", "/.well-known/oauth-protected-resource"),
        ("https://api.example.com/", "/.well-known/oauth-protected-resource"),
        ("https://api.example.com/a/b", "/.well-known/oauth-protected-resource/a/b"),
        ("http://localhost:9000/mcp", "/.well-known/oauth-protected-resource/mcp"),
    ],
)
def test_the_metadata_is_where_clients_look(url: str, path: str) -> None:
    """The well-known part stands between the host and the path (RFC 9728 §3.1)."""
    assert Resource(url).path == path


@pytest.mark.parametrize(
    "url", ["", "api.example.com", "http://api.example.com", "https://api.example.com?a=b", 'https://a.example/"x', "https://a b"]
)
def test_a_resource_that_no_client_accepts_is_refused(url: str) -> None:
    """It must be https or on this machine, and cannot end the quotes of a header."""
    with pytest.raises(ConfigurationError, match="resource"):
        handstamp_fastapi.Require(a_verifier(), resource=url)


def test_without_a_resource_there_is_no_metadata() -> None:
    """The error says what to do."""
    with pytest.raises(ConfigurationError, match="resource="):
        handstamp_fastapi.Require(a_verifier()).resource_metadata()
