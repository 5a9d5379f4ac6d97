"""Many connections, and connections that stay open."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.serving import Server

_ASKED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def first_line(connection: socket.socket) -> bytes:
    """Ask on a connection and return the first line of the whole answer; nothing where the connection was closed."""
    connection.sendall(_ASKED)
    answer = b""
    while b"}" not in answer and (received := connection.recv(65536)):
        answer += received
    return answer.partition(b"\r\n")[0]


def test_more_clients_are_connected_than_files_are_allowed_at_first(tmp_path: Path) -> None:
    """Each connection is an open file, and systems allow a process 1,024 of them until it asks for more, as the service does."""
    server = Server(tmp_path)
    server.wrapper = ["sh", "-c", 'ulimit -Sn 100 && exec "$@"', "sh"]
    server.start()
    try:
        with ExitStack() as closed_after:
            for _ in range(200):
                connection = closed_after.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
                assert first_line(connection) == b"HTTP/1.1 200 OK"
    finally:
        server.kill()


def test_a_connection_stays_open_for_whoever_is_silent_for_a_while(serve: Callable[..., Server]) -> None:
    """A proxy keeps its connections for a minute; a request that crosses our closing one would be lost."""
    with socket.create_connection(("127.0.0.1", serve().port), timeout=30) as connection:
        assert first_line(connection) == b"HTTP/1.1 200 OK"
        time.sleep(6)  # uvicorn by itself closes after 5
        assert first_line(connection) == b"HTTP/1.1 200 OK"
