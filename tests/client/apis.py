"""A real HTTP API on two origins that redirects and refuses by path, and every kind of client that an application may have."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import httpx
import httpx2
import trio

from handstamp.client import Auth
from handstamp.client.httpx2 import Auth as Auth2

OPTIONS: dict[str, Any] = {"trust_env": False, "verify": False, "follow_redirects": True, "timeout": 60}


def refusal(code: str) -> str:
    """Return the challenge of Handstamp's adapters."""
    return f'Bearer error="invalid_token", error_description="{code}"'


class Seen(NamedTuple):
    """A request that arrived."""

    method: str
    path: str
    token: str | None
    body: bytes


class Api:
    """Answers `/echo` with the body if there is a token that `refuses` does not refuse.

    `/see-other`, `/move`, `/hop` and `/away` redirect to `/echo`: on this origin as GET, on this origin, on the other one, and on
    the other one by way of a third.
    """

    def __init__(self) -> None:
        """Listen on loopback."""
        self.seen: list[Seen] = []
        self.refuses: Callable[[str], str | None] = lambda _: None
        """Returns the code of the refusal of a token."""
        api = self

        class Handler(_Handler):
            owner = api

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        port = self._server.server_port
        self.url, self.other, self.third = f"http://localhost:{port}", f"http://127.0.0.1:{port}", f"http://127.1:{port}"

    @property
    def hops(self) -> list[str]:
        """The method and the path of each request, with a star if it had a token."""
        return [f"{seen.method} {seen.path}{'*' if seen.token else ''}" for seen in self.seen]

    @contextmanager
    def running(self) -> Iterator[Api]:
        """Serve for the length of a block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: Api
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        owner = self.owner
        body = self._body()
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        owner.seen.append(Seen(self.command, self.path, token if scheme == "Bearer" else None, body))
        match self.path:
            case "/see-other":
                self._say(303, location="/echo")
            case "/move":
                self._say(307, location="/echo")
            case "/hop":
                self._say(307, location=f"{owner.other}/echo")
            case "/away":
                self._say(307, location=f"{owner.third}/hop")
            case "/open":
                self._say(200, body)
            case _ if not token:
                self._say(401, www_authenticate="Bearer")
            case _ if (code := owner.refuses(token)) is not None:
                self._say(401, www_authenticate=refusal(code))
            case _:
                self._say(200, body)

    do_POST = do_GET  # noqa: N815 - the server's name

    def _body(self) -> bytes:
        if "transfer-encoding" in self.headers:
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Kind(NamedTuple):
    """A kind of client: the class of its `Auth`, and how it sends a request and runs a coroutine."""

    auth: Callable[..., Auth]
    send: Callable[..., Any]
    """Takes an `Auth`, a method, a URL and options; returns the response."""


def _send_with(make: Callable[..., Any]) -> Callable[..., Any]:
    def send(auth: Auth, method: str, url: str, **options: Any) -> Any:
        with make(auth=auth, **OPTIONS) as client:
            return client.request(method, url, **options)

    return send


def _send_async_with(make: Callable[..., Any], run: Callable[..., Any]) -> Callable[..., Any]:
    def send(auth: Auth, method: str, url: str, **options: Any) -> Any:
        async def in_loop() -> Any:
            async with make(auth=auth, **OPTIONS) as client:
                return await client.request(method, url, **options)

        return run(in_loop)

    return send


def run_asyncio(function: Callable[[], Any]) -> Any:
    """Run a coroutine function under asyncio."""
    return asyncio.run(function())


KINDS: dict[str, Kind] = {
    "httpx": Kind(Auth, _send_with(httpx.Client)),
    "httpx asyncio": Kind(Auth, _send_async_with(httpx.AsyncClient, run_asyncio)),
    "httpx trio": Kind(Auth, _send_async_with(httpx.AsyncClient, trio.run)),
    "httpx2": Kind(Auth2, _send_with(httpx2.Client)),
    "httpx2 asyncio": Kind(Auth2, _send_async_with(httpx2.AsyncClient, run_asyncio)),
    "httpx2 trio": Kind(Auth2, _send_async_with(httpx2.AsyncClient, trio.run)),
    "httpx with the other Auth": Kind(Auth2, _send_with(httpx.Client)),
}
