"""Measure what many refreshes leave behind: memory of the service, and size and rows of its database."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .curves import Curve, curves
from .load import Client, Operation, run
from .people import Person, Seen, Town, profile, refresh, run_town
from .report import Cell, Findings, Promise, Table, progress

_PEOPLE, _CHAINS = 1000, 16
_STRETCHES = 50
_PROFILE_EVERY = 10
"""One access token in this many is used: the service caches the tokens that it has verified."""
_SHOWN = (0, 1, 5, 10, 25, 50)
"""The table has a row after this many stretches."""
_MOST_GROWTH = 1.02
_TABLES = ("session", "event", "revocation")
_COLUMNS = ("refreshes", "a second", "MB resident", "MB of database", *(f"{table} rows" for table in _TABLES))


class Mark(NamedTuple):
    """The figures after a number of refreshes."""

    refreshes: int
    per_s: float
    resident_bytes: int
    file_bytes: int
    rows: tuple[int, ...]


def endurance(*, refreshes: int, plot: Path | None) -> Findings:
    """Refresh this often, in stretches, and take the figures after each."""
    with run_town(_PEOPLE) as town:
        chains = [itertools.cycle(town.people[number::_CHAINS]) for number in range(_CHAINS)]
        marks, failures = [_mark(town, 0, 0.0)], 0
        for stretch in range(1, _STRETCHES + 1):
            upto = refreshes * stretch // _STRETCHES
            if stretch % 5 == 1:
                progress(f"up to {upto:,} of {refreshes:,} refreshes")
            count, seen = upto - marks[-1].refreshes, Seen()
            took_s = run(town.port, {"": _clients(chains, count, seen)})[""].seconds
            failures += seen.failures.total()
            marks.append(_mark(town, upto, count / took_s))
    if plot is not None:
        plot.write_text(_draw(marks), encoding="utf-8")
    half, end = marks[_STRETCHES // 2], marks[-1]
    growth = end.resident_bytes / half.resident_bytes
    return Findings(
        tables=[
            Table(f"{refreshes:,} refreshes of {_PEOPLE:,} sessions", _COLUMNS, [_row(marks[stretch]) for stretch in _SHOWN])
        ],
        promises=[
            Promise(
                f"memory after {refreshes:,} refreshes",
                f"{growth:.3f} x that after half of them",
                f"flat: ≤ {_MOST_GROWTH} x",
                growth <= _MOST_GROWTH,
            ),
            Promise(
                "rows after them",
                f"{sum(end.rows) - sum(marks[0].rows)} more; {failures} refreshes failed",
                "no more, none",
                end.rows == marks[0].rows and not failures,
            ),
        ],
        notes=[f"Refreshes: after each {_PROFILE_EVERY}th refresh the new access token is used, too."],
    )


def _clients(chains: Sequence[Iterator[Person]], count: int, seen: Seen) -> list[Client]:
    """Return a client for each chain; together they refresh `count` times."""
    begun = 0

    def renewal(chain: Iterator[Person]) -> Operation | None:
        nonlocal begun
        if begun == count:
            return None
        begun += 1
        return _renewal(next(chain), seen, is_used=begun % _PROFILE_EVERY == 0)

    return [partial(renewal, chain) for chain in chains]


def _renewal(person: Person, seen: Seen, *, is_used: bool) -> Operation:
    yield from refresh(person, seen)
    if is_used:
        yield from profile(person, seen)


def _mark(town: Town, refreshes: int, per_s: float) -> Mark:
    files = town.service.database.parent.glob(f"{town.service.database.name}*")
    with closing(sqlite3.connect(f"{town.service.database.as_uri()}?mode=ro", uri=True)) as database:
        rows = tuple(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _TABLES)
    return Mark(refreshes, per_s, town.service.resident_bytes(), sum(file.stat().st_size for file in files), rows)


def _row(mark: Mark) -> tuple[Cell, ...]:
    return (f"{mark.refreshes:,}", mark.per_s, mark.resident_bytes / 1e6, mark.file_bytes / 1e6, *mark.rows)


def _draw(marks: Sequence[Mark]) -> str:
    panels = {
        "resident memory, MB": [Curve("Handstamp", [(mark.refreshes, mark.resident_bytes / 1e6) for mark in marks])],
        "database with its log, MB": [Curve("Handstamp", [(mark.refreshes, mark.file_bytes / 1e6) for mark in marks])],
    }
    return curves(f"{marks[-1].refreshes:,} refreshes, one process", across="refreshes", panels=panels)
