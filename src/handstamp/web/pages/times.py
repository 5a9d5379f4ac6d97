"""How pages write a time: in words, with the exact time behind them."""

from __future__ import annotations

from ...languages.catalogue import ENGLISH, to_datetime
from ..edge import Call


def describe_time(at_ms: int, call: Call) -> dict[str, str]:
    """Return a time for the macro `time` of templates: for machines, exact, and in words."""
    return {
        "iso": to_datetime(at_ms).isoformat(),
        "exact": ENGLISH.write_time(at_ms),  # digits, which everybody reads: other formats would take a millisecond a page
        "words": call.language.describe_distance(call.now_ms, at_ms),
    }
