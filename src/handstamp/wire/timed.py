"""Requests of `http.client` that end at a deadline, however slowly the other side sends."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Sequence
from typing import Any

from ..clock import monotonic_ms

Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""What `socket.getaddrinfo` returns for one address."""


def left_s(deadline_ms: int) -> float:
    """Return the seconds until a deadline. Raises `TimeoutError` after it."""
    left_ms = deadline_ms - monotonic_ms()
    if left_ms <= 0:
        raise TimeoutError("timed out")
    return left_ms / 1000


def open_socket(found: Sequence[Found], deadline_ms: int) -> socket.socket:
    """Connect to the first of these addresses that accepts. Each gets an equal part of the time that is left.

    Raises:
        OSError: None accepts before the deadline.
    """
    problem: OSError = TimeoutError("timed out")
    for tried, (family, kind, protocol, _name, place) in enumerate(found):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(left_s(deadline_ms) / (len(found) - tried))
            opened.connect(place)
            opened.settimeout(left_s(deadline_ms))
        except OSError as error:
            opened.close()
            problem = error
        else:
            return opened
    raise problem


class TimedResponse(http.client.HTTPResponse):
    """A response that must be complete before a deadline."""

    def __init__(self, deadline_ms: int, connection: socket.socket, *, max_bytes: int | None = None, **options: Any) -> None:
        """Create it.

        Args:
            deadline_ms: When it must be complete, by `monotonic_ms`.
            connection: The socket.
            max_bytes: How many bytes it may have with its headers and the frames of its chunks, None for any number.
            options: Those of `http.client.HTTPResponse`.
        """
        super().__init__(_Reader(connection, deadline_ms, max_bytes), **options)  # type: ignore[arg-type]  # only makefile() is called


class _Reader(io.RawIOBase):
    """Reads from a socket until a deadline. A socket's own timeout starts again with every byte that arrives."""

    def __init__(self, connection: socket.socket, deadline_ms: int, max_bytes: int | None) -> None:
        self._connection = connection
        self._file = connection.makefile("rb", buffering=0)  # keeps the socket open after `HTTPConnection` has closed it
        self._deadline_ms = deadline_ms
        self._left_bytes = max_bytes

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(left_s(self._deadline_ms))
        count = self._file.readinto(buffer)
        if self._left_bytes is not None:
            self._left_bytes -= count or 0
            if self._left_bytes < 0:
                raise OSError(None, "its answer is too large")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
