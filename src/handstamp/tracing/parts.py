"""Spans for hashing, for mail, and for requests to other servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind, Tracer

from ..outbound.client import Outbound
from ..outbound.response import Response
from ..service.mailing.delivery import Connection, DeliveryFailed, Message, Transport
from ..service.parts.hashing import Hashing
from .spans import in_inner_span, in_span

_T = TypeVar("_T")


class TracedHashing(Hashing):
    """Hashes in spans, which include the wait for a thread."""

    def __init__(self, *arguments: Any, tracer: Tracer, **options: Any) -> None:
        """Create it as a `Hashing`."""
        super().__init__(*arguments, **options)
        self._tracer = tracer

    async def hash(self, password: str, *, ip: str = "", device: str = "") -> str:
        """Hash as `Hashing` does."""
        with in_inner_span(self._tracer, "hash password", {"handstamp.hashing_waiting": self.waiting}):
            return await super().hash(password, ip=ip, device=device)

    async def matches(self, password_hash: str | None, password: str, *, ip: str = "", device: str = "") -> bool:
        """Compare as `Hashing` does."""
        with in_inner_span(self._tracer, "verify password", {"handstamp.hashing_waiting": self.waiting}):
            return await super().matches(password_hash, password, ip=ip, device=device)


class TracedTransport:
    """Implements `handstamp.service.mailing.delivery.Transport` by another one."""

    def __init__(self, transport: Transport, tracer: Tracer) -> None:
        """Wrap a transport."""
        self._transport = transport
        self._tracer = tracer

    async def connect(self) -> Connection:
        """Connect in a span."""
        with in_span(self._tracer, "mail connect", kind=SpanKind.CLIENT) as span:
            try:
                return _TracedConnection(await self._transport.connect(), self._tracer)
            except DeliveryFailed as failed:
                span.set_attribute("handstamp.mail_stage", failed.stage)
                raise


class _TracedConnection:
    """Implements `handstamp.service.mailing.delivery.Connection` by another one."""

    def __init__(self, connection: Connection, tracer: Tracer) -> None:
        self._connection = connection
        self._tracer = tracer

    async def send(self, message: Message) -> None:
        """Send a message in a span."""
        with in_span(self._tracer, "mail send", kind=SpanKind.CLIENT) as span:
            try:
                await self._connection.send(message)
            except DeliveryFailed as failed:
                span.set_attribute("handstamp.mail_stage", failed.stage)
                raise

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()


class TracedOutbound(Outbound):
    """Sends requests in spans, without `traceparent`. A span names only the host: a path or a query may be a secret."""

    def __init__(self, *, tracer: Tracer, **options: Any) -> None:
        """Create it as an `Outbound`."""
        super().__init__(**options)
        self._tracer = tracer

    async def exchange(self, method: str, url: str, *arguments: Any, read: Callable[[Response], _T], **options: Any) -> _T:
        """Do as `Outbound.exchange`, in a span."""
        attributes = {"http.request.method": method, "server.address": urlsplit(url).hostname or ""}
        with in_span(self._tracer, method, kind=SpanKind.CLIENT, attributes=attributes) as span:

            def read_and_look(response: Response) -> _T:
                span.set_attribute("http.response.status_code", response.status)
                return read(response)

            return await super().exchange(method, url, *arguments, read=read_and_look, **options)
