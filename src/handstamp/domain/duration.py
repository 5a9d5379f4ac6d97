"""Durations as people write them."""

from __future__ import annotations

import re

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9})\s*([smhd]?)", re.ASCII)


def parse_duration(value: object) -> int:
    """Return seconds for `900`, `"900"`, `"15m"`, `"12h"` or `"30d"`. Raises `ValueError` for anything else."""
    match = None if isinstance(value, bool) else _DURATION.fullmatch(str(value).strip().lower())
    if match is None:
        raise ValueError("write a duration as seconds or as 15m, 12h, 30d")
    return int(match[1]) * _UNITS_S[match[2]]
