"""Tests of the MCP server. They need no service.

pip install pytest httpx

pytest finds the fixture `handstamp_issuer`, which comes with Handstamp.
"""

import os
from typing import Any

import pytest
from starlette.testclient import TestClient

os.environ.setdefault("AUTH_ISSUER", "https://auth.example.com")
os.environ.setdefault("AUTH_CREDENTIAL", "tests:not used")
os.environ.setdefault("RESOURCE", "http://localhost:9000/mcp")

import server

from handstamp import Verifier
from handstamp.testing import LocalIssuer

HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "agent", "version": "1"}}


@pytest.fixture
def handstamp_verifier() -> Verifier:
    """Return the verifier of the server; the tests' issuer replaces its keys."""
    return server.verifier


def test_an_agent_needs_the_token_of_a_signed_in_person(handstamp_issuer: LocalIssuer) -> None:
    def connect(headers: dict[str, str]) -> Any:
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
        return client.post("/mcp", json=message, headers={"accept": "application/json, text/event-stream"} | headers)

    ada = handstamp_issuer.signed_in("ada")
    with TestClient(server.app, base_url="http://localhost:9000") as client:
        assert connect({}).status_code == 401
        assert connect(ada.headers).status_code == 200
        with handstamp_issuer.outage():
            handstamp_issuer.advance(seconds=31)
            assert connect(ada.headers).status_code == 503
        ada.sign_out()
        assert connect(ada.headers).status_code == 401
