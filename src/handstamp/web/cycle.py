"""One request with its answer, as the server sees it. uvicorn checks and writes the head of an answer field by field."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_IN_NAMES = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
"""The bytes of field names in lower case (RFC 9110 §5.1)."""
_IN_VALUES = bytes(byte for byte in range(256) if byte == 0x09 or (byte >= 0x20 and byte != 0x7F))
"""The bytes of field values (RFC 9110 §5.5)."""
_DECIDING = frozenset({b"connection", b"transfer-encoding"})
"""The fields that decide how the connection goes on."""


class AnswerCycle(RequestResponseCycle):
    """Answers one request. Whatever is not plain is left to uvicorn: an answer without a length, a connection that ends."""

    @property
    def has_whole_body(self) -> bool:
        """Whether the body of the request has arrived to its end."""
        return not self.more_body

    chunked_encoding: bool | None
    expected_content_length: int

    async def send(self, message: Any) -> None:
        """Send a message (ASGI)."""
        kind = message["type"]
        if kind == "http.response.body" and self._write_body(message):
            return
        if kind != "http.response.start" or self.response_started or not self._write_head(message):
            await super().send(message)

    def _write_head(self, message: Any) -> bool:
        """Write the head and return True if it is plain. It is not if a field may not be sent: uvicorn then raises the error."""
        if not self.keep_alive or self.flow.write_paused or self.disconnected or self.access_log:
            return False
        fields = [*self.default_headers, *message["headers"]]
        names, values = zip(*fields, strict=True)
        if (
            names.count(b"content-length") != 1
            or not _DECIDING.isdisjoint(names)
            or b"".join(names).translate(None, _IN_NAMES)
            or b"".join(values).translate(None, _IN_VALUES)
        ):
            return False
        self.response_started = True
        self.waiting_for_100_continue = False
        self.chunked_encoding = False
        self.expected_content_length = int(values[names.index(b"content-length")])
        self.transport.write(STATUS_LINE[message["status"]] + b"\r\n".join(map(b": ".join, fields)) + b"\r\n\r\n")
        return True

    def _write_body(self, message: Any) -> bool:
        """Write the body and return True if it is whole and the connection goes on."""
        body = message.get("body", b"")
        if (
            self.chunked_encoding is not False
            or self.response_complete
            or len(body) != self.expected_content_length
            or message.get("more_body")
            or not self.keep_alive
            or self.flow.write_paused
            or self.disconnected
            or self.scope["method"] == "HEAD"
        ):
            return False
        self.transport.write(body)
        self.response_complete = True
        self.message_event.set()
        self.on_response()
        return True
