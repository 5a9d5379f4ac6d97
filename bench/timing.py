"""Timing several ways of doing one thing against each other, on a machine that others use too.

They take turns at the same batches, a fraction of a second each, so that whatever slows the machine down slows all of them;
what is compared are the ratios within one round. What is counted is the time that the thread had a processor
(`CLOCK_THREAD_CPUTIME_ID`): the time for which somebody else had it says nothing about the code.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence

from .report import quartiles

Prepare = Callable[[Sequence[str]], Callable[[], None]]
"""Takes a batch of tokens and returns what is timed: going through them once."""
Times = dict[str, list[float]]
"""By name, the microseconds a token took, round by round."""


def take_turns(contenders: Mapping[str, Prepare], batches: Sequence[Sequence[bytes]]) -> Times:
    """Time every contender on every batch. Each gets strings of its own, decoded from bytes as a web server decodes headers."""
    times: Times = {name: [] for name in contenders}
    order = list(contenders)
    gc.collect()
    for batch in batches:
        for name in order:
            go_through = contenders[name]([token.decode("ascii") for token in batch])
            began_ns = time.thread_time_ns()
            go_through()
            times[name].append((time.thread_time_ns() - began_ns) / 1000 / len(batch))
        order.append(order.pop(0))  # nobody always comes after the same one
    return times


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
