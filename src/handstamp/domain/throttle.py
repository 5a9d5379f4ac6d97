"""How failed sign-ins delay the next ones (NIST SP 800-63B-4 §3.2.2).

Failures are counted under three keys:

- *pair*: the address that was typed and the network that the request came from;
- *network*: the network alone, against one password tried on many accounts;
- *account*: the address alone, against many networks that try one account. It does not apply to a network from which the person
  has a session, so that a stranger cannot lock the owner out.
"""

from __future__ import annotations

import msgspec

from .policy import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """The delays of one kind of counter, in milliseconds.

    The first `free` failures cost nothing. The next one costs `first_wait_ms`, and each further one doubles the wait up to
    `longest_wait_ms`. A counter starts again after `forget_after_ms` without a failure.
    """

    free: int
    first_wait_ms: int
    longest_wait_ms: int
    forget_after_ms: int


PAIR = Limit(free=5, first_wait_ms=30 * SECOND_MS, longest_wait_ms=HOUR_MS, forget_after_ms=DAY_MS)
NETWORK = Limit(free=50, first_wait_ms=30 * SECOND_MS, longest_wait_ms=5 * MINUTE_MS, forget_after_ms=HOUR_MS)
ACCOUNT = Limit(free=100, first_wait_ms=30 * SECOND_MS, longest_wait_ms=HOUR_MS, forget_after_ms=DAY_MS)
LONGEST_MEMORY_MS = DAY_MS
"""Failures older than this do not count any more; the store may delete them."""


class Failures(msgspec.Struct, frozen=True):
    """The number of consecutive failures under one key, and the time of the last one."""

    count: int = 0
    last_at_ms: int = 0


def wait_ms(failures: Failures, limit: Limit, now_ms: int) -> int:
    """Return the milliseconds until the next attempt is accepted, 0 if it is accepted now."""
    if failures.count < limit.free:
        return 0
    doublings = min(failures.count - limit.free, 20)
    wait = min(limit.first_wait_ms << doublings, limit.longest_wait_ms)
    return max(0, failures.last_at_ms + wait - now_ms)


def add_failure(failures: Failures, limit: Limit, now_ms: int) -> Failures:
    """Return the failures with one more added. Old failures are dropped first."""
    is_old = now_ms - failures.last_at_ms >= limit.forget_after_ms
    return Failures(count=1 if is_old else failures.count + 1, last_at_ms=now_ms)
