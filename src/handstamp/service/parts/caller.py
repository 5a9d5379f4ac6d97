"""Who asks, and when."""

from __future__ import annotations

import msgspec


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the use cases see it: its one time, and where it came from."""

    now_ms: int
    ip: str = ""
    user_agent: str = ""
