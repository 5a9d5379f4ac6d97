"""How failed sign-ins slow down the next ones (NIST SP 800-63B-4 §3.2.2).

Failures are counted under three keys: the *pair* of address typed and network it came from, the *network* alone (one password
tried on many accounts), and the *account* alone (many networks against one person). The last does not apply to a network from
which the person has a session, so that a stranger cannot lock the owner out.
"""

from __future__ import annotations

import msgspec

from .policy import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """After `free` failures each further one doubles the wait, from `first_wait_ms` up to `longest_wait_ms`."""

    free: int
    first_wait_ms: int
    longest_wait_ms: int
    forget_after_ms: int


PAIR = Limit(free=5, first_wait_ms=30 * SECOND_MS, longest_wait_ms=HOUR_MS, forget_after_ms=DAY_MS)
NETWORK = Limit(free=50, first_wait_ms=30 * SECOND_MS, longest_wait_ms=5 * MINUTE_MS, forget_after_ms=HOUR_MS)
ACCOUNT = Limit(free=100, first_wait_ms=30 * SECOND_MS, longest_wait_ms=HOUR_MS, forget_after_ms=DAY_MS)
LONGEST_MEMORY_MS = DAY_MS
"""No failure is looked at after this; the store may forget it."""


class Failures(msgspec.Struct, frozen=True):
    """How many attempts in a row failed under one key, and when the last one did."""

    count: int = 0
    last_at_ms: int = 0


def wait_ms(failures: Failures, limit: Limit, now_ms: int) -> int:
    """Return how many milliseconds must pass before the next attempt is looked at; 0 when it may be now."""
    if failures.count < limit.free:
        return 0
    doublings = min(failures.count - limit.free, 20)
    wait = min(limit.first_wait_ms << doublings, limit.longest_wait_ms)
    return max(0, failures.last_at_ms + wait - now_ms)


def after_failure(failures: Failures, limit: Limit, now_ms: int) -> Failures:
    """Return the count with one more failure in it; failures that lie far back are forgotten first."""
    forgotten = now_ms - failures.last_at_ms >= limit.forget_after_ms
    return Failures(count=1 if forgotten else failures.count + 1, last_at_ms=now_ms)
