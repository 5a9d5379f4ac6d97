"""The only file that reads the time.

Times are integers since 1970, UTC: `_ms` means milliseconds, `_s` seconds. The clock is read once per request and passed down as
`now_ms`, so that one request has one time and tests do not have to wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns milliseconds since 1970."""


def now_ms() -> int:
    """Return milliseconds since 1970-01-01T00:00Z."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Return milliseconds since an arbitrary moment, for measuring durations. Setting the system clock does not change it."""
    return time.monotonic_ns() // 1_000_000
