"""The head of an answer: our server writes what uvicorn would, and refuses what uvicorn refuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from handstamp.web.cycle import AnswerCycle

Fields = list[tuple[bytes, bytes]]
JSON: Fields = [(b"content-length", b"2"), (b"content-type", b"application/json")]


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.is_closed = True


def answer(
    kind: type[RequestResponseCycle],
    fields: Fields,
    *,
    status: int,
    method: str,
    keep_alive: bool,
    messages: Sequence[str] = (),
    pieces: Sequence[bytes] = (b"{}",),
) -> list[Any]:
    """Return what a cycle writes for an answer, and what it raises."""
    wire = Wire()
    transport = cast("asyncio.Transport", wire)
    log = logging.getLogger("unused")
    cycle = kind(
        scope=cast("Any", {"type": "http", "method": method}),
        transport=transport,
        flow=FlowControl(transport),
        logger=log,
        access_logger=log,
        access_log=False,
        default_headers=[(b"date", b"Sat, 28 Nov 2026 13:44:54 GMT")],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )

    async def send() -> None:
        for name in messages:
            await cycle.send(cast("Any", {"type": f"http.response.{name}", "status": status, "headers": fields}))
        if not messages:
            await cycle.send({"type": "http.response.start", "status": status, "headers": fields})
            for number, piece in enumerate(pieces, start=1):
                await cycle.send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})

    try:
        asyncio.run(send())
    except RuntimeError as refused:
        return [str(refused), b"".join(wire.written)]
    if kind is AnswerCycle and fields == JSON and method == "GET" and keep_alive and pieces == (b"{}",):
        assert len(wire.written) == 1, "a plain answer is one write"
    return [b"".join(wire.written), wire.is_closed, cycle.response_complete]


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize(
    ("method", "status", "fields"),
    [
        ("GET", 200, JSON),
        ("POST", 503, [*JSON, (b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2"), (b"x-empty", b"")]),
        ("HEAD", 200, JSON),
        ("GET", 204, []),
        ("GET", 200, [(b"content-type", b"text/html")]),
        ("GET", 200, [*JSON, (b"connection", b"close")]),
        ("GET", 200, [*JSON, (b"Connection", b"close")]),
        ("GET", 200, [(b"transfer-encoding", b"chunked")]),
        ("GET", 200, [(b"Content-Length", b"2")]),
        ("GET", 200, [(b"content-length", b"2"), (b"content-length", b"1")]),
        ("GET", 200, [(b"content-length", b"1")]),
        ("GET", 200, [*JSON, (b"x-tab", b"a\tb"), (b"x-latin", "é".encode("latin-1"))]),
    ],
)
def test_an_answer_has_the_bytes_that_uvicorn_would_write(method: str, status: int, fields: Fields, keep_alive: bool) -> None:
    """Also if the connection ends, if the length is unknown or wrong, and if there is no body."""
    mine, theirs = (
        answer(kind, list(fields), status=status, method=method, keep_alive=keep_alive)
        for kind in (AnswerCycle, RequestResponseCycle)
    )
    assert mine == theirs


@pytest.mark.parametrize("byte", [*range(0x20), 0x7F])
def test_no_field_ends_the_head(byte: int) -> None:
    """Neither a name nor a value can have a control character (response splitting), except for a tab in a value."""
    for field in ((b"x-a%cb" % byte, b"c"), (b"x-a", b"b%cc" % byte)):
        mine, theirs = (
            answer(kind, [*JSON, field], status=200, method="GET", keep_alive=True)
            for kind in (AnswerCycle, RequestResponseCycle)
        )
        assert mine == theirs
        assert mine[0] in ("Invalid HTTP header name.", "Invalid HTTP header value.") or (byte == 0x09 and field[0] == b"x-a")


def test_no_answer_begins_or_ends_twice() -> None:
    """Not even an empty one."""
    for messages in (("start", "start"), ("start", "body", "body"), ("start", "body", "start")):
        mine, theirs = (
            answer(kind, [(b"content-length", b"0")], status=200, method="GET", keep_alive=True, messages=messages)
            for kind in (AnswerCycle, RequestResponseCycle)
        )
        assert mine == theirs
        assert "ASGI message" in mine[0]


@pytest.mark.parametrize("pieces", [(b"{", b"}"), (b"", b"{}"), (b"{}", b""), (b"{", b"}}"), (b"{", b"")])
def test_a_body_may_come_in_pieces(pieces: tuple[bytes, ...]) -> None:
    """Its head goes out with the first one, and a wrong length is an error."""
    mine, theirs = (
        answer(kind, list(JSON), status=200, method="GET", keep_alive=True, pieces=pieces)
        for kind in (AnswerCycle, RequestResponseCycle)
    )
    assert mine == theirs
