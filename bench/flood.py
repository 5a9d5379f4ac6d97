"""Measure refreshes during many concurrent sign-ins, and the rate of sign-ins."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from handstamp.crypto.passwords import PasswordHasher

from .load import on_core, run
from .people import PASSWORD, Person, Seen, Town, Way, clients, pausing, refresh, run_town, sign_in
from .report import Cell, Findings, Promise, Table, progress

_CHAINS, _SIGNING_IN = 16, 8
_PAUSE_S = 0.05
_WARM_UP_S = 0.2  # until the queue is full: a round that begins with an empty queue counts one sign-in less
_CROWD = 64
_WAYS: Mapping[str, Way] = {f"{1000 * _PAUSE_S:.0f} ms of rest": pausing(refresh, _PAUSE_S), "no rest": refresh}
_BESIDE = (0, 4, _CROWD)
_MOST_X, _LEAST_SHARE = 5, 0.95
_COLUMNS = (
    "renewing, with",
    "signing in",
    "renewals/s",
    "p50 ms",
    "p99 ms",
    "x quiet",
    "failed",
    "sign-ins/s",
    "503",
    "with Retry-After",
)


Place = tuple[str, int]
"""How clients refresh, and how many others sign in at a time."""
Rounds = Mapping[Place, Sequence[Seen]]


def flood(*, rounds: int, seconds: float) -> Findings:
    """Measure without sign-ins, with some and with a crowd, in turns, round by round."""
    bare: list[Rate] = []
    served: list[Rate] = []
    renewing: dict[Place, list[Seen]] = {(way, beside): [] for way in _WAYS for beside in _BESIDE}
    signing_in: dict[Place, list[Seen]] = {place: [] for place in renewing}
    with run_town(_CHAINS + _CROWD) as town:
        chains, crowd = town.people[:_CHAINS], town.people[_CHAINS:]
        for turn in range(1, rounds + 1):
            progress(f"flood of sign-ins: round {turn} of {rounds}")
            bare.append(_bare_rate(town.core, seconds))
            served.append(_sign_in_rate(town, crowd, seconds))
            for place, before in renewing.items():
                seen, floods = Seen(), Seen()
                groups = {
                    "renew": clients(_WAYS[place[0]], chains, seen, count=_CHAINS),
                    "sign in": clients(sign_in, crowd, floods, count=place[1]),
                }
                run(town.port, groups, seconds=seconds)
                before.append(seen)
                signing_in[place].append(floods)
    share = median(one.per_s / two.per_s for one, two in zip(served, bare, strict=True))
    work = median(two.processor_ms / one.processor_ms for one, two in zip(served, bare, strict=True))
    return Findings(
        tables=(
            Table(
                f"{_CHAINS} chains of refreshes while people sign in",
                _COLUMNS,
                [_row(place, renewing, signing_in, seconds) for place in renewing],
            ),
            Table(
                f"Signing in, {_SIGNING_IN} at a time, without other requests",
                ("", "a second", "x argon2", "ms of processor each", "x argon2"),
                [
                    ("argon2 alone, on the service's core", _typical(bare).per_s, 1.0, _typical(bare).processor_ms, 1.0),
                    ("sign-ins", _typical(served).per_s, share, _typical(served).processor_ms, 1 / work),
                ],
            ),
        ),
        promises=(
            *(_promise(place, renewing) for place in renewing if place[1]),
            Promise("sign-ins", f"{share:.2f} x bare argon2", f"≥ {_LEAST_SHARE} x", share >= _LEAST_SHARE),
            _queue_promise([seen for (_, beside), all_seen in signing_in.items() if beside == _CROWD for seen in all_seen]),
        ),
        notes=(
            "A flood's p99 is compared with the quiet one of the same round; of all rounds the median is shown.",
            f"The crowd of {_CROWD} does not fit the queue: a client that gets 503 retries after `Retry-After`.",
        ),
    )


def _row(place: Place, renewing: Rounds, signing_in: Rounds, seconds: float) -> tuple[Cell, ...]:
    (way, beside), seen, floods = place, renewing[place], signing_in[place]
    return (
        way if not beside else "",
        f"{beside} at a time" if beside else "none",
        median(one.good for one in seen) / seconds,
        median(one.ms(50) for one in seen),
        median(one.ms(99) for one in seen),
        _times_quiet(place, renewing),
        sum(one.failures.total() for one in seen),
        median(one.good for one in floods) / seconds,
        sum(one.failures[503] for one in floods),
        sum(one.retry_after for one in floods),
    )


def _times_quiet(place: Place, renewing: Rounds) -> float:
    pairs = zip(renewing[place], renewing[place[0], 0], strict=True)
    return median(seen.ms(99) / quiet.ms(99) for seen, quiet in pairs)


def _promise(place: Place, renewing: Rounds) -> Promise:
    times = _times_quiet(place, renewing)
    what = f"p99 of a refresh while {place[1]} sign in at a time, {place[0]}"
    return Promise(what, f"{times:.1f} x its quiet p99", f"≤ {_MOST_X} x", times <= _MOST_X)


def _queue_promise(crowds: Sequence[Seen]) -> Promise:
    refused, with_time = sum(seen.failures[503] for seen in crowds), sum(seen.retry_after for seen in crowds)
    others = sum(seen.failures.total() for seen in crowds) - refused
    return Promise(
        "sign-ins that the queue has no room for",
        f"{refused} answered 503, {with_time} with Retry-After, {others} otherwise",
        "503 with Retry-After",
        refused == with_time > 0 == others,
    )


class Rate(NamedTuple):
    """A rate per second, and the processor time of each operation."""

    per_s: float
    processor_ms: float


def _typical(rates: Sequence[Rate]) -> Rate:
    return Rate(median(one.per_s for one in rates), median(one.processor_ms for one in rates))


def _bare_rate(core: int, seconds: float) -> Rate:
    """Return how many passwords a second bare argon2 verifies on the service's core."""
    hasher = PasswordHasher("owasp")
    known, count, took_s = hasher.hash(PASSWORD), 0, 0.0
    with on_core(core):
        began_s, processor_s = time.perf_counter(), time.thread_time()
        while took_s < seconds:
            hasher.matches(known, PASSWORD)
            count += 1
            took_s = time.perf_counter() - began_s
        return Rate(count / took_s, 1000 * (time.thread_time() - processor_s) / count)


def _sign_in_rate(town: Town, people: Sequence[Person], seconds: float) -> Rate:
    seen, processor_s = Seen(), town.service.processor_s()
    measured = run(town.port, {"": clients(sign_in, people, seen, count=_SIGNING_IN)}, seconds=seconds, warm_up_s=_WARM_UP_S)[""]
    return Rate(measured.rate, 1000 * (town.service.processor_s() - processor_s) / seen.good)
