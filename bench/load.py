"""Generate load with many light HTTP clients in this process.

A client is a function that returns its next operation, or None when it is finished. An operation is a generator: it yields the
bytes of a request and receives the `Answer`, any number of times. So a sign-in can take five requests, and a chain of refreshes
always sends its newest token:

    def refresh(session: Session) -> Operation:
        answer = yield post(b"/refresh", {"refreshToken": session.refresh})
        if answer.status == 200:
            session.refresh = answer.json()["refreshToken"]

    measured = run(port, {"refresh": [partial(refresh, session) for session in sessions]}, seconds=3)["refresh"]

The loop is closed: each client has one open connection and one request in flight. The clients of all groups run concurrently.
If an operation yields a number, it pauses for that many seconds; `math.inf` keeps the connection open without further requests.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import resource
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import uvloop

from .report import percentile
from .wire import Answer, has_length, parse_answer

LOST = 0
"""The status of a lost answer: the connection was refused, or closed before the answer was complete."""
_CONNECTING = 128
_LAST_ANSWERS_S = 30.0
_RECONNECT_AFTER_S = 0.02


Operation = Generator[bytes | float, Answer, Any]
"""Yields requests and pauses, and receives the answers. It may return a status that replaces the last answer's."""
Client = Callable[[], Operation | None]


class Measured(NamedTuple):
    """The results of one group of clients."""

    seconds: float
    latencies_s: Sequence[float]
    """Latencies of successful operations: from the first byte sent to the last answer, with pauses."""
    failed: Mapping[int, int]
    """Number of failed operations by status: 400 or more, or `LOST`."""
    ended: int
    """Number of all operations, with those of the warm-up."""

    @property
    def rate(self) -> float:
        """Return the successful operations per second."""
        return len(self.latencies_s) / self.seconds

    def ms(self, percent: int) -> float:
        """Return a percentile of the latencies in milliseconds, or NaN if no operation succeeded."""
        return percentile(self.latencies_s, percent) * 1000 if self.latencies_s else math.nan

    def join(self, other: Measured) -> Measured:
        """Return two rounds combined."""
        failed = Counter(self.failed) + Counter(other.failed)
        seconds, latencies_s = self.seconds + other.seconds, [*self.latencies_s, *other.latencies_s]
        return Measured(seconds, latencies_s, failed, self.ended + other.ended)


def run(
    port: int, groups: Mapping[str, Sequence[Client]], *, seconds: float = math.inf, warm_up_s: float = 0
) -> dict[str, Measured]:
    """Run all clients against `localhost:port` and return the results of each group.

    All clients connect, run for `warm_up_s` without being counted, then for `seconds` or until all have finished. At the end,
    pending answers are awaited and passed to their operations, but not counted. If an operation raises, the whole run ends.
    """
    allow_many_files()
    return uvloop.run(_run(port, groups, seconds, warm_up_s))


def once(port: int, *operations: Operation) -> None:
    """Run operations concurrently, each on its own connection."""

    def alone(operation: Operation) -> Client:
        left = [operation]
        return lambda: left.pop() if left else None

    run(port, {"": [alone(operation) for operation in operations]})


