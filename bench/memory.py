"""Measure the cost of ended sessions in a verifier: memory, and the time to add, look up, drop and fetch them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from handstamp import Verifier
from handstamp.crypto.identifiers import new_id
from handstamp.domain.policy import MAX_ACCESS_LIFETIME_MS, MAX_LEEWAY_S
from handstamp.verify.revocations import RevocationSet, session_key

from .report import AsJson, Promise, Table, progress, quartiles, show
from .service import Service, temporary_folder

_LIFE_S = MAX_ACCESS_LIFETIME_MS // 1000 + MAX_LEEWAY_S
_CHUNK = 1_000
_LOOKS = 100_000
_ROUNDS = 9
_MOST_BYTES = 100
_READY_S = 300
_NOW_S = 1_700_000_400
"""The time at which the windows of the set begin."""


def main(
    *,
    entries: Annotated[int, typer.Option(help="How many sessions have ended within the hour.", min=10_000)] = 1_000_000,
    as_json: AsJson = False,
) -> None:
    """Print the cost of a number of ended sessions."""
    progress(f"a set of {entries:,}")
    resident = _run_in_process(_resident_bytes, entries)
    progress("the same, counted by tracemalloc")
    traced = _run_in_process(_traced_bytes, entries)
    progress("its speed")
    speed, pause_ms = _run_in_process(_speed, entries)
    progress("the same over a socket")
    with temporary_folder() as folder:
        fetched = _measure_fetch(folder, entries)
    show(
        "memory",
        notes=(
            f"{entries:,} sessions that ended within the last hour, evenly spread over it.",
            f"The longest pause, which is for forgetting ten minutes' worth at once, was {pause_ms:.1f} ms.",
        ),
        tables=(
            Table("Memory of the set", ("", "bytes each"), [("tracemalloc", traced / entries), ("resident", resident / entries)]),
            Table("Speed of the set", ("µs each", "lower quartile", "median", "upper quartile"), speed),
            Table("A verifier that starts, over a real socket", ("", ""), fetched),
        ),
        promises=[
            Promise(
                f"memory of an ended session, {how}", f"{size / entries:.0f} bytes", "≤ 100 bytes", size / entries <= _MOST_BYTES
            )
            for how, size in (("tracemalloc", traced), ("resident", resident))
        ],
        packages=("msgspec",),
        as_json=as_json,
    )


def _run_in_process(measure: Callable[[int], Any], entries: int) -> Any:
    """Run a measurement in a new process, whose memory holds nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, entries).result()


def _chunks(entries: int) -> Iterator[list[tuple[str, int]]]:
    """Yield pairs of session and end time in the order of the feed: by end time."""
    for start in range(0, entries, _CHUNK):
        size = min(_CHUNK, entries - start)
        yield [(new_id(), _NOW_S + 1 + (start + index) * _LIFE_S // entries) for index in range(size)]


def _fill(entries: int) -> RevocationSet:
    filled = RevocationSet()
    for chunk in _chunks(entries):
        for sid, exp_s in chunk:
            filled.add(sid, exp_s)
    return filled


def _resident_bytes(entries: int) -> int:
    gc.collect()
    before = _resident()
    filled = _fill(entries)
    gc.collect()
    after = _resident()
    _expect(len(filled) == entries)
    return after - before


def _traced_bytes(entries: int) -> int:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    filled = _fill(entries)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    _expect(len(filled) == entries)
    return after - before


def _speed(entries: int) -> tuple[list[tuple[str, float, float, float]], float]:
    """Return the rows of the table, and the longest pause for dropping entries, in milliseconds."""
    held, adding = RevocationSet(), []
    known: list[str] = []
    for chunk in _chunks(entries):
        began_ns = time.thread_time_ns()
        for sid, exp_s in chunk:
            held.add(sid, exp_s)
        adding.append((time.thread_time_ns() - began_ns) / 1000 / len(chunk))
        known.extend(sid for sid, _ in chunk[:: max(1, entries // _LOOKS)])
    strangers = [new_id() for _ in range(_LOOKS)]
    random.shuffle(known)

    def looking(keys: list[int], expected: bool) -> float:
        began_ns = time.thread_time_ns()
        found = [key in held for key in keys]
        took_ns = time.thread_time_ns() - began_ns
        _expect(found == [expected] * len(keys))
        return took_ns / 1000 / len(keys)

    def keying(sids: list[str]) -> float:
        began_ns = time.thread_time_ns()
        for sid in sids:
            session_key(sid)
        return (time.thread_time_ns() - began_ns) / 1000 / len(sids)

    hits, misses = [session_key(sid) for sid in known], [session_key(sid) for sid in strangers]
    rows = [
        ("add", *quartiles(adding)),
        ("look up, ended", *quartiles([looking(hits, True) for _ in range(_ROUNDS)])),  # noqa: FBT003
        ("look up, living", *quartiles([looking(misses, False) for _ in range(_ROUNDS)])),  # noqa: FBT003
        ("a session's key, once a token", *quartiles([keying(strangers) for _ in range(_ROUNDS)])),
    ]
    forgetting, longest_ns = [], 0
    for now_s in range(_NOW_S, _NOW_S + 2 * _LIFE_S, 600):
        before = len(held)
        began_ns = time.thread_time_ns()
        held.drop_expired(now_s)
        took_ns = time.thread_time_ns() - began_ns
        if gone := before - len(held):
            forgetting.append(took_ns / 1000 / gone)
            longest_ns = max(longest_ns, took_ns)
    _expect(len(held) == 0)
    rows.append(("forget", *quartiles(forgetting)))
    return rows, longest_ns / 1e6


def _measure_fetch(folder: Path, entries: int) -> list[tuple[str, str | int | float]]:
    service = Service(folder)
    credential = service.credential("bench")
    first_s = time.time_ns() // 10**9 + 600
    with sqlite3.connect(service.database) as database:
        rows = (("sid", new_id(), first_s + index * (_LIFE_S - 600) // entries) for index in range(entries))
        database.executemany("INSERT INTO revocation (kind, name, exp_s) VALUES (?, ?, ?)", rows)
    database.close()
    began = time.monotonic()
    with service:
        started_s = time.monotonic() - began
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            ready_s, busy_s, grown, held = process.submit(_follow, service.url, credential).result()
    _expect(held == entries)
    return [
        ("service: seconds until it answers", started_s),
        ("verifier: seconds until ready", ready_s),
        ("verifier: seconds of processor time for that", busy_s),
        ("verifier: entries", held),
        ("verifier: MB of resident memory grown", grown / 10**6),
        ("verifier: bytes each, all included", grown / held),
    ]


def _follow(url: str, credential: str) -> tuple[float, float, int, int]:
    """Start a verifier; return the seconds until ready, the processor seconds, the bytes of memory, and the entries."""
    gc.collect()
    memory, began, busy = _resident(), time.monotonic(), time.process_time()
    with Verifier(url, audience=url, credential=credential) as verifier:
        _expect(verifier.wait_until_ready(_READY_S))
        ready_s, busy_s = time.monotonic() - began, time.process_time() - busy
        gc.collect()
        return ready_s, busy_s, _resident() - memory, verifier.status().entries


def _resident() -> int:
    """Return the resident memory of this process in bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _expect(held: bool) -> None:
    """Raise an error if the measured code does not work."""
    if not held:
        raise RuntimeError("the verifier lacks entries of the feed")


if __name__ == "__main__":
    typer.run(main)
