"""Asking the service over HTTP: the only file of the verifier that does.

With `urllib`, so that verifying tokens needs no HTTP library. It is strict: no redirect is followed (keys come from where
they were configured to come from, and a credential goes nowhere else), answers have a size and a time, and whatever goes wrong
is `Unavailable`.
"""

from __future__ import annotations

import base64
import functools
import http.client
import io
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple
from urllib.parse import quote, urlencode

from ..clock import monotonic_ms
from ..errors import ConfigurationError, Unavailable

_CHUNK = 64 * 1024


class Fetched(NamedTuple):
    """An answer with status 200."""

    body: bytes
    headers: Mapping[str, str]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917 - the signature is urllib's
        self,
        req: urllib.request.Request,  # noqa: ARG002 - the signature is urllib's
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: http.client.HTTPMessage,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        return None


class _OnTime(io.RawIOBase):
    """Reads from a socket until a moment, however slowly it drips: the socket's own time-out begins anew with every byte."""

    def __init__(self, connection: socket.socket, deadline_ms: int) -> None:
        self._connection = connection
        self._file = connection.makefile("rb", buffering=0)
        self._deadline_ms = deadline_ms

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_ms = self._deadline_ms - monotonic_ms()
        if left_ms <= 0:
            raise TimeoutError("it took too long")
        self._connection.settimeout(left_ms / 1000)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, deadline_ms: int, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_OnTime(sock, deadline_ms))


class _ByDeadline(urllib.request.AbstractHTTPHandler):
    def do_open(self, http_class: Callable[..., Any], req: urllib.request.Request, **options: Any) -> http.client.HTTPResponse:
        deadline_ms = monotonic_ms() + int((req.timeout or 0) * 1000)

        def connection(host: str, **more: Any) -> Any:
            made = http_class(host, **more)
            made.response_class = functools.partial(_Response, deadline_ms)
            return made

        return super().do_open(connection, req, **options)


class _Http(_ByDeadline, urllib.request.HTTPHandler):
    pass


class _Https(_ByDeadline, urllib.request.HTTPSHandler):
    pass


def _proxies() -> dict[str, str]:
    """Return the environment's proxy for https, through which it stays secret. Plain http is for this machine alone."""
    return {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme == "https"}


_opener = urllib.request.build_opener(urllib.request.ProxyHandler(_proxies()), _NoRedirect, _Http, _Https)


def basic(credential: str) -> str:
    """Return the `Authorization` of an `id:secret` credential (RFC 6749 §2.3.1). Raises `ConfigurationError`."""
    name, colon, secret = credential.partition(":")
    if not (name and colon and secret):
        raise ConfigurationError("credential must be 'ID:SECRET', as 'handstamp clients create NAME' shows it.")
    return "Basic " + base64.b64encode(f"{quote(name, safe='')}:{quote(secret, safe='')}".encode()).decode("ascii")


def fetch(
    url: str, *, timeout_s: float, limit: int, authorization: str | None = None, form: Mapping[str, str] | None = None
) -> Fetched:
    """GET a URL, or POST a form to it; return the answer if its status is 200.

    Raises `Unavailable` for any other answer, for one of more than `limit` bytes, and for none within `timeout_s` seconds.
    """
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "handstamp-verifier"}
    if authorization is not None:
        headers["authorization"] = authorization
    data = None if form is None else urlencode(form).encode("ascii")
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - the scheme was checked at start
    try:
        with _opener.open(request, timeout=timeout_s) as response:
            if response.status != 200:
                raise Unavailable(f"{url} answered {response.status}")
            return Fetched(_read(response, url, limit), response.headers)
    except urllib.error.HTTPError as refusal:
        with refusal:
            hint = ": the credential is not known there" if refusal.code == 401 else ""
            raise Unavailable(f"{url} answered {refusal.code}{hint}") from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        raise Unavailable(f"{url} did not answer: {getattr(problem, 'reason', None) or problem!r}") from None


def _read(response: http.client.HTTPResponse, url: str, limit: int) -> bytes:
    body = bytearray()
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > limit:
            raise Unavailable(f"{url} answered more than {limit} bytes")
    return bytes(body)
