"""The HTTP edge against clients that want to bend it: upgrades, trailers, silence, half-closed connections."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from handstamp.web.protocol import MAX_CHUNKS, MAX_PIPELINED, MAX_TARGET_BYTES
from tests.serving import EMAIL, PASSWORD, Server

_BODY = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
_UPGRADES = ["anything", "h2c", "websocket", "HTTP/2.0, SHTTP/1.3", "TLS/1.2", ""]


def exchange(server: Server, sent: bytes, *, shut_down: bool = False) -> bytes:
    """Send bytes on a connection of its own and return all that comes back until it is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(sent)
        if shut_down:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while received := connection.recv(65536):
                answer += received
        except ConnectionResetError:  # closed with bytes of ours unread; what was answered has arrived
            pass
        return answer


def statuses(answers: bytes) -> list[int]:
    """Return the status of each answer on a connection."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def request(line: str, *fields: str, body: bytes = b"") -> bytes:
    """Return a request as bytes."""
    return "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode() + body


@pytest.mark.parametrize("upgrade", _UPGRADES)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_upgrade_headers_are_ignored(server: Server, upgrade: str, framing: str) -> None:
    """The body belongs to its request, whatever upgrade is asked for (RFC 9110 §7.8)."""
    server.register()
    hidden = b"GET /profile HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = _BODY + b" " * 7 + b"\r\n"
    fields = [
        "Content-Type: application/json",
        "Connection: Upgrade, HTTP2-Settings",
        f"Upgrade: {upgrade}",
        "HTTP2-Settings: AAMAAABk",
    ]
    if framing == "length":
        sent = request("POST /login", *fields, f"Content-Length: {len(body)}", body=body)
    else:
        sent = request("POST /login", *fields, "Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    answers = exchange(server, sent + request("GET /healthz", "Connection: close"))
    assert statuses(answers) == [200, 200]
    smuggled = request("POST /logout", *fields, "Content-Type: application/json", f"Content-Length: {len(hidden)}", body=hidden)
    assert len(statuses(exchange(server, smuggled + request("GET /healthz", "Connection: close")))) == 2


@pytest.mark.parametrize("cut", range(1, 160, 13))
def test_upgrade_headers_in_fragments_are_ignored(server: Server, cut: int) -> None:
    """Where a packet ends makes no difference."""
    body = b'{"refreshToken": "x"}'
    fields = ("Content-Type: application/json", "Connection: upgrade, close", "Upgrade: h2c", f"Content-Length: {len(body)}")
    sent = request("POST /refresh", *fields, body=body)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(sent[:cut])
        connection.sendall(sent[cut:])
        answer = b""
        while received := connection.recv(65536):
            answer += received
    assert statuses(answer) == [401]


def test_logging_out_with_upgrade_headers_ends_the_session(server: Server) -> None:
    """An answer of 204 means that the session has ended, whatever the client offers beside."""
    server.register()
    tokens = server.login()
    body = json.dumps({"refreshToken": tokens["refreshToken"]}).encode()
    fields = ("Content-Type: application/json", "Connection: close, upgrade", "Upgrade: h2c", f"Content-Length: {len(body)}")
    assert statuses(exchange(server, request("POST /logout", *fields, body=body))) == [204]
    with server.client() as client:
        assert client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).json()["reason"] == "logout"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_offering_http2_signs_in(server: Server) -> None:
    """`curl --http2` offers h2c with every request over plain HTTP."""
    server.register()
    done = subprocess.run(
        [
            "curl",
            "-sS",
            "--http2",
            "-w",
            "%{http_code}",
            "-o",
            "/dev/null",
            "-H",
            "Content-Type: application/json",
            "-d",
            _BODY,
            f"{server.url}/login",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "200"


def test_connect_is_refused(server: Server) -> None:
    """A tunnel would carry whatever follows."""
    answers = exchange(server, b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n" + request("GET /healthz"))
    assert statuses(answers) == [400]


def test_trailers_are_dropped(server: Server) -> None:
    """A field behind the body overrules none before it, and authenticates no one (RFC 9110 §6.5.1)."""
    server.register()
    access = server.login()["accessToken"]
    trailers = f"Authorization: Bearer {access}\r\nX-Forwarded-For: 203.0.113.9\r\n".encode()
    sent = request("GET /profile", "Transfer-Encoding: chunked", "Connection: close", body=b"0\r\n" + trailers + b"\r\n")
    answers = exchange(server, sent)
    assert statuses(answers) == [401]
    assert b"missing_token" in answers


def test_trailers_without_end_are_refused(server: Server) -> None:
    """What comes behind a body has the same bound as a head."""
    sent = request("POST /logout", "Transfer-Encoding: chunked", body=b"0\r\n" + b"X-Trailer: %s\r\n" % (b"x" * 1000) * 500)
    assert statuses(exchange(server, sent)) == [431]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"POST /logout HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_malformed_requests_are_refused_with_a_full_answer(server: Server, sent: bytes) -> None:
    """A refusal of the server itself looks like all of ours (RFC 9457, ASVS 3.4)."""
    answer = exchange(server, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"x-content-type-options: nosniff" in head
    assert json.loads(body)["code"] == "invalid_request"


def test_a_content_length_with_trailing_space_is_accepted(server: Server) -> None:
    """White space around a field's value is no part of it (RFC 9112 §5.1)."""
    sent = request("POST /refresh", "Content-Type: application/json", "Content-Length: 2 ", "Connection: close", body=b"[]")
    assert statuses(exchange(server, sent)) == [400]


