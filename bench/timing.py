"""Timing several ways of doing one thing against each other, on a machine that others use too.

They take turns at the same batches, a fraction of a second each, so that whatever slows the machine down slows all of them;
what is compared are the ratios within one round. What is counted is the time that the thread had a processor
(`CLOCK_THREAD_CPUTIME_ID`): the time for which somebody else had it says nothing about the code.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from .report import quartiles

T = TypeVar("T")
Prepare = Callable[[Sequence[T]], Callable[[], object]]
"""Takes a batch, of tokens or of what else there is, and returns what is timed: going through it once."""
Times = dict[str, list[float]]
"""By name, the microseconds a token took, round by round."""


class OnThreads(NamedTuple):
    """One way of doing a thing: alone by the processor's time and by the clock on the wall, and on two threads by the latter."""

    processor: Times
    alone: Times
    together: Times


def take_turns(contenders: Mapping[str, Prepare[T]], batches: Sequence[Sequence[T]]) -> Times:
    """Time every contender on every batch."""
    times: Times = {name: [] for name in contenders}
    order = list(contenders)
    gc.collect()
    for batch in batches:
        for name in order:
            go_through = contenders[name](batch)
            began_ns = time.thread_time_ns()
            go_through()
            times[name].append((time.thread_time_ns() - began_ns) / 1000 / len(batch))
        order.append(order.pop(0))  # nobody always comes after the same one
    return times


def take_turns_on_threads(contenders: Mapping[str, Prepare[T]], rounds: Sequence[Sequence[Sequence[T]]]) -> OnThreads:
    """Time every contender in every round: on the round's first batch alone, then on its others at once, each on a thread."""
    order = list(contenders)
    times = OnThreads({name: [] for name in order}, {name: [] for name in order}, {name: [] for name in order})
    gc.collect()
    with ThreadPoolExecutor(max(len(batches) for batches in rounds) - 1) as threads:
        for first, *others in rounds:
            for name in order:
                alone = contenders[name](first)
                began_ns, processor_ns = time.perf_counter_ns(), time.thread_time_ns()
                alone()
                times.processor[name].append((time.thread_time_ns() - processor_ns) / 1000 / len(first))
                times.alone[name].append((time.perf_counter_ns() - began_ns) / 1000 / len(first))
                took_ns = _together_ns(threads, [contenders[name](batch) for batch in others])
                times.together[name].append(took_ns / 1000 / sum(map(len, others)))
            order.append(order.pop(0))
    return times


def _together_ns(threads: ThreadPoolExecutor, ways: Sequence[Callable[[], object]]) -> int:
    """Return the time from the first one's begin to the last one's end."""
    gate = threading.Barrier(len(ways))

    def run(go_through: Callable[[], object]) -> tuple[int, int]:
        gate.wait()
        began_ns = time.perf_counter_ns()
        go_through()
        return began_ns, time.perf_counter_ns()

    spans = list(threads.map(run, ways))
    return max(ended for _, ended in spans) - min(began for began, _ in spans)


def joined(parts: Sequence[Times]) -> Times:
    """Return the times of several runs as those of one."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def ratio(times: Times, one: str, other: str) -> float:
    """Return how often `other` goes into `one`: the median of the rounds."""
    return quartiles([a / b for a, b in zip(times[one], times[other], strict=True)])[1]


def compared(times: Times, ruler: str) -> list[tuple[str | float, ...]]:
    """Return a row for each name: lower quartile, median, upper quartile, and the median ratio to `ruler`."""
    return [(name, *quartiles(values), ratio(times, name, ruler)) for name, values in times.items()]


COLUMNS = ("lower quartile", "median", "upper quartile")
