"""Decides whether a clock that can be set is believed, by comparing it with one that cannot.

The difference of the two clocks is constant unless the clock is set. The rule:

- A step of up to `STEP_MS` is followed at once. Corrections by NTP and leap seconds are such steps.
- After a larger leap, forwards or backwards, the clock is in doubt until the new time has stood for as long as the leap is wide,
  at most `SETTLE_MS`. If the old time comes back meanwhile, it is believed at once.
- At a start there is no earlier difference. The clock is in doubt if it is behind the last time that the database has seen, or
  more than `USUAL_ABSENCE_MS` ahead of it. In the second case a short wait is enough: the service may really have been off.
"""

from __future__ import annotations

from ...domain.policy import MINUTE_MS
from ...domain.timekeeping import USUAL_ABSENCE_MS

STEP_MS = MINUTE_MS
SETTLE_MS = 10 * MINUTE_MS
SETTLE_AFTER_ABSENCE_MS = MINUTE_MS


class LeapGuard:
    """The believed difference of two clocks in milliseconds, and whether the present one is in doubt. It reads no clock."""

    __slots__ = ("_doubted_ms", "_high_ms", "_low_ms", "_since_ms", "_stand_ms", "ahead_ms")

    def __init__(self, ahead_ms: int, steady_ms: int, *, seen_at_ms: int | None = None) -> None:
        """Compare a clock with what the database knows.

        Args:
            ahead_ms: The clock minus the steady clock.
            steady_ms: The steady clock.
            seen_at_ms: The last time that the database has seen, None if it is new.
        """
        self._doubted_ms: int | None = None
        self._since_ms = self._stand_ms = 0
        self.ahead_ms: int = ahead_ms
        self._believe(ahead_ms)
        if seen_at_ms is not None:
            self.ahead_ms = seen_at_ms - steady_ms
            self._low_ms, self._high_ms = self.ahead_ms - STEP_MS, self.ahead_ms + USUAL_ABSENCE_MS
            self.see(ahead_ms, steady_ms)
            if ahead_ms > self._high_ms:
                self._stand_ms = SETTLE_AFTER_ABSENCE_MS

    @property
    def is_in_doubt(self) -> bool:
        """True while the clock is not believed. `ahead_ms` is the earlier difference then."""
        return self._doubted_ms is not None

    @property
    def leap_ms(self) -> int:
        """By how much the clock has leapt, 0 if it is believed."""
        return 0 if self._doubted_ms is None else self._doubted_ms - self.ahead_ms

    def believes(self, ahead_ms: int) -> bool:
        """Return whether a reading can be used without `see`. Every request asks this."""
        return self._doubted_ms is None and self._low_ms <= ahead_ms <= self._high_ms

    def see(self, ahead_ms: int, steady_ms: int) -> None:
        """Take a reading: the clock minus the steady clock, and the steady clock."""
        if self._low_ms <= ahead_ms <= self._high_ms:
            self._believe(ahead_ms)
        elif self._doubted_ms is None or abs(ahead_ms - self._doubted_ms) > STEP_MS:
            self._doubted_ms, self._since_ms = ahead_ms, steady_ms
            self._stand_ms = min(max(abs(ahead_ms - self.ahead_ms), STEP_MS), SETTLE_MS)
        elif steady_ms - self._since_ms >= self._stand_ms:
            self._believe(ahead_ms)
        else:
            self._doubted_ms = ahead_ms

    def _believe(self, ahead_ms: int) -> None:
        self.ahead_ms = ahead_ms
        self._doubted_ms = None
        self._low_ms, self._high_ms = ahead_ms - STEP_MS, ahead_ms + STEP_MS
