"""The log of a real service under hostile requests: every line is JSON with an event, and every refusal has one."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import certificates
from tests.integration.helpers import client_of, create_credential, new_email, run_server, send_raw, sign_in_new_user
from tests.serving import PASSWORD, Server

_JSON = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HOSTILE_BYTES = {
    "not http": b"\x00\xff\x16\x03\x01\r\n\r\n",
    "a TLS greeting": bytes.fromhex("160301004a0100004603035f"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a terminal's escapes": b"GET /\x1b[2J HTTP/1.1\r\nHost: x\r\nUser-Agent: \x1b[31m\r\n\r\n",
    "a line break in a field": b"GET /profile HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\rb\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a head without end": b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
    "a broken chunk": _JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two lengths": b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "an upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "CONNECT": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a body": _JSON + b"Content-Length: 100\r\n\r\n{",
    "an encoded zero": b"GET /%00/../%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes that are no text": _JSON + b'Content-Length: 3\r\n\r\n"\xff"',
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service whose log is read by these tests alone."""
    with run_server(tmp_path_factory.mktemp("log"), TRUSTED_PROXIES="127.0.0.1", ISSUER="https://auth.example.com") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """Yield a client that comes through a proxy with TLS."""
    with client_of(server, headers={"x-forwarded-proto": "https"}) as client:
        yield client


def read_lines(log: Path, *, after: int = 0) -> list[dict[str, Any]]:
    """Return the lines of a log behind the greeting. Fail if one is not JSON, or has no event."""
    lines = []
    for text in log.read_text("utf-8", "replace")[after:].split("Stop with Ctrl-C.\n")[-1].splitlines():
        line = json.loads(text)
        assert isinstance(line["event"], str), text
        assert line["event"].isidentifier(), text
        lines.append(line)
    return lines


def reset(server: Server, request: bytes) -> None:
    """Send a request and reset the connection without waiting for the answer."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.sendall(request)
    connection.close()


def test_every_line_is_json_whatever_is_sent(server: Server, client: httpx.Client) -> None:
    """Hostile bytes, resets and half requests leave no plain line, and nothing that steers a terminal."""
    for request in HOSTILE_BYTES.values():
        with contextlib.suppress(ConnectionError):
            send_raw(server, request)
        reset(server, request)
    assert client.get("/readyz").status_code == 200
    assert server.log.read_text("utf-8", "replace").isascii()
    events = {line["event"] for line in read_lines(server.log)}
    assert "request_unreadable" in events
    assert events <= {"request_unreadable", "request_refused", "lines_left_out", "untrusted_proxy"}, events


@pytest.mark.slow
def test_every_line_is_json_with_tls_and_workers(tmp_path: Path) -> None:
    """What cannot be a TLS handshake leaves no plain line either, in any of several processes."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(certificates.build_command(certificate, key), check=True, capture_output=True)
    options = ("--tls-cert", str(certificate), "--tls-key", str(key), "--workers", "2")
    server = Server(tmp_path, *options)
    server.url = f"https://localhost:{server.port}"
    trust = ssl.create_default_context(cafile=certificate)
    server.client = lambda **more: httpx.Client(base_url=server.url, verify=trust, trust_env=False, **more)  # type: ignore[method-assign]
    try:
        server.start()
        for request in HOSTILE_BYTES.values():
            with contextlib.suppress(ConnectionError):
                send_raw(server, request)
            reset(server, request)
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        with trust.wrap_socket(plain, server_hostname="localhost") as encrypted:
            encrypted.sendall(HOSTILE_BYTES["not http"])
        with server.client() as client:
            assert client.get("/readyz").status_code == 200
        read_lines(server.log)
    finally:
        server.stop()


def _wrong_password(client: httpx.Client) -> httpx.Response:
    return client.post("/login", json={"email": new_email(), "password": PASSWORD})


def _cross_site(client: httpx.Client) -> httpx.Response:
    headers = {"origin": "https://evil.example.com", "sec-fetch-site": "cross-site"}
    return client.post("/login", json={"email": new_email(), "password": PASSWORD}, headers=headers)


def _wrong_on_a_page(client: httpx.Client) -> httpx.Response:
    headers = {"origin": "https://auth.example.com", "sec-fetch-site": "same-origin"}
    return client.post("/sign-in", data={"email": new_email(), "password": PASSWORD}, headers=headers)


