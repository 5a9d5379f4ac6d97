"""Tests of the orders API. They need no service.

pip install pytest

pytest finds the fixture `handstamp_issuer`, which comes with Handstamp.
"""

import os
from typing import Any

import pytest
from django.test import Client

os.environ.setdefault("AUTH_ISSUER", "https://auth.example.com")
os.environ.setdefault("AUTH_CREDENTIAL", "tests:not used")

import orders

from handstamp.testing import LocalIssuer
from handstamp.verify.django import authenticator


@pytest.fixture
def handstamp_verifier() -> Any:
    """Return the verifier of the application; the tests' issuer replaces its keys."""
    return authenticator().verifier


@pytest.fixture
def client() -> Any:
    """Return a client of the application, with no orders stored."""
    orders.owners.clear()
    return Client(SERVER_NAME="localhost")


def test_each_user_sees_their_own_orders(client: Any, handstamp_issuer: LocalIssuer) -> None:
    ada, bob = handstamp_issuer.signed_in("ada"), handstamp_issuer.signed_in("bob")
    placed = client.post("/orders", headers=ada.headers).json()
    assert client.get("/orders", headers=ada.headers).json() == {"orders": [placed["id"]]}
    assert client.get("/orders", headers=bob.headers).json() == {"orders": []}


def test_reports_are_for_admins(client: Any, handstamp_issuer: LocalIssuer) -> None:
    assert client.get("/reports", headers=handstamp_issuer.signed_in(roles=["admin"]).headers).status_code == 200
    assert client.get("/reports", headers=handstamp_issuer.signed_in(roles=["clerk"]).headers).status_code == 403


def test_a_refund_needs_a_recent_proof(client: Any, handstamp_issuer: LocalIssuer) -> None:
    ada = handstamp_issuer.signed_in("ada")
    assert client.post("/orders/1/refund", headers=ada.headers).status_code == 202
    long_ago = handstamp_issuer.signed_in("ada", signed_in_ago_s=600)
    answer = client.post("/orders/1/refund", headers=long_ago.headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "insufficient_user_authentication")
    assert 'max_age="300"' in answer.headers["WWW-Authenticate"]


def test_cancelling_needs_a_scope_and_the_service(client: Any, handstamp_issuer: LocalIssuer) -> None:
    clerk = handstamp_issuer.signed_in(scope="orders:read orders:write")
    assert client.delete("/orders/1", headers=clerk.headers).status_code == 204
    assert client.delete("/orders/1", headers=handstamp_issuer.signed_in(scope="orders:read").headers).status_code == 403
    with handstamp_issuer.outage():
        assert client.delete("/orders/1", headers=clerk.headers).status_code == 503
        assert client.get("/orders", headers=clerk.headers).status_code == 200
        handstamp_issuer.advance(seconds=31)
        assert client.get("/orders", headers=clerk.headers).status_code == 503


def test_other_tokens_are_refused(client: Any, handstamp_issuer: LocalIssuer) -> None:
    refused = {
        "expired_token": handstamp_issuer.expired(),
        "session_ended": handstamp_issuer.ended(),
        "invalid_token": handstamp_issuer.signed_in(audience="https://elsewhere.example.com"),
    }
    for code, person in refused.items():
        answer = client.get("/orders", headers=person.headers)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert client.get("/orders").status_code == 401


def test_an_expired_token_is_refused(client: Any, handstamp_issuer: LocalIssuer) -> None:
    ada = handstamp_issuer.signed_in("ada", lifetime_s=900)
    handstamp_issuer.advance(seconds=890)
    assert client.get("/orders", headers=ada.headers).status_code == 200
    handstamp_issuer.advance(seconds=30)
    assert client.get("/orders", headers=ada.headers).json()["code"] == "expired_token"
