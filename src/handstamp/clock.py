"""The only file that reads the time.

Times are integers since 1970, UTC: `_ms` means milliseconds, `_s` seconds. The clock is read once per request and passed down as
`now_ms`, so that one request has one time and tests do not have to wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

Clock = Callable[[], int]
"""Returns milliseconds since 1970."""


def now_ms() -> int:
    """Return milliseconds since 1970-01-01T00:00Z."""
    return time.time_ns() // 1_000_000


_steady_ns: Callable[[], int] = (
    partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns
)
"""On Linux the monotonic clock stands still while the machine is suspended. CLOCK_BOOTTIME does not."""


def monotonic_ms() -> int:
    """Return milliseconds since an arbitrary moment, for measuring durations. Setting the system clock does not change it.

    Where the system has such a clock, the time for which the machine was suspended counts.
    """
    return _steady_ns() // 1_000_000


monotonic_s: Callable[[], float] = time.monotonic
"""Returns seconds since an arbitrary moment, without the call of a function of ours."""
