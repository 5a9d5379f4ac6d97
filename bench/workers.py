"""Measure one, two and four worker processes on one database."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from statistics import median

from .load import run
from .people import Seen, Way, clients, profile, refresh, run_town
from .report import Cell, Findings, Table, progress

_WORKERS = (1, 2, 4)
_CLIENTS = 16
_WAYS: Mapping[str, Way] = {"/refresh": refresh, "/profile": profile}


def workers(*, rounds: int, seconds: float) -> Findings:
    """Measure each number of workers in turns, on all cores, which the clients share."""
    seen: dict[tuple[int, str], list[Seen]] = {(count, path): [] for path in _WAYS for count in _WORKERS}
    with ExitStack() as left_after:
        towns = {count: left_after.enter_context(run_town(_CLIENTS, workers=count, is_pinned=False)) for count in _WORKERS}
        for turn in range(1, rounds + 1):
            progress(f"workers: round {turn} of {rounds}")
            for (count, path), before in seen.items():
                before.append(Seen())
                asking = clients(_WAYS[path], towns[count].people, before[-1], count=_CLIENTS)
                run(towns[count].port, {"": asking}, seconds=seconds)
        memory = {count: town.service.resident_bytes() / 1e6 for count, town in towns.items()}
    rows: list[tuple[Cell, ...]] = []
    for (count, path), each in seen.items():
        one = [alone.good for alone in seen[1, path]]
        rows.append(
            (
                path if count == 1 else "",
                count,
                median(turn.good for turn in each) / seconds,
                median(turn.good / alone for turn, alone in zip(each, one, strict=True)),
                median(turn.ms(50) for turn in each),
                median(turn.ms(99) for turn in each),
                sum(turn.failures.total() for turn in each),
                memory[count],
            )
        )
    columns = (f"{_CLIENTS} clients", "workers", "a second", "x one", "p50 ms", "p99 ms", "failed", "MB resident")
    return Findings(
        tables=[Table("Processes that serve one database", columns, rows)],
        notes=["Workers are not pinned to one core as the other systems are: they share all cores with the clients."],
    )
