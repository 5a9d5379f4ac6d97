"""How failed attempts delay the next ones (NIST SP 800-63B-4 §3.2.2).

Two numbers are counted under each key. The *level* rises by one with each failure and leaks away with time: it decides how long
the next attempt must wait. The number of *consecutive* failures only ends with a success or an operator: at a ceiling, attempts
are refused until then. `handstamp.service.parts.throttling` says which keys an attempt has.
"""

from __future__ import annotations

import msgspec

from .policy import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

MAX_CONSECUTIVE = 100
"""The ceiling of NIST SP 800-63B-4 §3.2.2: that many failures in a row, and the password is not accepted any more."""
CLOCK_TOLERANCE_MS = MINUTE_MS
"""The last failure may be this far ahead of the clock. If it is further, the clock was set back."""
_UNIT = 1000
"""The level counts thousandths of a failure."""
_MAX_DOUBLINGS = 20


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of counter allows. Times are milliseconds.

    Attributes:
        name: The kind, for logs.
        free: The number of failures that cost nothing. The next one costs `first_wait_ms`, and each further one doubles the wait.
        first_wait_ms: The first wait.
        longest_wait_ms: The longest wait.
        leak_ms: The time in which one failure leaks away.
        ceiling: Consecutive failures after which every attempt is refused; None if there is no such number.
        memory_ms: How long after the last failure the consecutive ones are remembered; None for ever.
    """

    name: str
    free: int
    leak_ms: int
    longest_wait_ms: int
    first_wait_ms: int = 30 * SECOND_MS
    ceiling: int | None = None
    memory_ms: int | None = 0


PAIR = Limit(name="pair", free=5, leak_ms=HOUR_MS, longest_wait_ms=HOUR_MS)
"""One address, tried from one network."""
NETWORK = Limit(name="network", free=50, leak_ms=2 * MINUTE_MS, longest_wait_ms=5 * MINUTE_MS)
"""One network of up to 10,000 people, whatever the address: against one password that is tried on many accounts."""
SITE = Limit(name="site", free=500, leak_ms=12 * SECOND_MS, longest_wait_ms=5 * MINUTE_MS)
"""One IPv6 /48: ten times the budget of a network, against a client that has 65,536 networks."""
NETWORKS_PER_SITE = 10
"""How many times the budget of a network an IPv6 /48 has."""
ACCOUNT = Limit(name="account", free=20, leak_ms=HOUR_MS, longest_wait_ms=HOUR_MS, ceiling=MAX_CONSECUTIVE, memory_ms=None)
"""One address, from everywhere: against many networks that try one account."""
ACCOUNT_AT_HOME = msgspec.structs.replace(ACCOUNT, free=MAX_CONSECUTIVE)
"""The same counter, seen from a network where the person has had a session: it has no waits, only the ceiling."""
UNKNOWN_ACCOUNT = msgspec.structs.replace(ACCOUNT, memory_ms=7 * DAY_MS)
"""The same for an address without an account. Strangers can type any number of them, so they are forgotten after a while."""
DEVICE = Limit(name="device", free=5, leak_ms=HOUR_MS, longest_wait_ms=HOUR_MS, ceiling=MAX_CONSECUTIVE, memory_ms=400 * DAY_MS)
"""One account, on one device where its person has signed in before. It is remembered for as long as the device's cookie."""
DEVICES = Limit(name="devices", free=50, leak_ms=30 * MINUTE_MS, longest_wait_ms=HOUR_MS)
"""One account, on all such devices: against an attacker who has collected many cookies or tokens of the account."""

FACTOR = Limit(name="factor", free=5, leak_ms=4 * HOUR_MS, longest_wait_ms=4 * HOUR_MS, ceiling=MAX_CONSECUTIVE, memory_ms=None)
"""Wrong codes of one account's authenticator app, from all unknown devices. They knew the password, or another first factor."""
FACTOR_ON_DEVICE = msgspec.structs.replace(DEVICE, name="factor_on_device")
"""The same, on one device where the person has signed in before."""
FACTOR_ON_DEVICES = msgspec.structs.replace(DEVICES, name="factor_on_devices")
"""The same, on all such devices."""

SECOND_STEPS = Limit(name="second_steps", free=5, leak_ms=MINUTE_MS, longest_wait_ms=0, memory_ms=DAY_MS)
"""Wrong second steps of one account. It refuses nothing: the fifth in a row is told by mail. A day later they are forgotten."""

