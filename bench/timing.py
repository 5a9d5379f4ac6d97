"""Compare the time of several implementations on a machine that others use too.

They take turns at the same batches, a fraction of a second each, so that a slow machine affects all of them. Ratios are computed
within one round. The figure is the processor time of the thread (`CLOCK_THREAD_CPUTIME_ID`), which excludes other processes.
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
"""Takes a batch and returns the function to time, which passes over the batch once."""
Times = dict[str, list[float]]
"""The microseconds per token of each round, by name."""


class OnThreads(NamedTuple):
    """The times of implementations: processor and wall time on one thread, wall time on two."""

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
        order.append(order.pop(0))  # each follows a different one in the next round
    return times


def take_turns_on_threads(contenders: Mapping[str, Prepare[T]], rounds: Sequence[Sequence[Sequence[T]]]) -> OnThreads:
    """Time every contender in every round: on the first batch alone, then on the others at once, a thread each."""
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
    """Return the time from the first start to the last end."""
    gate = threading.Barrier(len(ways))

    def run(go_through: Callable[[], object]) -> tuple[int, int]:
        gate.wait()
        began_ns = time.perf_counter_ns()
        go_through()
        return began_ns, time.perf_counter_ns()

    spans = list(threads.map(run, ways))
    return max(ended for _, ended in spans) - min(began for began, _ in spans)


def join_times(parts: Sequence[Times]) -> Times:
    """Return the times of several runs combined."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def ratio(times: Times, one: str, other: str) -> float:
    """Return the ratio of `one` to `other`: the median of the rounds."""
    return quartiles([a / b for a, b in zip(times[one], times[other], strict=True)])[1]


def compare_to(times: Times, ruler: str) -> list[tuple[str | float, ...]]:
    """Return a row for each name: lower quartile, median, upper quartile, and the median ratio to `ruler`."""
    return [(name, *quartiles(values), ratio(times, name, ruler)) for name, values in times.items()]


COLUMNS = ("lower quartile", "median", "upper quartile")
