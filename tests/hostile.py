"""A real HTTP server on a real socket whose answers a test controls: late, slow, truncated, endless or wrong."""

from __future__ import annotations

import itertools
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from handstamp.crypto.jwk import KeySet, SigningKey
from tests.conformance.builders import ABSENT, access_claims, access_header, as_json, compact

STALL = 3600.0
JWKS, FEED, INTROSPECT = "/.well-known/jwks.json", "/revocations", "/introspect"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it was received."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The form fields of the body."""
        return dict(parse_qsl(self.body.decode()))


Script = Iterable[bytes | float]
"""The output for one request: bytes are sent unchanged, a number is a pause in seconds. Then the connection is closed."""
Answer = Script | Callable[[Asked], Script]


def answer(body: Any, status: int = 200, /, **headers: str) -> list[bytes | float]:
    """Return a valid answer with this body. Bytes are sent unchanged, other values as JSON."""
    return [head(status, content_length=str(len(as_json(body))), **headers), as_json(body)]


def head(status: int = 200, /, **headers: str) -> bytes:
    """Return a status line and headers. Underscores in header names become dashes."""
    named = {"content_type": "application/json", "connection": "close"} | headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode("latin-1")


def html(status: int = 200) -> list[bytes | float]:
    """Return an HTML page, like that of a proxy or a captive portal."""
    return answer(b"<!doctype html><title>Sign in to the network</title>", status, content_type="text/html")


def redirect(to: str) -> list[bytes | float]:
    """Return a redirect."""
    return answer(b"", 302, location=to)


def drip(pieces: Iterable[bytes | float], every_s: float) -> Iterator[bytes | float]:
    """Yield an answer byte by byte, with a pause after each byte."""
    for piece in pieces:
        for byte in piece if isinstance(piece, bytes) else b"":
            yield bytes([byte])
            yield every_s


def jwks(*keys: SigningKey) -> dict[str, Any]:
    """Return the JWK set that publishes these keys."""
    return KeySet(key.public for key in keys).to_jwks()


def page(*entries: dict[str, Any], cursor: str = "1.a", **changes: Any) -> dict[str, Any]:
    """Return a page of the feed that is complete and correct except for `changes`."""
    return {"entries": list(entries), "cursor": cursor, "snapshot": False, "more": False, "now": now_s()} | changes


def ended(token: str, *, in_s: float = 3660) -> dict[str, Any]:
    """Return the feed entry that revokes the session of a token."""
    return {"sid": sid_of(token), "exp": now_s() + int(in_s)}


def sid_of(token: str) -> str:
    """Return the session id of a token from `Hostile.token`."""
    return _sids[token]


def now_s() -> int:
    """Return the time in seconds since 1970."""
    return int(time.time())


_sids: dict[str, str] = {}


class Hostile:
    """A server that starts as a correct issuer with one key. Its feed is `log`, and it introspects every token as active.

    An item of `answers` replaces the answer for its path. With `upstream`, the port of another server, this one is a proxy.
    """

    def __init__(self, *, upstream: int | None = None, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a loopback port, with TLS for `localhost` if `tls` is given."""
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listening.getsockname()[1]
        self.url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"
        self._tls = tls
        self.key = SigningKey.generate("ES256")
        self.log: list[dict[str, Any]] = []
        self.answers: dict[str, Answer] = {}
        self.asked: list[Asked] = []
        self._upstream = upstream
        self._sound: dict[str, Answer] = {
            JWKS: lambda _: answer(jwks(self.key), cache_control="public, max-age=300"),
            FEED: self._feed,
            INTROSPECT: lambda asked: answer({"active": True, "sid": sid_of(asked.form["token"]), "jti": "token-1"}),
        }
        self._stopping = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        """Return this server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.close()

    def close(self) -> None:
        """Stop answering and stop listening."""
        self._stopping.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def count(self, path: str) -> int:
        """Return the number of requests for a path."""
        return sum(asked.path == path for asked in self.asked)

    def token(self, *, key: SigningKey | None = None, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """Return a token of a new session that is valid for 15 minutes from now."""
        key = key or self.key
        now = now_s()
        fields = {"iss": self.url, "aud": self.url, "iat": now, "exp": now + 900, "auth_time": now, "nbf": ABSENT}
        sid = claims.get("sid", f"session-{next(_numbers)}")
        payload = access_claims(**fields | {"sid": sid} | claims)
        token = compact(access_header(key, **header or {}), payload, key.sign)
        _sids[token] = sid
        return token

    def _feed(self, asked: Asked) -> Script:
        """Answer with the entries of `log` after the cursor. Wait for new ones, like the real service."""
        cursors = [f"{number}.x" for number in range(len(self.log) + 1)]
        seen = cursors.index(asked.query["after"]) if asked.query["after"] in cursors else 0
        deadline = time.monotonic() + float(asked.query["wait"])
        while (
            seen == len(self.log) and asked.query["after"] in cursors and time.monotonic() < deadline and FEED not in self.answers
        ):
            yield 0.02
        yield from answer(page(*self.log[seen:], cursor=f"{len(self.log)}.x"))

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        with suppress(OSError), self._prepare_connection(accepted) as connection:
            request = _read_request(connection)
            if request is None:
                return
            asked = _parse_request(request)
            self.asked.append(asked)
            script = self.answers.get(asked.path)
            if script is None and self._upstream is not None:
                _pass_on(request, self._upstream, connection)
                return
            if script is None:
                script = self._sound.get(asked.path, answer({"code": "not_found"}, 404))
            for piece in script(asked) if callable(script) else script:
                if self._stopping.is_set():
                    return
                if isinstance(piece, bytes):
                    connection.sendall(piece)
                elif not self._pause(piece, connection):
                    return

    def _prepare_connection(self, connection: socket.socket) -> socket.socket:
        """Set the timeout of a connection, and start TLS if there is a context."""
        connection.settimeout(10)
        return connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True)

    def _pause(self, seconds: float, connection: socket.socket) -> bool:
        """Wait; return False if the client disconnects."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._stopping.is_set():
            readable, _, _ = select.select([connection], [], [], min(left, 0.05))
            if readable and not connection.recv(1, socket.MSG_PEEK):
                return False
        return True


@contextmanager
def hostile(**options: Any) -> Iterator[Hostile]:
    """Run a server for the length of a `with` block."""
    with Hostile(**options) as server:
        yield server


def _read_request(connection: socket.socket) -> bytes | None:
    request = b""
    while b"\r\n\r\n" not in request:
        more = connection.recv(65536)
        if not more:
            return None
        request += more
    fields, _, body = request.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in fields.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length and (more := connection.recv(65536)):
        body += more
    return fields + b"\r\n\r\n" + body


def _parse_request(request: bytes) -> Asked:
    fields, _, body = request.partition(b"\r\n\r\n")
    first, *lines = fields.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    parts = urlsplit(target)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Asked(method, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body)


def _pass_on(request: bytes, port: int, connection: socket.socket) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as upstream:
        upstream.sendall(request.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))  # this proxy reads one request
        while received := upstream.recv(65536):
            connection.sendall(received)


def shown(value: Any) -> str:
    """Return a short form of a value, for a test's name."""
    return json.dumps(value, default=repr)[:40]
