"""Times as text for people, on a terminal and on a page."""

from __future__ import annotations

import datetime


def format_time(at_ms: int) -> str:
    """Return a time as "2026-01-31 12:00:00" (UTC)."""
    try:
        at = datetime.datetime.fromtimestamp(at_ms // 1000, tz=datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return "a time outside the calendar"
    return at.strftime("%Y-%m-%d %H:%M:%S")


def format_distance(from_ms: int, to_ms: int) -> str:
    """Return the distance between two times: "in 14 minutes", "3 days ago"."""
    seconds = abs(to_ms - from_ms) // 1000
    unit, size = next(
        ((unit, size) for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)) if seconds >= 2 * size), ("second", 1)
    )
    amount = f"{seconds // size} {unit}{'' if seconds // size == 1 else 's'}"
    return f"in {amount}" if to_ms > from_ms else f"{amount} ago"