REFUSALS: dict[str, tuple[Callable[[httpx.Client], httpx.Response], int, str, str]] = {
    "wrong password": (_wrong_password, 401, "invalid_credentials", "/login"),
    "wrong password on a page": (_wrong_on_a_page, 401, "invalid_credentials", "/sign-in"),
    "cross-site": (_cross_site, 403, "cross_site", "/login"),
    "no credential": (lambda c: c.get("/revocations"), 401, "invalid_client", "/revocations"),
    "wrong credential": (
        lambda c: c.post("/introspect", data={"token": "x"}, auth=("x", "y")),
        401,
        "invalid_client",
        "/introspect",
    ),
    "no token": (lambda c: c.get("/profile"), 401, "missing_token", "/profile"),
    "wrong token": (lambda c: c.post("/refresh", json={"refreshToken": "x"}), 401, "invalid_token", "/refresh"),
    "wrong OAuth token": (
        lambda c: c.post("/token", data={"grant_type": "refresh_token", "refresh_token": "x"}),
        400,
        "invalid_token",
        "/token",
    ),
    "too large": (lambda c: c.post("/login", content=b"x" * 70_000), 413, "invalid_request", "/login"),
    "wrong media type": (lambda c: c.post("/login", content=b"x"), 415, "invalid_request", "/login"),
    "wrong fields": (lambda c: c.post("/login", json={}), 422, "invalid_request", "/login"),
    "wrong method": (lambda c: c.put("/login"), 405, "invalid_request", "/login"),
    "nothing there": (lambda c: c.get("/nothing"), 404, "not_found", ""),
    "plain http": (lambda c: c.get("/profile", headers={"x-forwarded-proto": "http"}), 400, "invalid_request", "/profile"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_every_refusal_leaves_one_line(server: Server, client: httpx.Client, name: str) -> None:
    """The line has the code, the path, the client's address and the id that the client sees, and no secret."""
    ask, status, code, path = REFUSALS[name]
    before = len(server.log.read_text("utf-8", "replace"))
    answer = ask(client)
    assert answer.status_code == status, answer.text
    (line,) = [line for line in read_lines(server.log, after=before) if line["event"] == "request_refused"]
    assert (line["code"], line["path"], line["ip"], line["level"]) == (code, path, "127.0.0.1", "info")
    assert line["request_id"] == answer.headers["x-request-id"]
    if answer.headers["content-type"] == "application/problem+json":
        assert answer.json()["instance"] == f"urn:handstamp:request:{line['request_id']}"
        assert answer.status_code == line["status"]
    assert PASSWORD not in json.dumps(line)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/.well-known/jwks.json", "/.well-known/oauth-authorization-server"])
def test_what_holds_no_secret_is_answered_over_plain_http(client: httpx.Client, path: str) -> None:
    """Probes and verifiers may come without TLS."""
    assert client.get(path, headers={"x-forwarded-proto": "http"}).status_code == 200


@pytest.mark.parametrize("path", ["/login", "/refresh", "/register", "/logout", "/token", "/introspect", "/sign-in"])
def test_a_secret_over_plain_http_is_refused_with_the_remedy(client: httpx.Client, path: str) -> None:
    """Where the issuer is https, a request that the proxy received over http gets 400, and words for the operator."""
    answer = client.post(path, headers={"x-forwarded-proto": "http"})
    assert answer.status_code == 400
    assert "X-Forwarded-Proto" in answer.text


def test_a_throttled_registration_and_feed_leave_a_line(server: Server, client: httpx.Client) -> None:
    """The limits of a network and of a credential are told like every refusal."""
    create_credential(server)
    sign_in_new_user(client)
    before = len(server.log.read_text("utf-8", "replace"))
    headers = {"x-forwarded-for": "203.0.113.200"}
    answers = [client.get("/revocations", headers=headers) for _ in range(60)]
    assert answers[-1].status_code == 429
    lines = [line for line in read_lines(server.log, after=before) if line.get("code") == "too_many_attempts"]
    assert lines
    assert {(line["path"], line["ip"]) for line in lines} == {("/revocations", "203.0.113.200")}


TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_all_lines_of_a_request_have_its_ids(server: Server, client: httpx.Client) -> None:
    """The proxy's `X-Request-ID` and the client's `traceparent` are in the event, in the refusal and in the answer."""
    before = len(server.log.read_text("utf-8", "replace"))
    sign_in_new_user(client)
    ids = {"x-request-id": "7f000001:8296_1", "traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
    answer = client.post("/login", json={"email": new_email(), "password": PASSWORD}, headers=ids)
    assert answer.headers.get_list("x-request-id") == ["7f000001:8296_1"]
    lines = [line for line in read_lines(server.log, after=before) if line.get("request_id") == "7f000001:8296_1"]
    assert [line["event"] for line in lines] == ["sign_in_failed", "request_refused"]
    assert {line["trace_id"] for line in lines} == {TRACE_ID}
    others = [line for line in read_lines(server.log, after=before) if line not in lines]
    assert {"account_created", "signed_in"} <= {line["event"] for line in others}
    assert all(len(line["request_id"]) == 22 and "trace_id" not in line for line in others)


@pytest.mark.parametrize("sent", [["a", "b"], ["x" * 129], ["a b"], ["é"], ["a,b"], [""]])
def test_a_request_id_that_is_not_plain_is_replaced(client: httpx.Client, sent: list[str]) -> None:
    """Two ids, a long one, and one with other characters are no ids."""
    headers = [(b"x-request-id", value.encode()) for value in sent]
    (answered,) = client.get("/healthz", headers=[*client.headers.raw, *headers]).headers.get_list("x-request-id")
    assert answered not in sent
    assert len(answered) == 22


def test_a_request_id_of_a_stranger_is_replaced(default_server: Server) -> None:
    """Only a trusted proxy names requests."""
    with default_server.client() as client:
        ids = {client.get("/healthz", headers={"x-request-id": "mine"}).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert "mine" not in ids
    assert send_raw(default_server, b"rubbish\r\n\r\n").lower().count(b"\r\nx-request-id: ") == 1
