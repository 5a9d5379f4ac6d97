"""A server of the official MCP SDK, called by an agent of the SDK with Handstamp's client, against the real service."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from handstamp import ConfigurationError, Unavailable, Verifier
from handstamp.client import MemoryTokens
from handstamp.client.httpx2 import Auth
from handstamp.clock import now_ms
from handstamp.crypto.dpop import make_dpop_proof
from handstamp.crypto.jwk import SigningKey
from handstamp.testing import LocalIssuer
from handstamp.verify.mcp import GuardMcp, HandstampTokenVerifier
from tests.adapters.examples import EXAMPLES, command
from tests.adapters.local import AUDIENCE, ISSUER, KEYS, a_token, a_verifier, connect
from tests.adapters.test_fastapi import Counting
from tests.client.helpers import load_tokens
from tests.commands import environment_with
from tests.integration.helpers import read_claims, sign_in_new_user, sign_up
from tests.serving import PASSWORD, Server, free_port
from tests.verifying import SOON_S

pytestmark = pytest.mark.anyio
OTHER = SigningKey.generate("ES256")


class Tools(NamedTuple):
    """The example server."""

    url: str
    client: httpx.Client


@pytest.fixture(scope="module")
def tools(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    """Run the example under uvicorn."""
    port = free_port()
    url = f"http://localhost:{port}/mcp"
    credential = json.loads(command(server, "credentials", "create", "tools", "--json"))["credential"]
    environment = environment_with({}) | {"AUTH_ISSUER": server.url, "AUTH_CREDENTIAL": credential, "RESOURCE": url}
    log = (tmp_path_factory.mktemp("mcp") / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "server:app", "--port", str(port)],
        cwd=EXAMPLES / "mcp",
        env=environment,
        stdout=log,
        stderr=log,
    )
    try:
        with httpx.Client(trust_env=False, verify=False, timeout=60) as client:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                try:
                    client.get(url)
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            yield Tools(url, client)
    finally:
        process.kill()
        process.wait()
        log.close()


def call(token: str = "") -> dict[str, Any]:
    """Return the arguments of a request that initialises a connection."""
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}},
    }
    headers = {"accept": "application/json, text/event-stream"} | ({"authorization": f"Bearer {token}"} if token else {})
    return {"json": body, "headers": headers}


async def test_an_agent_calls_a_tool_with_a_bound_session(tools: Tools, server: Server, client: httpx.Client) -> None:
    """Each request has a proof (RFC 9449). The same token without one, or with another's, opens nothing."""
    store = MemoryTokens()
    auth = Auth(server.url, store, origins=[tools.url.removesuffix("/mcp")], dpop=True)
    await asyncio.to_thread(auth.sign_in, await asyncio.to_thread(sign_up, client), PASSWORD)
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=60) as http,
        Client(streamable_http_client(tools.url, http_client=http)) as agent,
    ):
        result = await agent.call_tool("whoami", {})
    token = load_tokens(store).access_token
    assert read_claims(token)["sub"] in str(result.content)
    assert (await asyncio.to_thread(tools.client.post, tools.url, **call(token))).status_code == 401
    for proof in ("rubbish", make_dpop_proof(OTHER, method="POST", url=tools.url, now_s=now_ms() // 1000, access_token=token)):
        request = call()
        request["headers"] |= {"authorization": f"DPoP {token}", "dpop": proof}
        refused = await asyncio.to_thread(tools.client.post, tools.url, **request)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("DPoP error=")
        assert "resource_metadata=" in refused.headers["www-authenticate"]


async def test_an_agent_calls_a_tool_until_the_person_signs_out(tools: Tools, server: Server, client: httpx.Client) -> None:
    """The agent's token opens the tools. After the sign-out the same token is refused, also on an open connection."""
    ada = await asyncio.to_thread(sign_in_new_user, client)
    profile = await asyncio.to_thread(client.get, "/profile", headers=ada.bearer)
    answer = {"accessToken": ada.access, "refreshToken": ada.refresh, "expiresIn": 900, "sessionId": ada.sid}
    auth = Auth(server.url, tokens=answer, origins=[tools.url.removesuffix("/mcp")])
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=60) as http,
        Client(streamable_http_client(tools.url, http_client=http)) as agent,
    ):
        result = await agent.call_tool("whoami", {})
        assert profile.json()["id"] in str(result.content)
    assert (await asyncio.to_thread(tools.client.post, tools.url, **call(ada.access))).status_code == 200
    await asyncio.to_thread(client.post, "/logout", headers=ada.bearer)
    deadline = time.monotonic() + SOON_S
    while (await asyncio.to_thread(tools.client.post, tools.url, **call(ada.access))).status_code != 401:
        assert time.monotonic() < deadline
    refused = await asyncio.to_thread(tools.client.post, tools.url, **call(ada.access))
    assert refused.status_code == 401


