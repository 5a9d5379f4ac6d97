"""Measure many connected clients with few requests each, beside a hundred clients with the same rate together."""

from __future__ import annotations

import itertools
import random
from typing import NamedTuple

from .load import Client, Operation, run
from .people import Person, Seen, Town, profile, refresh, run_town
from .report import Cell, Findings, Promise, Table, progress

_FEW = 100
_PER_S = 400
_REFRESH_EVERY = 10
"""One request in this many refreshes; the others fetch the profile."""
_LEAST_S = 10.0
_MOST_X = 5
_COLUMNS = ("clients", "open files at the end", "MB", "KB a connection", "requests/s", "p50 ms", "p99 ms", "worst ms", "failed")


class Measured(NamedTuple):
    """The figures for a number of clients. Memory and open files (mostly connections) are the service's at the end."""

    seen: Seen
    seconds: float
    resident_bytes: int
    open_files: int


def kept_open(*, connections: int) -> Findings:
    """Measure few clients, then many, with the same total rate of requests."""
    with run_town(connections) as town:
        progress(f"{_FEW} clients connected")
        few = _measure(town, _FEW)
        progress(f"{connections:,} clients connected")
        many = _measure(town, connections)
    bytes_each = (many.resident_bytes - few.resident_bytes) / (connections - _FEW)
    failed = many.seen.failures.total()
    times = many.seen.ms(99) / few.seen.ms(99)
    return Findings(
        tables=[
            Table(
                f"Clients that stay connected, together {_PER_S} requests a second",
                _COLUMNS,
                [_row(_FEW, few, 0), _row(connections, many, bytes_each)],
            )
        ],
        promises=[
            Promise(f"of {connections:,} clients stay connected", f"{many.open_files:,}", "all", many.open_files >= connections),
            Promise(
                f"p99 while {connections:,} are connected",
                f"{times:.1f} x that of {_FEW}, {failed} failed",
                f"≤ {_MOST_X} x, none",
                times <= _MOST_X and not failed,
            ),
        ],
        notes=[
            f"Connections: of {connections:,} a client asks every {connections / _PER_S:.0f} s; each tenth request is a refresh."
        ],
    )


def _row(clients: int, measured: Measured, bytes_each: float) -> tuple[Cell, ...]:
    seen = measured.seen
    return (
        f"{clients:,}",
        measured.open_files,
        measured.resident_bytes / 1e6,
        bytes_each / 1e3 if bytes_each else "",
        seen.good / measured.seconds,
        seen.ms(50),
        seen.ms(99),
        seen.ms(100),
        seen.failures.total(),
    )


def _measure(town: Town, count: int) -> Measured:
    """Connect `count` clients, let each send one round as a warm-up, and measure the next round."""
    every_s = count / _PER_S
    seconds = max(every_s, _LEAST_S)
    people, seen = town.people[:count], Seen()
    ended: list[tuple[int, int]] = []

    def look() -> Operation:
        yield seconds
        seen.answers.clear()
        yield seconds - 0.5
        ended.append((town.service.resident_bytes(), town.service.open_files()))

    looking = [look()]
    groups: dict[str, list[Client]] = {
        "all": [_now_and_then(person, seen, every_s) for person in people],
        "look": [lambda: looking.pop() if looking else None],
    }
    run(town.port, groups, seconds=2 * seconds)
    return Measured(seen, seconds, *ended[0])


def _now_and_then(person: Person, seen: Seen, every_s: float) -> Client:
    """Return a client that starts at a random moment of the first round and sends one request a round."""
    numbers = itertools.count(random.randrange(_REFRESH_EVERY))  # noqa: S311 - it only spreads the load
    rests_s = itertools.chain([random.uniform(0, every_s)], itertools.repeat(every_s))  # noqa: S311

    def once() -> Operation:
        yield next(rests_s)
        yield from (profile if next(numbers) % _REFRESH_EVERY else refresh)(person, seen)

    return once
