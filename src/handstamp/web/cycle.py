"""One request with its answer, as the server sees it. uvicorn checks and writes the head of an answer field by field."""

from __future__ import annotations

import functools
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

    _head = b""
    """A plain head that waits for its body, so that both are one write: a system call, and a packet that wakes the client."""
    expected_content_length: int

    async def send(self, message: Any) -> None:
        """Send a message (ASGI)."""
        if self._head:
            if self._write_whole(message):
                return
            self.transport.write(self._head)
            self._head = b""
        elif self._keep_head(message):
            return
        await super().send(message)

    def _keep_head(self, message: Any) -> bool:
        """Keep the head and return True if it is plain. It is not if a field may not be sent: uvicorn then raises the error."""
        if message["type"] != "http.response.start" or self.response_started or not self._can_go_on() or self.access_log:
            return False
        if self.scope["method"] == "HEAD":
            return False
        fields = [*self.default_headers, *message["headers"]]
        names, values = zip(*fields, strict=True)
        if not _are_plain(names) or b"".join(values).translate(None, _IN_VALUES):
            return False
        self.response_started = True
        self.waiting_for_100_continue = False
        self.chunked_encoding: bool | None = False
        self.expected_content_length = int(values[names.index(b"content-length")])
        self._head = STATUS_LINE[message["status"]] + b"\r\n".join(map(b": ".join, fields)) + b"\r\n\r\n"
        return True

    def _write_whole(self, message: Any) -> bool:
        """Write the head with the body and return True if the body is whole."""
        body = message.get("body", b"")
        is_whole = len(body) == self.expected_content_length and not message.get("more_body")
        if not is_whole or message["type"] != "http.response.body" or not self._can_go_on():
            return False
        self.response_complete = True
        self.transport.write(self._head + body)
        self._head = b""
        self.message_event.set()
        self.on_response()
        return True

    def _can_go_on(self) -> bool:
        return self.keep_alive and not self.flow.write_paused and not self.disconnected


@functools.lru_cache(maxsize=256)
def _are_plain(names: tuple[bytes, ...]) -> bool:
    """Return whether the names of an answer's fields can be sent, with one length. Answers of one kind have the same names."""
    is_valid = not b"".join(names).translate(None, _IN_NAMES)
    return is_valid and names.count(b"content-length") == 1 and _DECIDING.isdisjoint(names)
