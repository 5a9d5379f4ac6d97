"""Tests of answers on the socket: every kind of answer is complete and in order."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.serving import EMAIL, PASSWORD, Server

_LOGIN = {"email": EMAIL, "password": PASSWORD}


@pytest.fixture
def connection(server: Server) -> Iterator[socket.socket]:
    """Connect to the service."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        yield connection


def read_until_closed(connection: socket.socket) -> bytes:
    """Return all bytes until the server closes the connection."""
    answer = b""
    while received := connection.recv(65536):
        answer += received
    return answer


def test_an_answer_without_a_body_is_sent_at_once(connection: socket.socket) -> None:
    """Answers to HEAD and 204 answers have no body, and the connection stays usable."""
    connection.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(65536).endswith(b"\r\n\r\n")
    connection.sendall(b"POST /logout HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 204")
    assert answer.endswith(b"\r\n\r\n")
    connection.sendall(b"HEAD /docs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert read_until_closed(connection).endswith(b"\r\n\r\n")


def test_100_continue_is_sent_before_the_body(connection: socket.socket) -> None:
    """`Expect: 100-continue` is answered before the body comes (RFC 9110 §10.1.1)."""
    body = json.dumps({**_LOGIN, "email": "nobody@example.com"}).encode()
    connection.sendall(
        b"POST /login HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(body)
    assert connection.recv(65536).startswith(b"HTTP/1.1 401")


def test_pipelined_requests_are_answered_in_order(connection: socket.socket) -> None:
    """Pipelined requests (RFC 9112 §9.3.2) get whole answers, one after the other, with and without a body."""
    ask = b"%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
    connection.sendall(
        ask % (b"GET /healthz", b"") + ask % (b"HEAD /healthz", b"") + ask % (b"GET /profile", b"Connection: close\r\n")
    )
    answers = read_until_closed(connection)
    first, second, third = answers.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200")
    assert first.endswith(b'{"status":"alive"}')
    assert second.startswith(b"200")
    assert second.endswith(b"\r\n\r\n")
    assert third.startswith(b"401")
    assert json.loads(third.partition(b"\r\n\r\n")[2])["code"] == "missing_token"


def test_a_large_page_arrives_whole(connection: socket.socket) -> None:
    """An answer larger than one packet arrives complete."""
    connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = read_until_closed(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["openapi"].startswith("3.")
