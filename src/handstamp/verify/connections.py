"""Connections to the service, kept open between requests. A request fails at its deadline, however it is spent."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
import weakref
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..clock import monotonic_ms
from ..errors import ConfigurationError
from ..wire.timed import TimedResponse, left_s, open_socket

MAX_IDLE = 16
"""Connections to keep open. No verifier sends more requests at once."""
_MAX_IDLE_MS = 30_000
"""Networks forget a connection that is idle for longer, and neither side learns of it."""
_PROXY = getproxies().get("https")
"""The environment's proxy for https, through which TLS stays end to end. Plain http never leaves this machine."""


class _Idle(NamedTuple):
    connection: http.client.HTTPConnection
    since_ms: int


class Connections:
    """Connections to one address. Any number of threads may use it; each connection belongs to one of them at a time."""

    def __init__(self, url: str, *, ca_file: str | os.PathLike[str] | None = None) -> None:
        """Create it without opening a connection.

        Args:
            url: The base URL.
            ca_file: A PEM file with the only authorities to trust, by default those of the system.

        Raises:
            ConfigurationError: The file cannot be read, or holds no certificate.
        """
        self.url = url
        self._address = urlsplit(url)
        self._ca_file = None if ca_file is None else str(Path(ca_file).expanduser())
        if self._ca_file is not None:
            _require_certificates(self._ca_file)
        self._idle: list[_Idle] = []
        weakref.finalize(self, _close_all, self._idle)

    def take(self, deadline_ms: int) -> tuple[http.client.HTTPConnection, bool]:
        """Return a connection for one request, and whether it is open already.

        Raises:
            OSError: The environment's proxy is malformed, or the certificates of the system cannot be loaded.
        """
        connection = self._take_idle()
        is_open = connection is not None
        if connection is None:
            connection = _new_connection(self._address, self._ca_file)
        connection.response_class = partial(TimedResponse, deadline_ms)  # type: ignore[assignment]  # it is only called
        connection._create_connection = partial(_open_socket, deadline_ms)  # type: ignore[attr-defined]  # noqa: SLF001 - meant for it
        if connection.sock is not None:
            connection.sock.settimeout(left_s(deadline_ms))
        return connection, is_open

    def give_back(self, connection: http.client.HTTPConnection) -> None:
        """Keep a connection for the next request, or close it. Its response must have been read to its end."""
        if connection.sock is None or len(self._idle) >= MAX_IDLE:
            connection.close()
        else:
            self._idle.append(_Idle(connection, monotonic_ms()))

    def _take_idle(self) -> http.client.HTTPConnection | None:
        """Return the idle connection that was used last, without those that the other side has closed."""
        while self._idle:
            try:
                idle = self._idle.pop()
            except IndexError:  # another thread took the last one
                return None
            if monotonic_ms() - idle.since_ms < _MAX_IDLE_MS and _is_silent(idle.connection.sock):
                return idle.connection
            idle.connection.close()
        return None


def _close_all(idle: list[_Idle]) -> None:
    while idle:
        idle.pop().connection.close()


def _is_silent(connection: socket.socket) -> bool:
    """Return whether nothing has arrived: neither an end nor bytes, which would be taken for the next response."""
    try:
        connection.settimeout(0)
        socket.socket.recv(connection, 1, socket.MSG_PEEK)  # below TLS, whose own recv() has no flags
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _new_connection(address: SplitResult, ca_file: str | None) -> http.client.HTTPConnection:
    """Return a connection that is not open yet, through the environment's proxy where one is set for https."""
    host = address.hostname or ""
    if address.scheme != "https":
        return http.client.HTTPConnection(host, address.port)
    if _PROXY is None or proxy_bypass(host):
        return http.client.HTTPSConnection(host, address.port, context=_tls_context(ca_file))
    proxy = urlsplit(_PROXY if "//" in _PROXY else f"//{_PROXY}")
    connection = http.client.HTTPSConnection(proxy.hostname or "", proxy.port, context=_tls_context(ca_file))
    user, password = unquote(proxy.username or ""), unquote(proxy.password or "")
    login = {"Proxy-Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")} if user else {}
    connection.set_tunnel(host, address.port, login)
    return connection


def _open_socket(deadline_ms: int, address: tuple[str, int], *_: object) -> socket.socket:
    """Connect to a host before the deadline."""
    return open_socket(socket.getaddrinfo(*address, type=socket.SOCK_STREAM), deadline_ms)


def _require_certificates(ca_file: str) -> None:
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigurationError(f"ca_file={ca_file!r} must be a readable PEM file with certificates: {error}") from None


@cache
def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return the context of all connections: loading the system's certificates takes longer than a request."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
