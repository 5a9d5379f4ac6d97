"""The time that a deployment has seen, and how far expired rows may be deleted.

A clock that is wrong for an hour must not delete what people still need. So the time up to which rows are deleted is stored, and
catches up with the clock at no more than `CATCH_UP` times its pace. In an hour of a wrong clock it advances by two days.
"""

from __future__ import annotations

import msgspec

from .policy import DAY_MS, MINUTE_MS

CATCH_UP = 48
"""How many milliseconds the purge advances in one. A service that was off for 40 days has caught up in 20 hours."""
LONGEST_ROUND_MS = MINUTE_MS
"""At most this much counts as the time since the last round. Rounds of housekeeping are half a minute apart."""
USUAL_ABSENCE_MS = 7 * DAY_MS
"""A service that starts after a longer absence waits a moment before it believes the clock."""

INTERRUPTION_MS = 2 * MINUTE_MS
"""A pause this long may have been used to restore a backup."""


class Timekeeping(msgspec.Struct, frozen=True):
    """The one row about time, in milliseconds since 1970."""

    seen_at_ms: int
    """The latest time at which a process has kept house."""
    purged_to_ms: int
    """Rows that had expired by then may have been deleted."""


def advance(kept: Timekeeping | None, now_ms: int) -> Timekeeping:
    """Return the row for a round of housekeeping at `now_ms`, which is believed. `kept` is None in the first round ever."""
    if kept is None:
        return Timekeeping(now_ms, now_ms)
    passed_ms = min(max(0, now_ms - kept.seen_at_ms), LONGEST_ROUND_MS)
    return Timekeeping(now_ms, min(now_ms, kept.purged_to_ms + CATCH_UP * passed_ms))


def may_be_restored(kept: Timekeeping | None, now_ms: int, *, last_ms: int | None) -> bool:
    """Return whether the database may be a restored backup: what was used up since the backup would be valid again.

    Args:
        kept: The row, None in the first round ever.
        now_ms: The time, which is believed.
        last_ms: When this process last kept house; None in its first round. A process that runs knows the latest time itself.
    """
    if kept is None:
        return False
    return kept.seen_at_ms + INTERRUPTION_MS < (now_ms if last_ms is None else last_ms)
