"""Connections that misbehave: slow, endless, overloaded."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

from tests.serving import Server


def talk(server: Server, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send pieces of a request over a socket of its own, with a pause between them, and return what comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(pause_s)
            connection.sendall(piece)
        answer = b""
        while received := connection.recv(65536):
            answer += received
        return answer


def test_a_body_that_takes_longer_than_the_grace_window_costs_no_session(serve: Callable[..., Server]) -> None:
    """Time is that of the whole request: who retries after an answer that was lost is within grace, however slow the body."""
    server = serve(GRACE="1", RECOVERY_INTERVAL="off")
    server.register()
    refresh_token = server.login()["refreshToken"]
    body = json.dumps({"refreshToken": refresh_token}).encode()
    fields = f"Host: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    head = f"POST /refresh HTTP/1.1\r\n{fields}\r\n\r\n"
    assert b" 200 " in talk(server, head.encode(), body, pause_s=2).splitlines()[0]
    with server.client() as client:
        assert client.post("/refresh", json={"refreshToken": refresh_token}).status_code == 200


def test_headers_without_end_are_refused(serve: Callable[..., Server]) -> None:
    """A request's head has a limit; the connection is closed and the service goes on (R74)."""
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ")
        try:
            for _ in range(200):
                connection.sendall(b"x" * 4096)
            answer = connection.recv(65536)
        except OSError:  # closed while we were still sending
            answer = b"HTTP/1.1 400"
    assert answer.startswith(b"HTTP/1.1 400")
    with server.client() as client:
        assert client.get("/healthz").status_code == 200


def test_a_request_with_many_tokens_is_refused_before_any_is_checked(serve: Callable[..., Server]) -> None:
    """Signing out takes any token, but not hundreds: each would cost a signature check (R74)."""
    server = serve()
    server.register()
    access_token = server.login()["accessToken"]
    with server.client() as client:
        many = client.post("/logout", headers=[("Authorization", f"Bearer {access_token[:-1]}A")] * 9)
        assert (many.status_code, many.json()["code"]) == (400, "invalid_request")
        few = client.post("/logout", headers=[("Authorization", f"Bearer {access_token}")] * 8)
        assert few.status_code == 204
