"""A server of FastMCP, as docs/how-to/verify-tokens.md writes it. `make test-all` installs FastMCP."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from handstamp.testing import LocalIssuer
from handstamp.verify.mcp import GuardMcp, HandstampTokenVerifier
from tests.adapters.test_mcp import call

fastmcp = pytest.importorskip("fastmcp", reason="install the dependency group fastmcp", exc_type=ModuleNotFoundError)
auth = pytest.importorskip("fastmcp.server.auth")
BASE_URL = "http://localhost:9000"


def test_an_agent_of_a_fastmcp_server_is_refused_after_the_sign_out() -> None:
    """Without a token, without a scope, signed out: refused with a challenge that names the metadata. In an outage: 503."""
    issuer = LocalIssuer()
    provider = auth.RemoteAuthProvider(
        HandstampTokenVerifier(issuer.verifier),
        [issuer.verifier.issuer],
        BASE_URL,
        required_scopes=["tools"],
        scopes_supported=["tools"],
    )
    server = fastmcp.FastMCP("tools", auth=provider)
    ada, bob = issuer.signed_in(scope="tools"), issuer.signed_in()

    def ask(token: str = "") -> Any:
        return agent.post("/mcp", **call(token))

    with TestClient(GuardMcp(server.http_app(), verifier=issuer.verifier), base_url=BASE_URL) as agent:
        assert ask(ada.token).status_code == 200
        assert ask(bob.token).status_code == 403
        refused = ask()
        place = refused.headers["www-authenticate"].partition('resource_metadata="')[2].partition('"')[0]
        document = agent.get(place).json()
        assert (refused.status_code, document["scopes_supported"]) == (401, ["tools"])
        assert [url.rstrip("/") for url in document["authorization_servers"]] == [issuer.verifier.issuer]
        with issuer.outage():
            issuer.advance(seconds=31)
            assert ask(ada.token).status_code == 503
        ada.sign_out()
        assert ask(ada.token).status_code == 401
