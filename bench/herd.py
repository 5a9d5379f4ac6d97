"""Measure refreshes of all clients in the same second, and spread over time as our clients spread them."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .curves import Curve, curves
from .load import LOST, Client, Operation, run
from .people import Person, Seen, clients, pausing, profile, renew, run_town
from .report import Cell, Findings, Promise, Table, progress

_LIFE_S = 30
"""The shortest access token life that can be set: the shorter, the closer the refreshes."""
_RENEWS_FROM, _RENEWS_OVER = 0.7, 0.15
"""When the browser client refreshes, as shares of the token's life: the earliest moment, and the span after it."""
_FIRST_PAUSE_S = 0.3
_ASKING, _ASKING_REST_S = 4, 0.02
_BEFORE_S = 1.0
_STEP_S = 0.1
_COLUMNS = (
    "clients renew",
    "all s",
    "a second",
    "p50 ms",
    "p99 ms",
    "answers",
    "503",
    "lost",
    "others",
    "profile p99 ms",
)


class HerdResult(NamedTuple):
    """The result of a herd: its start, its answers, and the answers of other clients meanwhile."""

    began_s: float
    herd: Seen
    others: Seen

    @property
    def took_s(self) -> float:
        """Return the time until all clients had refreshed."""
        return max(one.at_s for one in self.herd.answers if one.status == 200) - self.began_s


def herd(*, size: int, plot: Path | None) -> Findings:
    """Measure a herd at once and a herd that is spread."""
    with run_town(size + _ASKING) as town:
        people, others = town.people[:size], town.people[size:]
        progress(f"{size:,} clients renew at once")
        at_once = _run_herd(town.port, people, others, lambda: 0.0)
        progress(f"{size:,} clients renew, each at its own time")
        spread = _run_herd(town.port, people, others, lambda: random.uniform(0, _RENEWS_OVER * _LIFE_S))  # noqa: S311
    ways = {"at once": at_once, f"over {_RENEWS_OVER * _LIFE_S:g} s": spread}
    if plot is not None:
        plot.write_text(_draw(size, ways), encoding="utf-8")
    good = [result.herd.good for result in ways.values()]
    wrong = sum(result.herd.failures.total() - result.herd.failures[503] for result in ways.values())
    title = f"{size:,} clients whose tokens expire in the same second"
    renewed_all = f"{min(good):,}, {wrong} failed"
    earliest, latest, shortest_s, usual_s = _RENEWS_FROM, _RENEWS_FROM + _RENEWS_OVER, _RENEWS_OVER * _LIFE_S, _RENEWS_OVER * 900
    return Findings(
        tables=[Table(title, _COLUMNS, [_row(*way) for way in ways.items()])],
        promises=[Promise("all of a herd are renewed", renewed_all, f"{size:,}, none", set(good) == {size} and not wrong)],
        notes=[
            (
                f"Herd: the browser client renews after {earliest:.0%} to {latest:.0%} of a token's life: over {shortest_s:g} s "
                f"where that is {_LIFE_S} s, the shortest there is, and over {usual_s:g} s where it is 15 minutes."
            ),
            f"Beside the herd {_ASKING} clients ask for their profile.",
        ],
    )


def _run_herd(port: int, people: Sequence[Person], others: Sequence[Person], delay: Callable[[], float]) -> HerdResult:
    """Connect all clients, then refresh each after its delay, and retry until it succeeds."""
    seen, seen_by_others = Seen(), Seen()
    coming = [(person, delay()) for person in people]
    left = len(coming)
    began_s = 0.0

    def renewal(person: Person, delay_s: float) -> Operation:
        nonlocal began_s, left
        began_s = began_s or time.perf_counter() + _BEFORE_S
        yield began_s + delay_s - time.perf_counter()
        failures = 0
        while (answer := (yield from renew(person, seen))).status != 200:
            failures += 1
            retry_after_s = [float(value) for value in answer.headers(b"retry-after")]
            yield max(*retry_after_s, _FIRST_PAUSE_S * 2 ** (failures - 1) * random.uniform(0.5, 1), 0)  # noqa: S311
        left -= 1

    def once(waiting: list[tuple[Person, float]]) -> Client:
        return lambda: renewal(*waiting.pop()) if waiting else None

    asking = clients(pausing(profile, _ASKING_REST_S), others, seen_by_others, count=len(others))

    def while_any_is_left(ask: Client) -> Client:
        return lambda: ask() if left else None

    run(port, {"renew": [once([one]) for one in coming], "ask": [while_any_is_left(ask) for ask in asking]})
    return HerdResult(began_s, seen, seen_by_others)


def _row(name: str, result: HerdResult) -> tuple[Cell, ...]:
    seen, failures = result.herd, result.herd.failures
    return (
        name,
        result.took_s,
        seen.good / result.took_s,
        seen.ms(50),
        seen.ms(99),
        len(seen.answers),
        failures[503],
        failures[LOST],
        failures.total() - failures[503] - failures[LOST],
        result.others.ms(99),
    )


def _draw(size: int, ways: Mapping[str, HerdResult]) -> str:
    def counted(name: str, result: HerdResult) -> Curve:
        steps = Counter(int((one.at_s - result.began_s) / _STEP_S) for one in result.herd.answers if one.status == 200)
        return Curve(name, [(step * _STEP_S, steps[step]) for step in range(max(steps) + 2)])

    def beside(name: str, result: HerdResult) -> Curve:
        return Curve(
            name, [(one.at_s - result.began_s, 1000 * one.took_s) for one in result.others.answers if one.at_s >= result.began_s]
        )

    panels = {
        f"renewed in {1000 * _STEP_S:.0f} ms": [counted(f"clients renew {name}", result) for name, result in ways.items()],
        "a profile requested meanwhile, ms": [beside(f"clients renew {name}", result) for name, result in ways.items()],
    }
    return curves(f"{size:,} clients whose tokens expire in the same second", across="seconds", panels=panels)
