"""Hostile connections: slow bodies, endless headers, too many tokens."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from handstamp.assemble.application import make_application
from handstamp.web.protocol import MAX_HEAD_BYTES
from tests.builders import Clock
from tests.deployment import ISSUER, deployed, start_session
from tests.serving import Server


@pytest.mark.anyio
async def test_a_body_that_takes_longer_than_the_grace_window_costs_no_session(tmp_path: Path) -> None:
    """The service reads the clock when the body has arrived, so a retry after a lost answer is within the grace window."""
    clock = Clock()
    async with deployed(tmp_path, clock, grace="1", recovery_interval="off") as running:
        _, pair = await start_session(running, clock)
        body = json.dumps({"refreshToken": pair.refresh_token}).encode()

        async def send_slowly() -> AsyncIterator[bytes]:
            yield body[:10]
            clock.advance(seconds=2)
            yield body[10:]

        headers = {"content-type": "application/json"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(make_application(running)), base_url=ISSUER) as client:
            first = await client.post("/refresh", content=send_slowly(), headers=headers)
            assert first.status_code == 200, first.text
            repeat = await client.post("/refresh", content=body, headers=headers)
            assert (repeat.status_code, repeat.json()["refreshToken"]) == (200, first.json()["refreshToken"])
            clock.advance(seconds=2)
            late = await client.post("/refresh", content=body, headers=headers)
            assert (late.status_code, late.json()["reason"]) == (401, "reuse")


def test_headers_without_end_are_refused(default_server: Server) -> None:
    """A head over the size limit gets 431 and its connection is closed. The service keeps running (R74)."""
    start = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: "
    with socket.create_connection(("127.0.0.1", default_server.port), timeout=30) as connection:
        # Send exactly what the server reads before it answers: unread bytes would reset the connection and lose the answer.
        connection.sendall(start + b"x" * (MAX_HEAD_BYTES + 1 - len(start)))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 431 "), answer
    with default_server.client() as client:
        assert client.get("/healthz").status_code == 200


def test_a_request_with_many_tokens_is_refused_before_any_is_checked(serve: Callable[..., Server]) -> None:
    """`/logout` accepts several tokens in one request but has a limit, because each one costs a signature check (R74)."""
    server = serve()
    server.register()
    access_token = server.login()["accessToken"]
    with server.client() as client:
        many = client.post("/logout", headers=[("Authorization", f"Bearer {access_token[:-1]}A")] * 9)
        assert (many.status_code, many.json()["code"]) == (400, "invalid_request")
        few = client.post("/logout", headers=[("Authorization", f"Bearer {access_token}")] * 8)
        assert few.status_code == 204
