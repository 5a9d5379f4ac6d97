"""How long a connection stays open: with a virtual clock, in which no second passes by itself."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, cast

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from handstamp.web.idle import IDLE_CLOSINGS
from handstamp.web.protocol import Protocol
from handstamp.web.server import uvicorn_config

HEAD = b"%s / HTTP/1.1\r\nHost: x\r\n%s\r\n"
GET = HEAD % (b"GET", b"")
POST = HEAD % (b"POST", b"Content-Length: 4\r\n")
REQUEST_S, IDLE_S = 30, 75
_peers = count(1)


class Clock:
    """The clock and the timers of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now_s = 1000.0
        self.timers: list[Timer] = []
        self.create_task = loop.create_task

    def time(self) -> float:
        return self.now_s

    def call_at(self, when_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self, when_s, call)
        heapq.heappush(self.timers, timer)
        return timer

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and call what is due."""
        end_s = self.now_s + seconds
        while self.timers and self.timers[0].when_s <= end_s:
            timer = heapq.heappop(self.timers)
            self.now_s = timer.when_s
            timer.call()
        self.now_s = end_s


class Timer:
    """A timer of an event loop."""

    def __init__(self, clock: Clock, when_s: float, call: Callable[[], None]) -> None:
        self.clock, self.when_s, self.call = clock, when_s, call

    def __lt__(self, other: Timer) -> bool:
        return self.when_s < other.when_s

    def when(self) -> float:
        return self.when_s

    def cancel(self) -> None:
        self.clock.timers.remove(self)
        heapq.heapify(self.clock.timers)


class Client(asyncio.Transport):
    """The other end of a connection to a server that answers each request at once."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.peer = f"192.0.2.{next(_peers)}"
        super().__init__({"peername": (self.peer, 50_000)})
        self._runner = runner
        self.clock, self.answers, self.is_closed = Clock(runner.get_loop()), b"", False
        config = uvicorn_config(answer, request_timeout_s=REQUEST_S, keep_alive_s=IDLE_S)
        config.load()
        self.server = Protocol(config, ServerState(), {}, _loop=cast("asyncio.AbstractEventLoop", self.clock))
        self.server.connection_made(self)

    def send(self, data: bytes) -> None:
        self.server.data_received(data)
        self._runner.run(asyncio.sleep(0))  # the answer is sent by a task that does not wait

    def write(self, data: Any) -> None:
        self.answers += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def assert_closes_after(self, seconds: float) -> None:
        self.clock.pass_time(seconds - 1)
        assert not self.is_closed
        self.clock.pass_time(1)
        assert self.is_closed


@pytest.fixture
def client() -> Iterator[Client]:
    """Connect."""
    with asyncio.Runner() as runner:
        yield Client(runner)


async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
    """Answer."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_a_client_must_begin_a_request(client: Client, sent: bytes) -> None:
    """Blank lines before a request (RFC 9112 §2.2) are no beginning."""
    client.send(sent)
    client.assert_closes_after(REQUEST_S)
    assert client.answers == b""
    assert IDLE_CLOSINGS.of(client.peer) == 0


def test_an_idle_connection_is_closed_and_counted(client: Client) -> None:
    """Each request postpones it, and none leaves a timer behind."""
    for _ in range(5):
        client.send(GET)
        client.clock.pass_time(IDLE_S - 1)
        assert len(client.clock.timers) == 1
    client.send(GET)
    client.assert_closes_after(IDLE_S)
    assert client.answers.count(b"HTTP/1.1 200") == 6
    assert IDLE_CLOSINGS.of(client.peer) == 1


def test_a_request_must_be_complete_in_time_from_its_first_byte(client: Client) -> None:
    """Further pieces win no time, and that the connection could have been idle for longer neither."""
    client.send(GET)
    client.clock.pass_time(10)
    client.send(GET[:5])
    client.clock.pass_time(REQUEST_S - 5)
    client.send(GET[5:10])
    client.assert_closes_after(5)
    assert b"HTTP/1.1 408" in client.answers


def test_a_connection_is_idle_when_the_rest_of_an_answered_request_has_come(client: Client) -> None:
    """The answer may come before the body."""
    client.send(POST)
    assert client.answers.startswith(b"HTTP/1.1 200")
    client.clock.pass_time(REQUEST_S - 1)
    client.send(b"body")
    client.assert_closes_after(IDLE_S)
    assert IDLE_CLOSINGS.of(client.peer) == 1
