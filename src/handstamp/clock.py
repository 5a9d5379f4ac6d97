"""The only file that reads the time.

Times are integers, UTC, since 1970: `_ms` names milliseconds, `_s` seconds. Whoever serves a request reads the clock once and
hands `now` down, so that one request has one time and tests need no waiting.
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
    """Return milliseconds since some fixed moment, for measuring how long ago something was; nobody sets this clock."""
    return time.monotonic_ns() // 1_000_000
