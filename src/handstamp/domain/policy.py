"""Lifetimes, and how tolerant rotation is."""

from __future__ import annotations

from typing import Literal

import msgspec

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

MAX_ACCESS_LIFETIME_MS = HOUR_MS
"""The longest lifetime of any access token. Verifiers refuse longer ones, and a revocation is kept at least this long."""
MAX_GRACE_MS = MINUTE_MS
MAX_LEEWAY_S = 60
BINDING_MS = 5 * MINUTE_MS
"""How long after its start a session can be bound to a device."""

DeviceBinding = Literal["off", "preferred", "required"]
"""Whether sessions are bound to devices: never; where the client can; or else they end after `BINDING_MS`."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The durations and switches that the rules of sessions depend on.

    Attributes:
        access_lifetime_ms: Lifetime of an access token, 30 s to 1 h.
        idle_lifetime_ms: A session ends if it is not refreshed for this long.
        session_lifetime_ms: A session ends after this long in any case; at most 400 days.
        grace_ms: How long after a rotation the previous refresh token gets the same answer again; 0 to 60 s.
        recovery_interval_ms: At most one late repeat per interval; at least 1 min. None allows none, which together with
            `grace_ms=0` makes the server strict (RFC 9700 §4.14.2).
        catch_up: Accept a refresh token that is newer than the database. False treats it as reuse.
        device_binding: Whether new sessions are bound to devices.

    Raises:
        ValueError: If a value is out of bounds.
    """

    access_lifetime_ms: int = 15 * MINUTE_MS
    idle_lifetime_ms: int = 14 * DAY_MS
    session_lifetime_ms: int = 30 * DAY_MS
    grace_ms: int = 10 * SECOND_MS
    recovery_interval_ms: int | None = 24 * HOUR_MS
    catch_up: bool = True
    device_binding: DeviceBinding = "preferred"

    def __post_init__(self) -> None:
        """Refuse values that contradict each other or would switch a protection off."""
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
