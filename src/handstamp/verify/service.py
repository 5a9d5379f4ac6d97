"""The three requests that a verifier sends to the service."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from urllib.parse import urlencode

import msgspec

from ..errors import Unavailable
from ..wire.basic import basic_authorization
from .connections import Connections
from .fetch import Document, fetch
from .status import ServiceRequest

MAX_WAIT_S = 5
"""Seconds for which the service may hold a request for the feed; it answers sooner if a session ends."""
MAX_JWKS_BYTES = 256 * 1024
_MAX_PAGE_BYTES = 8 * 1024 * 1024
_MAX_INTROSPECTION_BYTES = 64 * 1024


class Introspection(msgspec.Struct, frozen=True):
    """The service's answer about a token (RFC 7662 §2.2)."""

    active: bool
    sid: str = ""
    jti: str = ""


class RemoteService:
    """A service that is reached over HTTP."""

    def __init__(
        self, url: str, *, credential: str | None, timeout_s: float, wait_s: int, ca_file: str | os.PathLike[str] | None = None
    ) -> None:
        """Create it without sending a request.

        Args:
            url: The service's base URL, without a slash at its end.
            credential: `"ID:SECRET"`, or None to fetch keys alone.
            timeout_s: Seconds until a request fails; a request for the feed may take `wait_s` longer.
            wait_s: Seconds for which the service may hold a request for the feed.
            ca_file: A PEM file with the only authorities to trust, by default those of the system.

        Raises:
            ConfigurationError: The credential is malformed, or the file holds no certificate.
        """
        self.wait_s = wait_s
        self.time_request: Callable[[ServiceRequest], AbstractContextManager[object]] = nullcontext
        self._url, self._ca_file = url, ca_file
        self.forget_connections()
        self._authorization = None if credential is None else basic_authorization(credential)
        self._timeout_s = timeout_s

    def forget_connections(self) -> None:
        """Open new connections from now on: those of a parent process must not be used by its child."""
        self._connections = Connections(self._url, ca_file=self._ca_file)

    def fetch_keys(self) -> Document:
        """Return the JWKS of the issuer."""
        with self.time_request("jwks"):
            return fetch(self._connections, "/.well-known/jwks.json", timeout_s=self._timeout_s, limit=MAX_JWKS_BYTES)

    def fetch_page(self, cursor: str) -> bytes:
        """Return the page of the revocation feed after `cursor`."""
        query = urlencode({"after": cursor, "wait": self.wait_s})
        with self.time_request("revocations"):
            return fetch(
                self._connections,
                f"/revocations?{query}",
                timeout_s=self.wait_s + self._timeout_s,
                limit=_MAX_PAGE_BYTES,
                authorization=self._authorization,
            ).body

    def introspect(self, token: str) -> Introspection:
        """Return whether an access token is valid at the service."""
        with self.time_request("introspect"):
            answer = fetch(
                self._connections,
                "/introspect",
                timeout_s=self._timeout_s,
                limit=_MAX_INTROSPECTION_BYTES,
                authorization=self._authorization,
                form={"token": token},
                more_headers=_describe_trace(),
            )
        try:
            return msgspec.json.decode(answer.body, type=Introspection)
        except (msgspec.MsgspecError, RecursionError):
            raise Unavailable("the service's answer to /introspect is malformed") from None


def _describe_trace() -> dict[str, str]:
    """Return the `traceparent` of the current span, if the application uses OpenTelemetry (W3C Trace Context §3.2).

    It is not imported here: without it in the process there is no span.
    """
    trace = sys.modules.get("opentelemetry.trace")
    context = None if trace is None else trace.get_current_span().get_span_context()
    if context is None or not context.is_valid:
        return {}
    return {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}