def test_too_many_fields_are_refused(server: Server) -> None:
    """A hundred header fields are enough for every client."""
    assert statuses(exchange(server, request("GET /healthz", *(f"X-{n}: 1" for n in range(150))))) == [431]


@pytest.mark.parametrize(("chunks", "status"), [(MAX_CHUNKS, 401), (MAX_CHUNKS + 1, 400)])
def test_a_body_has_a_bounded_number_of_chunks(server: Server, chunks: int, status: int) -> None:
    """A million chunks of one byte would cost as much as a million small requests. The last chunk, of no bytes, counts too."""
    body = b'{"refreshToken": "x"}'.ljust(chunks - 1)
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    fields = ("Content-Type: application/json", "Transfer-Encoding: chunked", "Connection: close")
    assert statuses(exchange(server, request("POST /refresh", *fields, body=pieces))) == [status]


def test_few_requests_are_read_ahead(server: Server) -> None:
    """Those that were read are answered, then the connection is closed: the client sends the others again."""
    answered = statuses(exchange(server, request("GET /healthz") * 500))
    assert answered == [200] * (MAX_PIPELINED + 1)
    assert statuses(exchange(server, request("GET /healthz") * MAX_PIPELINED + request("GET /healthz", "Connection: close")))


@pytest.mark.parametrize("target", ["/" + "x" * MAX_TARGET_BYTES, "/docs?" + "%41" * 2600, "/%" + "%" * 3000])
def test_a_target_that_is_long_or_costly_is_refused(server: Server, target: str) -> None:
    """The path and the query are decoded before anything else (RFC 9110 §15.5.15)."""
    answer = exchange(server, request(f"GET {target}"))
    assert statuses(answer) == [414]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "invalid_request"


def test_an_unreadable_request_does_not_answer_for_the_one_before_it(server: Server) -> None:
    """Answers keep the order of the requests: what is owed is sent, then the connection ends."""
    server.register()
    fields = ("Content-Type: application/json", f"Content-Length: {len(_BODY)}")
    answers = exchange(server, request("POST /login", *fields, body=_BODY) + b"nonsense\r\n\r\n")
    assert statuses(answers) == [200]


@pytest.mark.parametrize("sent", [request("GET /healthz"), request("GET /healthz") * 3])
def test_a_half_closed_connection_gets_its_answer(server: Server, sent: bytes) -> None:
    """A client may say that it sends no more and still read (RFC 9112 §9.6)."""
    assert set(statuses(exchange(server, sent, shut_down=True))) == {200}


def test_a_request_that_was_answered_early_gets_no_second_answer(server: Server) -> None:
    """An unsolicited answer would be read as the one to the next request on the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(request("POST /login", "Content-Type: application/json", "Content-Length: 70000", body=b"{"))
        first = connection.recv(65536)
        while b"}" not in first:
            first += connection.recv(65536)
        assert statuses(first) == [413]
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536) == b""


def test_a_missing_body_is_400(server: Server) -> None:
    """A request that announces a body and brings none is 400, not a request without one."""
    sent = request("POST /logout", "Content-Type: application/json", "Content-Length: 40")
    assert statuses(exchange(server, sent, shut_down=True)) == [400]


@pytest.fixture(scope="module")
def short_timeout_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve with little patience."""
    server = Server(Path(tmp_path_factory.mktemp("hasty")), REQUEST_TIMEOUT="1").start()
    yield server
    server.kill()


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", []),
        (b"GET /healthz HT", [408]),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\n", [408]),
        (request("POST /logout", "Content-Type: application/json", "Content-Length: 40", body=b"{"), [408]),
    ],
)
def test_idle_and_incomplete_connections_are_closed(short_timeout_server: Server, sent: bytes, answered: list[int]) -> None:
    """Silence holds no connection for ever."""
    assert statuses(exchange(short_timeout_server, sent)) == answered