def allow_many_files() -> None:
    """Raise the limit of open files to the maximum, for this process and those that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cores() -> tuple[int, int]:
    """Return the core for the server and the core for the clients: the same one if there is only one."""
    mine = sorted(os.sched_getaffinity(0))
    return mine[0], mine[-1]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Pin this process to one core inside the block; processes started there stay pinned."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class _Crowd:
    """State that all clients of a run share."""

    def __init__(self, port: int, connecting: asyncio.Semaphore) -> None:
        self.port = port
        self.connecting = connecting
        self.measuring = False
        self.stopped = False
        self.problem: BaseException | None = None
        self.left = 0
        self.all_left = asyncio.Event()
        self._addresses = itertools.count(1)

    def next_address(self) -> tuple[str, int] | None:
        """Return an address of this machine for one client, as people have different ones; None where there is only one."""
        number = next(self._addresses)
        return (f"127.{1 + (number >> 14)}.{number >> 7 & 127}.{1 + (number & 127)}", 0) if sys.platform == "linux" else None

    def gone(self, problem: BaseException | None = None) -> None:
        self.problem = self.problem or problem
        self.left -= 1
        if self.left == 0 or problem:
            self.all_left.set()


class _Group:
    """The counters of one group."""

    def __init__(self) -> None:
        self.latencies_s = array("d")
        self.failed: Counter[int] = Counter()
        self.ended = 0


class _Connection(asyncio.Protocol):
    """One client: its connection and its current operation."""

    def __init__(self, crowd: _Crowd, group: _Group, client: Client) -> None:
        self._crowd = crowd
        self._group = group
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._address = crowd.next_address()
        self._operation: Operation | None = None
        self._transport: asyncio.Transport | None = None
        self._closed_here = 0
        """Number of connections closed here whose `connection_lost` has not been called yet."""
        self._buffer = b""
        self._waiting = b""
        """The request whose answer is pending."""
        self._began = 0.0
        self._status = LOST
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Connect, and send the waiting request, if there is one."""
        try:
            async with self._crowd.connecting:
                await self._loop.create_connection(lambda: self, "127.0.0.1", self._crowd.port, local_addr=self._address)
        except OSError:
            await asyncio.sleep(_RECONNECT_AFTER_S)
            self._report_lost()
            return
        if self._waiting and self._transport:
            self._transport.write(self._waiting)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # a stream's
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        try:
            found = parse_answer(self._buffer)
        except ValueError as problem:
            self._leave(problem)
            return
        if found is None:
            return
        answer, size = found
        self._buffer = self._buffer[size:]
        if b"\r\nconnection: close" in answer.head.lower():
            self._close()
        self._handle_answer(answer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        if self._closed_here:  # and perhaps reconnected since
            self._closed_here -= 1
            return
        self._transport = None
        if self._waiting:
            head, _, body = self._buffer.partition(b"\r\n\r\n")
            if body and not has_length(head):
                self._handle_answer(Answer(int(head[9:12]), head, body))
            else:
                self._report_lost()

    def start(self) -> None:
        """Start the next operation."""
        self._status = LOST
        self._began = time.perf_counter()
        try:
            self._operation = None if self._crowd.stopped else self._client()
            if self._operation is None:
                self._leave()
            else:
                self._go(next(self._operation))
        except StopIteration:
            self._loop.call_soon(self.start)
        except Exception as problem:  # noqa: BLE001 - `run` raises it
            self._leave(problem)

    def _go(self, step: bytes | float) -> None:
        if isinstance(step, bytes):
            self._waiting = step
            if self._transport:
                self._transport.write(step)
            else:
                task = self._loop.create_task(self.connect())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        elif step != math.inf:
            self._loop.call_later(step, self._handle_answer, Answer(self._status, b"", b""))

    def _report_lost(self) -> None:
        if self._waiting:
            self._handle_answer(Answer(LOST, b"", b""))

    def _handle_answer(self, answer: Answer) -> None:
        self._waiting = b""
        self._status = answer.status
        if self._operation is None:
            return
        try:
            step = self._operation.send(answer)
        except StopIteration as end:
            self._status = end.value or self._status
            self._group.ended += 1
            if self._crowd.measuring:
                self._count()
            self.start()
        except Exception as problem:  # noqa: BLE001 - `run` raises it
            self._leave(problem)
        else:
            if self._crowd.stopped:
                self._leave()
            else:
                self._go(step)

    def _count(self) -> None:
        if 200 <= self._status < 400:
            self._group.latencies_s.append(time.perf_counter() - self._began)
        else:
            self._group.failed[self._status] += 1

    def stop(self) -> None:
        """Stop this client: now, or after its pending answer."""
        if not self._waiting and self._operation is not None:
            self._leave()

    def _leave(self, problem: BaseException | None = None) -> None:
        operation, self._operation, self._waiting = self._operation, None, b""
        if operation is not None:
            operation.close()
        self._close()
        self._crowd.gone(problem)

    def _close(self) -> None:
        if self._transport:
            self._closed_here += 1
            self._transport.close()
            self._transport = None


async def _run(port: int, groups: Mapping[str, Sequence[Client]], seconds: float, warm_up_s: float) -> dict[str, Measured]:
    crowd = _Crowd(port, asyncio.Semaphore(_CONNECTING))
    counted = {name: _Group() for name in groups}
    connections = [_Connection(crowd, counted[name], client) for name, clients in groups.items() for client in clients]
    crowd.left = len(connections)
    await asyncio.gather(*(one.connect() for one in connections))
    crowd.measuring = not warm_up_s
    for one in connections:
        one.start()
    if warm_up_s:
        await _wait_for(crowd.all_left, warm_up_s)
    crowd.measuring, began = True, time.perf_counter()
    await _wait_for(crowd.all_left, seconds)
    took = time.perf_counter() - began
    crowd.measuring, crowd.stopped = False, True
    if not crowd.all_left.is_set():
        for one in connections:
            one.stop()
        await _wait_for(crowd.all_left, _LAST_ANSWERS_S)
    if crowd.problem:
        raise crowd.problem
    return {name: Measured(took, group.latencies_s, group.failed, group.ended) for name, group in counted.items()}


async def _wait_for(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), None if seconds == math.inf else seconds)
    except TimeoutError:
        return
