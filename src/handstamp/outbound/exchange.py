"""One request and its answer, in the thread that calls it."""

from __future__ import annotations

import base64
import http.client
import re
import socket
import ssl
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..clock import monotonic_ms
from ..domain.issuer import is_loopback
from ..errors import Unavailable
from ..wire.timed import TimedResponse, open_socket
from .addresses import is_misleading, is_public
from .response import Response

MAX_HEADER_BYTES = 32 * 1024
"""Of an answer, with the frames of its chunks: a body in chunks of a few bytes is refused, because reading it costs much."""
MAX_URL_LENGTH = 8192
_CHUNK_BYTES = 64 * 1024
_URL = re.compile(r"[!-~]+", re.ASCII)
_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]+", re.ASCII)


class Exchange:
    """A request that may be sent."""

    def __init__(self, method: str, url: SplitResult, *, is_allowed: bool) -> None:
        self._method = method
        self._url = url
        self._host = url.hostname or ""
        self._is_allowed = is_allowed

    @classmethod
    def prepare(cls, method: str, url: str, *, allowed: Collection[str]) -> Exchange:
        """Return the exchange with a URL.

        Raises:
            ValueError: The URL is malformed, is not https, or contains an address that is not public and not allowed. The
                sentence does not repeat the URL.
        """
        if len(url) > MAX_URL_LENGTH or _URL.fullmatch(url) is None:
            raise ValueError("the URL is too long or contains spaces or other characters that URLs cannot have")
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_allowed = host in allowed
        is_host = _HOST.fullmatch(host) is not None and ("[" in parts.netloc) == (":" in host)
        if not is_host or parts.port == 0 or "@" in parts.netloc or parts.fragment:
            raise ValueError("the URL needs a host, and can have no user and no fragment")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host) and is_allowed):
            raise ValueError("the URL must be https (http only for a loopback host in HANDSTAMP_OUTBOUND_ALLOW)")
        if not is_allowed and (is_misleading(host) or not _may_be_public(host)):
            raise ValueError(f"the host {host} is no public address, and HANDSTAMP_OUTBOUND_ALLOW does not name it")
        return cls(method, parts, is_allowed=is_allowed)

    def run(
        self, headers: Mapping[str, str], body: bytes | None, *, deadline_s: float, max_bytes: int, ca_file: str | None
    ) -> Response:
        """Send the request and return the answer. `Outbound.request` describes the arguments.

        Raises:
            Unavailable: There is no acceptable answer in time.
        """
        deadline_ms = monotonic_ms() + int(deadline_s * 1000)
        try:
            connection = self._new_connection(deadline_ms, ca_file)
            respond = partial(TimedResponse, deadline_ms, max_bytes=max_bytes + MAX_HEADER_BYTES)
            connection.response_class = respond  # type: ignore[assignment]  # it is only called
            try:
                target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
                connection.request(self._method, target, body, {**headers, "Connection": "close"})
                return self._read(connection, max_bytes)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"{self._host} did not answer: {_describe(error)}") from None

    def _new_connection(self, deadline_ms: int, ca_file: str | None) -> http.client.HTTPConnection:
        """Return a connection that is not open yet, through the environment's proxy where one is set for https."""
        if self._url.scheme == "http":
            return _opened_by(partial(self._open, deadline_ms), http.client.HTTPConnection(self._host, self._url.port))
        proxy, context = _find_proxy(self._host), load_tls(ca_file)
        if proxy is None:
            direct = http.client.HTTPSConnection(self._host, self._url.port, context=context)
            return _opened_by(partial(self._open, deadline_ms), direct)
        tunnel = http.client.HTTPSConnection(proxy.hostname or "", proxy.port or 80, context=context)
        user, password = unquote(proxy.username or ""), unquote(proxy.password or "")
        login = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        tunnel.set_tunnel(self._host, self._url.port, {"Proxy-Authorization": f"Basic {login}"} if user else {})
        return _opened_by(partial(_open_proxy, deadline_ms), tunnel)

    def _open(self, deadline_ms: int, address: tuple[str, int], *_: object) -> socket.socket:
        """Connect to the addresses of the host if all of them are public, or if the operator allows the host."""
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        if not self._is_allowed and not all(is_public(str(place[0]).partition("%")[0]) for *_, place in found):
            raise OSError(None, "it has an address that is not public, and HANDSTAMP_OUTBOUND_ALLOW does not name the host")
        return open_socket(found, deadline_ms)

    def _read(self, connection: http.client.HTTPConnection, max_bytes: int) -> Response:
        with connection.getresponse() as response:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise OSError(None, "it compresses its answer, which was not asked for")
            body = bytearray()
            while chunk := response.read1(_CHUNK_BYTES):
                body += chunk
                if len(body) > max_bytes:
                    raise OSError(None, f"its answer has more than {max_bytes} bytes")
            if response.length:
                raise OSError(None, "its answer is incomplete")
            headers: dict[str, str] = {}
            for name, value in response.headers.items():
                headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
            return Response(response.status, headers, bytes(body))


@cache
def load_tls(ca_file: str | None) -> ssl.SSLContext:
    """Return the context of all connections: the authorities of the system, and those of a file. Raises `OSError`."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _opened_by(open_one: Callable[..., socket.socket], connection: http.client.HTTPConnection) -> http.client.HTTPConnection:
    """Return a connection whose socket a function opens. `http.client` calls it with host and port."""
    connection._create_connection = open_one  # type: ignore[attr-defined]  # noqa: SLF001 - meant for it
    return connection


def _find_proxy(host: str) -> SplitResult | None:
    """Return the environment's proxy for https requests to a host, None if there is none. Raises `OSError` if it is malformed."""
    proxies = getproxies()
    named = proxies.get("https") or proxies.get("all")
    if not named or proxy_bypass(host):
        return None
    proxy = urlsplit(named if "//" in named else f"//{named}")
    if proxy.scheme not in ("", "http") or not proxy.hostname:
        raise OSError(None, "the environment's proxy for https must be an http:// URL")
    return proxy


def _open_proxy(deadline_ms: int, address: tuple[str, int], *_: object) -> socket.socket:
    """Connect to a proxy. The operator names it, so it may have any address."""
    return open_socket(socket.getaddrinfo(*address, type=socket.SOCK_STREAM), deadline_ms)


def _may_be_public(host: str) -> bool:
    """Return whether a host is a name, or an address that is public."""
    try:
        return is_public(host)
    except ValueError:
        return not is_loopback(host)


def _describe(error: Exception) -> str:
    """Return what failed, without anything that was sent or received."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not valid: {error.verify_message}"
        case TimeoutError():
            return "timed out"
        case OSError(strerror=str(reason)):
            return reason
        case _:
            return type(error).__name__
