"""Measure what it costs to be watched: refreshes and profiles with metrics, and with metrics and traces, beside a plain service.

What is added is measured in this process, where all services take turns of some milliseconds, so that the figures hold on a
machine that others use too. Requests come as bytes through the protocol of the server; only the sockets are left out. What a
whole request costs is measured at a real service.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from uvicorn.server import ServerState

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.assemble.tracing import NO_TRACING, Tracing
from handstamp.config.loading import without_environment
from handstamp.config.logs import configure_logging
from handstamp.tracing.requests import DecidedIds
from handstamp.web.protocol import Protocol
from handstamp.web.server import uvicorn_config

from .load import run
from .people import Person, Seen, clients, profile, refresh, run_town, settle
from .report import AsJson, Cell, Promise, Table, progress, quartiles, show
from .service import temporary_folder
from .wire import Answer, bearer, get, parse_answer, post

_CLIENTS = 16
_RECORDED = 0.01
_WHOLE_S = 3.0
_PLAIN, _METRICS, _ALL = "plain", "metrics", "metrics and traces"
_PROMISED = (("refresh", _METRICS, 2), ("refresh", _ALL, 5), ("profile", _ALL, 5))
"""What may be how many percent dearer, and with what."""
_COLUMNS = ("", "", "µs", "more, µs", "lower quartile", "upper quartile", "% of a request")
_COMMON: dict[str, object] = {"issuer": "http://localhost:8000", "people_per_network": 10_000_000}
Way = Callable[[Person], Generator[bytes, Answer, None]]


def main(
    *,
    rounds: Annotated[int, typer.Option(help="How many turns each service takes.", min=4)] = 2000,
    as_json: AsJson = False,
) -> None:
    """Print by how much a refresh and a profile are dearer."""
    configure_logging(logging.WARNING)
    with temporary_folder() as folder:
        turns = uvloop.run(_measure(folder, rounds))
    whole_us = _measure_whole()
    rows: list[tuple[Cell, ...]] = []
    more: dict[tuple[str, str], float] = {}
    for (kind, name), mine in turns.items():
        lower, median, upper = quartiles([one - plain for one, plain in zip(mine, turns[kind, _PLAIN], strict=True)])
        more[kind, name] = 100 * median / whole_us[kind]
        compared: tuple[Cell, ...] = (median, lower, upper, more[kind, name])
        if name == _PLAIN:
            compared = ("", "", "", f"{whole_us[kind]:.0f} µs")
        rows.append((kind if name == _PLAIN else "", name, quartiles(mine)[1], *compared))
    show(
        "watched",
        notes=(
            f"Processor time of the event loop for one of {_CLIENTS} requests at once; medians of {rounds} turns.",
            f"One request in {1 / _RECORDED:.0f} is recorded as a trace.",
        ),
        tables=(Table("Being watched", _COLUMNS, rows),),
        promises=[
            Promise(f"{kind} with {name}", f"{more[kind, name]:.1f} % more", f"≤ {most} %", more[kind, name] <= most)
            for kind, name, most in _PROMISED
        ],
        packages=("prometheus-client", "opentelemetry-sdk"),
        as_json=as_json,
    )


def _measure_whole() -> dict[str, float]:
    """Return the microseconds of the processor that a real service takes for one operation."""
    found = {}
    with run_town(_CLIENTS) as town:
        for kind, way in {"refresh": refresh, "profile": profile}.items():
            before_s = town.service.processor_s()
            seen = run(town.port, {"": clients(way, town.people, Seen(), count=_CLIENTS)}, seconds=_WHOLE_S)[""]
            found[kind] = 1e6 * (town.service.processor_s() - before_s) / seen.ended
    return found


async def _measure(folder: Path, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Return the microseconds of each turn, by operation and service. Turns with one number were one after the other."""
    async with AsyncExitStack() as stack:
        services = {
            name: await _run(stack, folder / f"{number}.db", name) for number, name in enumerate((_PLAIN, _METRICS, _ALL))
        }
        gc.freeze()
        turns: dict[tuple[str, str], list[float]] = {}
        ways: Mapping[str, Way] = {"refresh": _refresh, "profile": _profile}
        for kind, way in ways.items():
            progress(f"being watched: {kind}")
            turns |= {(kind, name): [] for name in services}
            for number in range(rounds):
                # Each comes after each other equally often, and never after itself: the processor's caches would be its own.
                first, *others = services
                for name in (first, *others[:: -1 if number % 2 else 1]):
                    turns[kind, name].append(await _turn(services[name], way))
        return turns


async def _run(stack: AsyncExitStack, database: Path, name: str) -> Sequence[_Client]:
    """Run a service, and return its clients."""
    settings = _COMMON if name == _PLAIN else _COMMON | {"metrics_address": "credential"}
    running = Deployment(
        without_environment(database=f"sqlite:///{database}", **settings), tracing=_trace() if name == _ALL else NO_TRACING
    )
    await stack.enter_async_context(running.run())
    config = uvicorn_config(make_application(running), request_timeout_s=30, keep_alive_s=75)
    config.load()
    state = ServerState()
    return [_Client(Protocol(config, state, {}), person) for person in await settle(running, _CLIENTS)]


def _trace() -> Tracing:
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(_RECORDED), id_generator=DecidedIds())
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    return Tracing(provider, is_outermost=True)  # as `handstamp serve`


class _Client(asyncio.Transport):
    """A client on the other end of the server's connection, without a socket."""

    def __init__(self, server: Protocol, person: Person) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000), "sockname": ("127.0.0.1", 8000)})
        self._server = server
        self._person = person
        self._answered: asyncio.Future[Answer] | None = None
        self._received = b""
        server.connection_made(self)

    async def ask(self, way: Way) -> None:
        """Send the requests of an operation, one after the other. Raises `RuntimeError` unless each is answered 200."""
        operation = way(self._person)
        try:
            request = next(operation)
            while True:
                self._answered = asyncio.get_running_loop().create_future()
                self._server.data_received(request)
                answer = await self._answered
                if answer.status != 200:
                    raise RuntimeError(f"the answer was {answer.status}: {answer.body.decode()}")
                request = operation.send(answer)
        except StopIteration:
            pass

    def write(self, data: Any) -> None:
        """Take what the server sends."""
        self._received += data
        found = parse_answer(self._received)
        if found is not None and self._answered is not None:
            self._received = self._received[found[1] :]
            self._answered.set_result(found[0])

    def is_closing(self) -> bool:
        """Return False: it stays open."""
        return False

    def pause_reading(self) -> None:
        """Do nothing: a client sends one request at a time."""

    resume_reading = close = pause_reading


async def _turn(clients: Sequence[_Client], way: Way) -> float:
    began_ns = time.thread_time_ns()
    await asyncio.gather(*(client.ask(way) for client in clients))
    return (time.thread_time_ns() - began_ns) / 1000 / len(clients)


def _refresh(person: Person) -> Generator[bytes, Answer, None]:
    answer = yield post(b"/refresh", {"refreshToken": person.refresh})
    tokens = answer.json()
    person.access, person.refresh = tokens["accessToken"], tokens["refreshToken"]


def _profile(person: Person) -> Generator[bytes, Answer, None]:
    yield get(b"/profile", bearer(person.access))


if __name__ == "__main__":
    typer.run(main)
