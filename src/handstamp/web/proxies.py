"""The address of the client and the id of the request, as a trusted proxy reports them.

Every limit per network, the list of a person's devices and the audit log depend on this address. So only the proxies that the
operator names are believed, and only what is an IP address.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Awaitable, Sequence
from random import random
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from ..crypto.identifiers import new_id
from ..current_request import CURRENT, CurrentRequest, Headers, find_request_id
from ..logger import Logger

PLAIN_HTTP = "handstamp.plain_http"
"""The key of the scope that is True if a trusted proxy says that the client sent the request without TLS."""
PEER = "handstamp.peer"
"""The key of the scope under which a trusted peer's address and the scheme of its connection are, before they are replaced."""
UNIX = "unix"
"""The entry of the trusted proxies that stands for every peer without an address, as on a Unix socket."""
_MAX_LENGTH = 64
"""Longer texts are no addresses, and would fill the caches."""
_GONE = ("0.0.0.0", 0)  # noqa: S104 - nothing listens there
"""Stands for the peer of a TCP connection that has no address any more: it was reset, after a request. All of them count as one
network, so that no client evades the limits by sending requests without waiting for the answers."""
_ALL_OF, _ONE_IN = 1_000, 64
"""Requests of untrusted peers whose header fields are looked at for a forgotten proxy: the first ones, and then some of them."""
MAX_HOPS = 32
"""The most trusted proxies in a row that one request may have passed."""
_SETTING = "HANDSTAMP_TRUSTED_PROXIES"
_log = Logger("handstamp.web")


class TracedApp(Protocol):
    """An application that makes spans for requests."""

    share: float
    """The part of requests that it must answer, if no trusted proxy sends their `traceparent`. In the others it makes none."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer a request."""


class ClientAddress:
    """Gives the application behind it the address of the client instead of the proxy's, and each request its id."""

    def __init__(self, app: ASGIApp, trusted_proxies: Sequence[str], *, traced: TracedApp | None = None) -> None:
        """Wrap an application.

        Args:
            app: The application.
            trusted_proxies: Addresses, networks and "unix".
            traced: The same application with spans, for a share of the requests, and for all whose `traceparent` a trusted proxy
                sends.
        """
        self._app = app
        self._traced = traced
        networks = [ipaddress.ip_network(network) for network in trusted_proxies if network != UNIX]
        self._warned: set[str] = set()
        self._requests = 0

        @functools.lru_cache(maxsize=4096)
        def judge(peer: str) -> tuple[str, bool]:
            address = parse_address(peer)
            is_trusted = any(ipaddress.ip_address(address) in each for each in networks) if address else UNIX in trusted_proxies
            return address, is_trusted

        self._judge = judge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = self._identify(scope)
        app = self._traced if request.is_traced and self._traced is not None else self._app
        token = CURRENT.set(request)
        try:
            await app(scope, receive, send)
        finally:
            CURRENT.reset(token)

    def _identify(self, scope: Scope) -> CurrentRequest:
        """Put the client's address into a scope, and return the request with its id."""
        client = scope.get("client")
        if client is None and (scope.get("server") or ("", None))[1] is not None:
            client = scope["client"] = _GONE
        peer = client[0] if client else ""
        address, is_from_proxy = self._judge(peer)
        if not address:
            scope["client"] = None  # some servers name the peer of a Unix socket, and TestClient is "testclient"
        request_id, has_trusted_trace = "", False
        if is_from_proxy:
            has_trusted_trace = self._believe(scope, peer)
            request_id = find_request_id(scope["headers"])
        elif address:
            self._requests += 1
            if self._requests <= _ALL_OF or not self._requests % _ONE_IN:
                self._look_for_proxy(scope["headers"], peer)
        else:
            self._warn_once("client_address_unknown", peer, f"set {_SETTING}={UNIX} if the peer is a proxy on a Unix socket")
        traced = self._traced
        is_traced = traced is not None and (has_trusted_trace or random() < traced.share)  # noqa: S311 - no secret
        return CurrentRequest(request_id or new_id(), scope["headers"], has_trusted_trace, is_traced=is_traced)

    def _believe(self, scope: Scope, peer: str) -> bool:
        """Put what a trusted proxy says into a scope. Return whether it says to which trace the request belongs."""
        scope[PEER] = peer, scope["scheme"]
        forwarded, scheme, has_trace = [], "", False
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                forwarded.append(value.decode("latin-1"))
            elif name == b"x-forwarded-proto":
                scheme = scheme or value.decode("latin-1").partition(",")[0].strip().lower()
            elif name == b"traceparent":
                has_trace = True
        if scheme in {"http", "https"}:
            scope["scheme"] = scheme
            scope[PLAIN_HTTP] = scheme == "http"
        if forwarded:
            address = self._find_client(",".join(forwarded))
            if address:
                scope["client"] = (address, 0)
            else:
                self._warn_once("forwarded_no_address", peer, "make the proxy send the client's address in X-Forwarded-For")
        elif not parse_address(peer):
            self._warn_once("client_address_unknown", peer, "make the proxy send the client's address in X-Forwarded-For")
        return has_trace

    def _find_client(self, forwarded: str) -> str:
        """Return the last address that is not a trusted proxy's: each proxy appends the address of its own peer.

        If all are trusted, the first one is the client. Returns "" if one of those that are read is no address.
        """
        address = ""
        for _ in range(MAX_HOPS):
            forwarded, comma, entry = forwarded.rpartition(",")
            address = parse_address(entry.strip())
            if not address or not comma or not self._judge(address)[1]:
                return address
        return ""

    def _look_for_proxy(self, headers: Headers, peer: str) -> None:
        """Warn if an untrusted peer seems to be a proxy."""
        for name, value in headers:
            # A server around an application that embeds us may have read the header: then the peer is in it.
            if name == b"x-forwarded-for" and peer.encode() not in value:
                self._warn_once("untrusted_proxy", peer, f"set {_SETTING}={peer} if that is your proxy")

    def _warn_once(self, event: str, peer: str, remedy: str) -> None:
        """Log an event once in this process. A peer on the internet is counted apart: any stranger can be one."""
        address = parse_address(peer)
        key = f"{event} of a stranger" if address and ipaddress.ip_address(address).is_global else event
        if key not in self._warned:
            self._warned.add(key)
            _log.warning(event, peer=peer, remedy=remedy)


def parse_address(text: str) -> str:
    """Return an address in its normal form, "" if `text` is none. A port may follow: `192.0.2.1:443`, `[2001:db8::1]:443`."""
    return _parse(text) if len(text) <= _MAX_LENGTH else ""


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> str:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
