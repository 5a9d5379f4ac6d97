"""HTTP/1.1 on a connection, as uvicorn speaks it, with a bound to what it reads and one packet an answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_HEAD_BYTES = 64 * 1024


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with a limit to what it reads before a request's headers are complete (ASVS 4.2.5)."""

    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, on a transport that joins what belongs together."""
        self._joining = _Joining(transport)
        super().connection_made(cast("asyncio.Transport", self._joining))

    def data_received(self, data: bytes) -> None:
        """Read on, or refuse."""
        super().data_received(data)
        scope: dict[str, Any] | None = cast("dict[str, Any] | None", self.scope)
        is_in_head = scope is not None and "method" not in scope  # which is known once the headers are complete
        self._head_bytes = self._head_bytes + len(data) if is_in_head else 0
        if self._head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers are too large.")

    def on_response_complete(self) -> None:
        """Send the head of an answer that has no body."""
        self._joining.flush()
        super().on_response_complete()


class _Joining:
    """A transport that holds the head of an answer until its body comes, and sends both at once.

    uvicorn writes them one after the other: two system calls, two packets, and a client that is woken twice. That took longer
    than everything else about an answer.
    """

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Hold a head; send anything else, behind what is held."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100"):
            self._head = data
            return
        self._transport.write(data)

    def is_closing(self) -> bool:
        """Say whether it is closed, or about to be."""
        return self._transport.is_closing()

    def flush(self) -> None:
        """Send what is held."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Send what is held, and close."""
        self.flush()
        self._transport.close()
