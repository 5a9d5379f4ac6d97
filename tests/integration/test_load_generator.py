"""Tests of the benchmarks' load generator against a real server. Its figures are right only if it parses every answer."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from functools import partial
from threading import Thread

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bench.load import LOST, Operation, once, run
from bench.wire import Answer, get, parse_answer, post

pytestmark = pytest.mark.slow


async def _echo(request: Request) -> Response:
    return JSONResponse(await request.json(), 201)


async def _pieces(_: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"piece %d;" % number

    return StreamingResponse(pieces())


async def _nothing(_: Request) -> Response:
    return Response(status_code=204)


async def _last(_: Request) -> Response:
    return Response(b"bye", headers={"Connection": "close"})


@pytest.fixture
def port() -> Iterator[int]:
    """Yield the port of a server that uses every kind of HTTP answer."""
    application = Starlette(
        routes=[
            Route("/echo", _echo, methods=["POST"]),
            Route("/pieces", _pieces),
            Route("/nothing", _nothing),
            Route("/last", _last),
        ]
    )
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off"))
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def test_operations_get_complete_answers(port: int) -> None:
    """One client reads answers with a length, in chunks, without a body, and on a connection that the server closes."""
    seen: list[Answer] = []

    def everything() -> Operation:
        for step in (post(b"/echo", {"a": "é"}), get(b"/pieces"), get(b"/nothing"), get(b"/last"), get(b"/pieces")):
            answer = yield step
            seen.append(answer)

    once(port, everything())

    assert [answer.status for answer in seen] == [201, 200, 204, 200, 200]
    assert [answer.body for answer in seen] == [
        '{"a":"é"}'.encode(),
        b"piece 0;piece 1;piece 2;",
        b"",
        b"bye",
        b"piece 0;piece 1;piece 2;",
    ]
    assert seen[0].json() == {"a": "é"}
    assert seen[0].headers(b"content-type") == [b"application/json"]


def test_every_client_runs_to_completion(port: int) -> None:
    """Three hundred concurrent clients each complete five operations, one of which fails."""

    def client(left: list[bytes]) -> Operation | None:
        def operation(path: bytes) -> Operation:
            yield 0.001
            yield get(path)

        return operation(left.pop()) if left else None

    paths = [b"/nothing", b"/pieces", b"/missing", b"/last", b"/pieces"]
    measured = run(port, {"crowd": [partial(client, paths.copy()) for _ in range(300)]})["crowd"]

    assert len(measured.latencies_s) == 1200
    assert measured.failed == {404: 300}


def test_a_timed_run_loses_no_answer(port: int) -> None:
    """The last answer is delivered to its operation. Otherwise a chain of refreshes would lose its newest token."""
    numbers = [0] * 8

    def count(client: int) -> Operation:
        answer = yield post(b"/echo", numbers[client] + 1)
        assert answer.json() == numbers[client] + 1
        numbers[client] = answer.json()

    measured = run(port, {"chains": [partial(count, client) for client in range(8)]}, seconds=0.3, warm_up_s=0.1)["chains"]

    assert not measured.failed
    assert len(measured.latencies_s) <= sum(numbers)


def test_an_unreachable_server_counts_as_lost_answers() -> None:
    """A missing server counts as a lost answer, not as an error of the run, because runs may kill servers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    def nobody() -> Operation:
        yield get(b"/")

    measured = run(port, {"nobody": [nobody]}, seconds=0.1)["nobody"]

    assert list(measured.failed) == [LOST]


def test_a_problem_in_an_operation_ends_the_run(port: int) -> None:
    """An exception in an operation ends the run: a benchmark must not continue after an unexpected answer."""

    def wrong() -> Operation:
        answer = yield get(b"/pieces")
        raise ValueError(answer.status)

    with pytest.raises(ValueError, match="200"):
        run(port, {"wrong": [wrong]}, seconds=5)


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;note=x\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding:chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length:5\r\nX: y\r\n\r\nhello",
    ],
)
def test_an_answer_is_complete_at_its_last_byte(text: bytes) -> None:
    """An answer is complete at its last byte and not before, in whatever pieces it arrives (RFC 9112 §6.3, §7.1)."""
    assert [parse_answer(text[:size]) for size in range(len(text))] == [None] * len(text)
    found = parse_answer(text + b"HTTP/1.1 2")
    assert found is not None
    assert (found[0].status, found[0].body, found[1]) == (200, b"hello", len(text))


def test_malformed_http_is_refused() -> None:
    """An answer that is not HTTP raises an error at once; the client does not wait for more."""
    with pytest.raises(ValueError, match="no HTTP"):
        parse_answer(b"SSH-2.0-OpenSSH\r\n\r\n")
