"""The caller of a use case."""

from __future__ import annotations

import msgspec


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the use cases see it.

    Attributes:
        now_ms: The time of the request, in milliseconds since 1970.
        ip: The address of the client, "" if unknown.
        user_agent: The `User-Agent` header, "" if there was none.
    """

    now_ms: int
    ip: str = ""
    user_agent: str = ""
