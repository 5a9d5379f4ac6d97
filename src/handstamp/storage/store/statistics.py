"""Counts of all rows of a table, one piece at a time."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from ...domain.policy import DAY_MS

Features = tuple[Any, ...]
"""What rows have in common. Each method says which features it tells apart."""
WINDOWS_MS = (DAY_MS, 7 * DAY_MS)
"""The last day and the last week. The feature `age` is 0 within the first, 1 within the second, 2 before, and 0 in the future."""


class Piece(NamedTuple):
    """How many of the next rows of a table have which features.

    Attributes:
        counts: How many rows have these features.
        last: The place to go on from, None if those were the last rows.
    """

    counts: dict[Features, int]
    last: Any


class StatisticQueries(Protocol):
    """Counts the next `limit` rows after a place. None is the first place. Rows are in the order of their primary keys."""

    async def count_accounts(self, place: str | None, *, limit: int) -> Piece:
        """Count accounts by: is verified, is disabled, has a password, has an authenticator app, has a passkey."""

    async def count_sessions(self, place: str | None, *, now_ms: int, limit: int) -> Piece:
        """Count sessions by: lives, delivery, `bound_by`. One that is neither revoked, expired nor idle lives."""

    async def count_events(self, place: int | None, *, now_ms: int, limit: int) -> Piece:
        """Count events by: age (`WINDOWS_MS`), kind. The newest are counted first."""

    async def count_failures(self, place: str | None, *, now_ms: int, limit: int) -> Piece:
        """Count failed attempts by: whether all on one address are counted together, age of the last, is locked for ever."""

    async def count_mails(self, place: str | None, *, limit: int) -> Piece:
        """Count mails by: waits to be sent."""

    async def count_revocations(self, place: int | None, *, limit: int) -> Piece:
        """Count revocations, which have no features."""
