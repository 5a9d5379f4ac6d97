"""Tests of many simultaneous connections and of connections that stay idle."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.serving import Server

_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def first_line(connection: socket.socket) -> bytes:
    """Send a request; return the first line of the answer, or b"" if the connection was closed."""
    connection.sendall(_REQUEST)
    answer = b""
    while b"}" not in answer and (received := connection.recv(65536)):
        answer += received
    return answer.partition(b"\r\n")[0]


def test_the_soft_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    """Each connection is an open file. The soft limit is often 1,024, so the service raises it to the hard limit."""
    server = Server(tmp_path)
    server.wrapper = ["sh", "-c", 'ulimit -Sn 100 && exec "$@"', "sh"]
    server.start()
    try:
        with ExitStack() as stack:
            for _ in range(200):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
                assert first_line(connection) == b"HTTP/1.1 200 OK"
    finally:
        server.kill()


@pytest.mark.slow
def test_an_idle_connection_stays_open_longer_than_uvicorns_default(serve: Callable[..., Server]) -> None:
    """A proxy keeps idle connections for a minute. If the service closed one first, a request on its way would be lost."""
    with socket.create_connection(("127.0.0.1", serve().port), timeout=30) as connection:
        assert first_line(connection) == b"HTTP/1.1 200 OK"
        time.sleep(6)  # uvicorn's default is 5
        assert first_line(connection) == b"HTTP/1.1 200 OK"