def test_a_challenge_names_the_metadata_and_the_metadata_the_issuer(tools: Tools, server: Server) -> None:
    """An agent without a token finds the service that issues tokens (RFC 9728 §5.1)."""
    refused = tools.client.post(tools.url, **call())
    assert refused.status_code == 401
    place = refused.headers["www-authenticate"].partition('resource_metadata="')[2].partition('"')[0]
    document = tools.client.get(place).json()
    assert document["resource"] == tools.url
    assert [url.rstrip("/") for url in document["authorization_servers"]] == [server.url]
    assert tools.client.post(tools.url, **call("rubbish")).status_code == 401


async def test_what_the_sdk_learns_of_a_token() -> None:
    """Subject, scopes, client and issuer; None for every token that is not valid."""
    verify = HandstampTokenVerifier(a_verifier()).verify_token
    token = await verify(a_token(sub="ada", scope="a b"))
    assert token is not None
    assert (token.subject, token.scopes, token.client_id, token.resource) == ("ada", ["a", "b"], "handstamp", AUDIENCE)
    assert (token.claims or {})["iss"] == ISSUER
    assert await verify(a_token(exp=1, iat=0)) is None
    assert await verify("rubbish") is None


async def refuse_all(scope: Any, _: Any, send: Any) -> None:
    """Stand for the SDK: ask for the token, then answer 200 or 401."""
    token = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
    known = await scope["app_verifier"].verify_token(token) if token else None
    await send({"type": "http.response.start", "status": 200 if known else 401, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_an_outage_is_503_and_a_token_is_verified_once() -> None:
    """The guard asks once for a request, and answers 503 when nobody can say. Every other refusal is the SDK's."""
    verifier = Counting()
    app = GuardMcp(refuse_all, verifier=verifier)
    scope = {"type": "http", "method": "POST", "app_verifier": HandstampTokenVerifier(verifier)}
    headers = {"authorization": f"Bearer {a_token()}"}
    assert connect(app, scope, headers)[0]["status"] == 200
    assert verifier.asked == [None]
    assert connect(app, scope)[0]["status"] == 401
    assert connect(app, scope, {"authorization": "Bearer rubbish"})[0]["status"] == 401
    verifier.refuses = {None}
    start, body = connect(app, scope, headers)
    assert (start["status"], json.loads(body["body"])["code"]) == (503, "unavailable")
    assert dict(start["headers"])[b"retry-after"] == b"1"
    with pytest.raises(Unavailable):
        asyncio.run(HandstampTokenVerifier(verifier).verify_token(a_token()))


@pytest.mark.parametrize("asks_first", [True, False])
async def test_what_a_request_starts_and_leaves_behind_verifies_anew(asks_first: bool) -> None:
    """The SDK's sessions run in tasks that their first request starts. They inherit its context, and may go on for hours."""
    issuer = LocalIssuer()
    ada, verify = issuer.signed_in(), HandstampTokenVerifier(issuer.verifier).verify_token
    may_ask, left = asyncio.Event(), []

    async def ask_later() -> object:
        await may_ask.wait()
        return await verify(ada.token)

    async def start_a_task(*_: Any) -> None:
        left.append(asyncio.create_task(ask_later()))
        if asks_first:
            assert await verify(ada.token) is not None

    async def no_messages(*_: Any) -> Any:
        pass

    headers = [(b"authorization", f"Bearer {ada.token}".encode())]
    await GuardMcp(start_a_task, verifier=issuer.verifier)({"type": "http", "headers": headers}, no_messages, no_messages)
    ada.sign_out()
    may_ask.set()
    assert await left[0] is None


def test_a_verifier_without_a_credential_cannot_end_streams() -> None:
    """What cannot be kept fails where it is declared."""
    offline = Verifier(ISSUER, audience=AUDIENCE, keys=KEYS, check="offline")
    with pytest.raises(ConfigurationError, match="credential"):
        HandstampTokenVerifier(offline, check="live")
    with pytest.raises(ConfigurationError, match="credential"):
        GuardMcp(refuse_all, verifier=offline)
