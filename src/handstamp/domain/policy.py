"""How long things last, and how forgiving rotation is."""

from __future__ import annotations

import msgspec

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

MAX_ACCESS_LIFETIME_MS = HOUR_MS
"""No access token lives longer: it bounds what a verifier believes and how long a revocation must be remembered."""
MAX_GRACE_MS = MINUTE_MS
MAX_LEEWAY_S = 60


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers that the rules of sessions depend on. Raises `ValueError` when one is out of its bounds.

    All durations are milliseconds. `recovery_interval_ms=None` allows no late repeat at all; together with `grace_ms=0` the
    server is strict (RFC 9700 §4.14.2). `catch_up=False` treats a token that is ahead of the database as reuse.
    """

    access_lifetime_ms: int = 15 * MINUTE_MS
    idle_lifetime_ms: int = 14 * DAY_MS
    session_lifetime_ms: int = 30 * DAY_MS
    grace_ms: int = 10 * SECOND_MS
    recovery_interval_ms: int | None = 24 * HOUR_MS
    catch_up: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense or that would switch a protection off."""
        if not 30 * SECOND_MS <= self.access_lifetime_ms <= MAX_ACCESS_LIFETIME_MS:
            raise ValueError("ACCESS_LIFETIME must be between 30s and 1h")
        if not self.access_lifetime_ms < self.idle_lifetime_ms <= self.session_lifetime_ms:
            raise ValueError("REFRESH_IDLE_LIFETIME must be longer than ACCESS_LIFETIME and at most SESSION_LIFETIME")
        if self.session_lifetime_ms > 400 * DAY_MS:
            raise ValueError("SESSION_LIFETIME must be at most 400d, the longest that browsers keep a cookie")
        if not 0 <= self.grace_ms <= MAX_GRACE_MS:
            raise ValueError("GRACE must be between 0 and 60s")
        if self.recovery_interval_ms is not None and self.recovery_interval_ms < MINUTE_MS:
            raise ValueError("RECOVERY_INTERVAL must be at least 1m, or 'off'")
