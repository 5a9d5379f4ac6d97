"""HTTP requests to the service. No other file of the verifier sends any.

It uses the standard library, so that verifying tokens needs no HTTP library. It is strict:

- One deadline covers connecting, sending and reading, however slowly the answer arrives.
- An answer has a size limit and must have status 200. Redirects are not followed: keys come from the configured address, and
  the credential goes nowhere else.
- Every failure is raised as `Unavailable`.
"""

from __future__ import annotations

import base64
import http.client
import io
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from functools import cache, partial
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..clock import monotonic_ms
from ..errors import Unavailable

_CHUNK_BYTES = 64 * 1024
_PROXY = getproxies().get("https")
"""The environment's proxy for https, through which TLS stays end to end. Plain http never leaves this machine."""


class Document(NamedTuple):
    """An answer with status 200."""

    body: bytes
    cache_control: str = ""


def fetch(
    url: str, *, timeout_s: float, limit: int, authorization: str | None = None, form: Mapping[str, str] | None = None
) -> Document:
    """Send a GET request, or a POST request with a form, and return the answer.

    Args:
        url: An https URL, or an http URL of this machine.
        timeout_s: Seconds until the whole answer must have arrived.
        limit: The largest body to accept, in bytes.
        authorization: The value of the `Authorization` header.
        form: Fields to send as `application/x-www-form-urlencoded`.

    Raises:
        Unavailable: if the service cannot be reached in time, or answers with another status or with a larger body.
    """
    deadline_ms = monotonic_ms() + int(timeout_s * 1000)
    headers = {"accept": "application/json", "connection": "close", "user-agent": "handstamp-verifier"}
    if authorization is not None:
        headers["authorization"] = authorization
    body = None
    if form is not None:
        body, headers["content-type"] = urlencode(form), "application/x-www-form-urlencoded"
    try:
        address = urlsplit(url)
        with closing(_connection_to(address, timeout_s)) as connection:
            connection.response_class = partial(_Response, deadline_ms)  # type: ignore[assignment]  # it is only called
            target = f"{address.path or '/'}?{address.query}".removesuffix("?")
            connection.request("GET" if form is None else "POST", target, body, headers)
            with connection.getresponse() as response:
                if response.status != 200:
                    hint = ": it does not accept the credential" if response.status == 401 else ""
                    raise Unavailable(f"{url} answered {response.status}{hint}")
                return Document(_read(response, url, limit), response.headers.get("cache-control", ""))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"{url} did not answer: {error!r}") from None


def _read(response: http.client.HTTPResponse, url: str, limit: int) -> bytes:
    body = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > limit:
            raise Unavailable(f"{url} answered more than {limit} bytes")
    if response.length:
        raise Unavailable(f"{url} answered {response.length} bytes less than it announced")
    return bytes(body)


class _Response(http.client.HTTPResponse):
    """A response that must be complete before a deadline."""

    def __init__(self, deadline_ms: int, connection: socket.socket, **options: Any) -> None:
        super().__init__(_Reader(connection, deadline_ms), **options)  # type: ignore[arg-type]  # only makefile() is called


class _Reader(io.RawIOBase):
    """Reads from a socket until a deadline. A socket's own timeout starts again with every byte that arrives."""

    def __init__(self, connection: socket.socket, deadline_ms: int) -> None:
        self._connection = connection
        self._file = connection.makefile("rb", buffering=0)  # keeps the socket open after `HTTPConnection` has closed it
        self._deadline_ms = deadline_ms

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_ms = self._deadline_ms - monotonic_ms()
        if left_ms <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left_ms / 1000)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _connection_to(address: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection that is not open yet, through the environment's proxy where one is set for https."""
    host = address.hostname or ""
    if address.scheme != "https":
        return http.client.HTTPConnection(host, address.port, timeout=timeout_s)
    if _PROXY is None or proxy_bypass(host):
        return http.client.HTTPSConnection(host, address.port, timeout=timeout_s, context=_tls_context())
    proxy = urlsplit(_PROXY if "//" in _PROXY else f"//{_PROXY}")
    connection = http.client.HTTPSConnection(proxy.hostname or "", proxy.port, timeout=timeout_s, context=_tls_context())
    user, password = unquote(proxy.username or ""), unquote(proxy.password or "")
    login = {"Proxy-Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")} if user else {}
    connection.set_tunnel(host, address.port, login)
    return connection


@cache
def _tls_context() -> ssl.SSLContext:
    """Return the context of all connections: loading the system's certificates takes longer than a request."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
