"""Many clients who stay connected and ask for something now and then, beside a hundred who together ask as often."""

from __future__ import annotations

import itertools
import random
from typing import NamedTuple

from .load import Client, Operation, run
from .people import Person, Seen, Town, inhabited, profile, refresh
from .report import Cell, Findings, Promise, Table, progress

_FEW = 100
_PER_S = 400
_REFRESH_EVERY = 10
"""One request in so many renews the tokens; the others ask for the profile."""
_LEAST_S = 10.0
_MOST_X = 5
_COLUMNS = ("clients", "open files at the end", "MB", "KB a connection", "requests/s", "p50 ms", "p99 ms", "worst ms", "failed")


class Measured(NamedTuple):
    """What so many clients came to; memory and open files, most of them connections, are those of the service at the end."""

    seen: Seen
    seconds: float
    resident_bytes: int
    open_files: int


def kept_open(*, connections: int) -> Findings:
    """Measure few clients, then many, who together send the same number of requests a second."""
    with inhabited(connections) as town:
        progress(f"{_FEW} clients connected")
        few = _measured(town, _FEW)
        progress(f"{connections:,} clients connected")
        many = _measured(town, connections)
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


def _measured(town: Town, count: int) -> Measured:
    """Let so many clients come in, go round once while the service gets to know them, and be watched for as long again."""
    every_s = count / _PER_S
    seconds = max(every_s, _LEAST_S)
    everybody, seen = town.people[:count], Seen()
    ended: list[tuple[int, int]] = []

    def look() -> Operation:
        yield seconds
        seen.answers.clear()
        yield seconds - 0.5
        ended.append((town.service.resident_bytes(), town.service.open_files()))

    looking = [look()]
    groups: dict[str, list[Client]] = {
        "everybody": [_now_and_then(person, seen, every_s) for person in everybody],
        "look": [lambda: looking.pop() if looking else None],
    }
    run(town.port, groups, seconds=2 * seconds)
    return Measured(seen, seconds, *ended[0])


def _now_and_then(person: Person, seen: Seen, every_s: float) -> Client:
    """Return a client who begins at some moment of the first round and asks once in each."""
    numbers = itertools.count(random.randrange(_REFRESH_EVERY))  # noqa: S311 - it only spreads the load
    rests_s = itertools.chain([random.uniform(0, every_s)], itertools.repeat(every_s))  # noqa: S311

    def once() -> Operation:
        yield next(rests_s)
        yield from (profile if next(numbers) % _REFRESH_EVERY else refresh)(person, seen)

    return once
