"""A real HTTP proxy between a client and the service. It forwards requests, except those it must play a trick on."""

from __future__ import annotations

import http.client
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

Trick = Literal[
    "pass",
    "refuse",
    "drop",
    "cut",
    "hang",
    "hear and hang",
    "hold",
    "html",
    "502",
    "429",
    "503",
    "500",
    "dribble",
    "endless",
    "away",
]
"""What the proxy does with one request, mostly a refresh.

- `pass`: forward the request and the response.
- `refuse`: close the connection before the service gets the request.
- `drop`, `cut`: forward the request; return nothing, or half of the response.
- `hang`: do nothing until `release`; `hear and hang` forwards the request first.
- `hold`: forward the request; return the response after `release`.
- `html`, `502`, `500`, `429`, `503`: respond like that without the service.
- `dribble`: send headers byte by byte. `endless`: send a body without end.
- `away`: redirect to another path.
"""
_HEARS = frozenset({"pass", "drop", "cut", "hear and hang", "hold"})
_PATIENCE_S = 60.0


class Heard(NamedTuple):
    """A complete response of the service."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Hostile:
    """The proxy. Each request uses up one trick, in order; after the last trick everything is forwarded."""

    def __init__(self, port: int) -> None:
        """Proxy the service on this port."""
        self.upstream_port = port
        self.path = "/refresh"
        self.tricks: deque[Trick] = deque()
        self.questions: list[dict[str, str]] = []
        """The bodies of the requests to `path`, in order."""
        self.other_hosts_bodies: list[bytes] = []
        """The bodies that arrived at the target of `away`'s redirect."""
        self.arrived = threading.Semaphore(0)
        """Released once per request to `path`, after the service has answered it if the trick forwards it."""
        self.release = threading.Event()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://localhost:{self._server.server_port}"

    @property
    def refresh_tokens(self) -> list[str]:
        """The refresh tokens that the client sent, in order."""
        return [question["refreshToken"] for question in self.questions]

    def play(self, *tricks: Trick, path: str = "/refresh") -> None:
        """Reset the proxy: play these tricks on requests to `path`, and forget earlier requests."""
        self.path = path
        self.tricks = deque(tricks)
        self.questions = []
        self.arrived = threading.Semaphore(0)
        self.release.clear()

    @contextmanager
    def running(self) -> Iterator[Hostile]:
        """Serve for the length of a block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.release.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: Hostile

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        with suppress(OSError):
            self._answer(self._ask_service(b""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        with suppress(OSError):
            if self.path == self.owner.path:
                self._play(body)
            elif self.path == "/elsewhere":
                self.owner.other_hosts_bodies.append(body)
                self._say(200, "text/plain", b"")
            else:
                self._answer(self._ask_service(body))

    def _play(self, body: bytes) -> None:  # noqa: C901, PLR0912 - one case a trick
        owner = self.owner
        trick: Trick = owner.tricks.popleft() if owner.tricks else "pass"
        owner.questions.append(json.loads(body))
        heard = self._ask_service(body) if trick in _HEARS else None
        owner.arrived.release()
        match trick, heard:
            case "pass", Heard():
                self._answer(heard)
            case "hold", Heard():
                owner.release.wait(_PATIENCE_S)
                self._answer(heard)
            case "cut", Heard():
                self._answer(heard, only=len(heard.body) // 2)
            case (("hang" | "hear and hang"), _):
                owner.release.wait(_PATIENCE_S)
            case "html", _:
                self._say(200, "text/html", b"<h1>Welcome to our hotel</h1>")
            case "502", _:
                self._say(502, "text/html", b"<h1>Bad gateway</h1>")
            case "500", _:
                self._say(500, "text/html", b"<h1>Oops</h1>")
            case "429", _:
                self._say(429, "text/html", b"<h1>Slow down</h1>", ("retry-after", "7"))
            case "503", _:
                self._say(503, "application/problem+json", b'{"code": "unavailable"}', ("retry-after", "3"))
            case "away", _:
                self._say(307, "text/plain", b"", ("location", f"{owner.url}/elsewhere"))
            case "dribble", _:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not owner.release.wait(0.05):
                    self.wfile.write(b"x")
            case "endless", _:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
                while not owner.release.is_set():
                    self.wfile.write(b"[" * 65536)
            case _:
                pass  # close the connection without a response
        self.close_connection = True

    def _ask_service(self, body: bytes) -> Heard:
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.upstream_port, timeout=_PATIENCE_S)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.request(self.command, self.path, body=body or None, headers=headers)
            answer = connection.getresponse()
            return Heard(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def _answer(self, heard: Heard, *, only: int | None = None) -> None:
        self.send_response_only(heard.status)
        for name, value in heard.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(heard.body[:only])

    def _say(self, status: int, media_type: str, body: bytes, *headers: tuple[str, str]) -> None:
        own = [("content-type", media_type), ("content-length", str(len(body)))]
        self._answer(Heard(status, [*own, *headers], body))