CODES = Limit(
    name="codes", free=MAX_CONSECUTIVE, leak_ms=HOUR_MS, longest_wait_ms=0, ceiling=MAX_CONSECUTIVE, memory_ms=30 * DAY_MS
)
"""Wrong codes for one address, over all mails and purposes. At the ceiling its mails carry links alone, until one is used."""


def _steady(name: str, *, free: int, leak_ms: int) -> Limit:
    """Return a limit that allows `free` times at once, and then once in `leak_ms`."""
    return Limit(name=name, free=free, leak_ms=leak_ms, first_wait_ms=leak_ms, longest_wait_ms=leak_ms)


MAILS = _steady("mails", free=5, leak_ms=50 * MINUTE_MS)
"""Mails of one purpose to one address that unknown devices ask for. A link lives for an hour: while a stranger asks for more, the
mailbox always has one that its owner can use."""
MAILS_OF_DEVICE = _steady("mails_of_device", free=5, leak_ms=10 * MINUTE_MS)
"""The same, asked for on one device where the person has signed in before."""
MAILS_OF_DEVICES = _steady("mails_of_devices", free=20, leak_ms=10 * MINUTE_MS)
"""The same, on all such devices: against an attacker who has collected many cookies or tokens of the account."""


def grow(limit: Limit, people: int) -> Limit:
    """Return `NETWORK` or `SITE` for networks of more than 10,000 people: as many times more failures are free, and leak away."""
    times = max(1, people // 10_000)
    return msgspec.structs.replace(limit, free=limit.free * times, leak_ms=limit.leak_ms // times)


def new_accounts(people: int) -> Limit:
    """Return the limit for new accounts of a network of so many people. For 10,000: 20 at once, then one in three minutes."""
    free = max(1, people // 500)
    return _steady("new_accounts", free=free, leak_ms=HOUR_MS // free)


def mails_of_network(people: int) -> Limit:
    """Return the limit for mails that a network of so many people asks for. For 10,000: 40 at once, then one in 90 seconds."""
    free = max(1, people // 250)
    return _steady("mails_of_network", free=free, leak_ms=HOUR_MS // free)


class Failures(msgspec.Struct, frozen=True):
    """The failures counted under one key.

    Attributes:
        level: Thousandths of a failure, at `last_at_ms`.
        consecutive: Failures since the last success.
        last_at_ms: The time of the last failure.
        forgotten_at_ms: When they no longer count, so that the store may delete them; None if only a success or an operator ends
            them.
    """

    level: int = 0
    consecutive: int = 0
    last_at_ms: int = 0
    forgotten_at_ms: int | None = 0


def is_locked(failures: Failures, limit: Limit, now_ms: int) -> bool:
    """Return True if the ceiling is reached: every attempt is refused until a success elsewhere or an operator ends it."""
    return limit.ceiling is not None and _remember(failures, now_ms).consecutive >= limit.ceiling


def wait_ms(failures: Failures, limit: Limit, now_ms: int) -> int:
    """Return the milliseconds until the next attempt is accepted, at most `longest_wait_ms`; 0 if it is accepted now.

    A longer wait can only come from a clock that was set back after the failure. It is ignored.
    """
    over = -(-failures.level // _UNIT) - limit.free  # a failure counts until all of it has leaked away
    if over < 0:
        return 0
    wait = min(limit.first_wait_ms << min(over, _MAX_DOUBLINGS), limit.longest_wait_ms)
    left = failures.last_at_ms + wait - now_ms
    if left > limit.longest_wait_ms + CLOCK_TOLERANCE_MS:
        return 0
    return min(max(0, left), limit.longest_wait_ms)


def add_failure(failures: Failures, limit: Limit, now_ms: int) -> Failures:
    """Return the failures with one more added, after those that have leaked away by then."""
    before = _remember(failures, now_ms)
    passed_ms = now_ms - before.last_at_ms
    level = max(0, before.level - max(0, passed_ms) * _UNIT // limit.leak_ms) + _UNIT
    # A request that arrived earlier may be counted later. If the last failure is further ahead, the clock was set back.
    last_at_ms = before.last_at_ms if -CLOCK_TOLERANCE_MS <= passed_ms < 0 else now_ms
    drained_at_ms = last_at_ms + -(-level * limit.leak_ms // _UNIT)
    return Failures(
        level=level,
        consecutive=before.consecutive + 1,
        last_at_ms=last_at_ms,
        forgotten_at_ms=None if limit.memory_ms is None else max(drained_at_ms, last_at_ms + limit.memory_ms),
    )


def _remember(failures: Failures, now_ms: int) -> Failures:
    is_forgotten = failures.forgotten_at_ms is not None and failures.forgotten_at_ms <= now_ms
    return Failures() if is_forgotten else failures
