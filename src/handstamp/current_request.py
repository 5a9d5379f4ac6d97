"""The request that this task answers: its ids, for log lines and answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:=+@-]{1,128}")
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_MAX_TRACEPARENT = 512
Headers = Iterable[tuple[bytes, bytes]]
"""The header fields of a request (ASGI)."""


class CurrentRequest:
    """One request.

    Attributes:
        id: In the answer's `X-Request-ID`, in problems and in all log lines of the request.
        has_trusted_trace: Whether a trusted proxy sends its `traceparent`, which then decides whether it is recorded.
        is_traced: False if it is certain that no span is recorded in it.
    """

    __slots__ = ("_headers", "_trace_id", "has_trusted_trace", "id", "is_traced")

    def __init__(self, request_id: str, headers: Headers, has_trusted_trace: bool = False, *, is_traced: bool = True) -> None:
        """Take the id and the header fields."""
        self.id: str = request_id
        self.has_trusted_trace: bool = has_trusted_trace
        self.is_traced: bool = is_traced
        self._headers = headers
        self._trace_id: str | None = None

    @property
    def trace_id(self) -> str:
        """The id of the trace that the request belongs to (W3C Trace Context §3.2.2.3); "" if it belongs to none.

        It is read when it is first needed. Most requests log nothing.
        """
        if self._trace_id is None:
            traceparent = parse_traceparent(self._headers)
            self._trace_id = "" if traceparent is None else traceparent[0]
        return self._trace_id

    @trace_id.setter
    def trace_id(self, trace_id: str) -> None:
        self._trace_id = trace_id


CURRENT: ContextVar[CurrentRequest | None] = ContextVar("handstamp_request", default=None)


def describe_request() -> dict[str, str]:
    """Return the fields of the current request for log lines: `request_id`, and `trace_id` if it belongs to a trace."""
    request = CURRENT.get()
    if request is None:
        return {}
    described = {"request_id": request.id}
    if request.trace_id:
        described["trace_id"] = request.trace_id
    return described


def find_request_id(headers: Headers) -> str:
    """Return the id that a proxy has given to a request with `X-Request-ID`; "" without exactly one that may be used."""
    found = [value for name, value in headers if name == b"x-request-id"]
    return found[0].decode("ascii") if len(found) == 1 and _REQUEST_ID.fullmatch(found[0]) else ""


def parse_traceparent(headers: Headers) -> tuple[str, str, int] | None:
    """Return trace id, parent id and flags of the one `traceparent` of a request; None if there is none that is valid.

    Later versions may append fields, which are ignored (W3C Trace Context §3.2.4).
    """
    found = [value for name, value in headers if name == b"traceparent"]
    if len(found) != 1 or len(found[0]) > _MAX_TRACEPARENT:
        return None
    match = _TRACEPARENT.fullmatch(found[0])
    if match is None or (match[4] and found[0].startswith(b"00")):
        return None
    return match[1].decode("ascii"), match[2].decode("ascii"), int(match[3], 16)
