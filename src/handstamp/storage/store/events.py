"""Queries and additions of the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...domain.event import Event


class EventQueries(Protocol):
    """Reads the audit trail."""

    async def list_about(self, about: str, *, limit: int) -> list[Event]:
        """Return the last `limit` events whose subject or session is `about`, oldest first."""

    async def list_deleted(self, account_ids: Sequence[str]) -> set[str]:
        """Return which of up to 1000 ids belonged to accounts that were deleted, as far back as the audit trail goes."""

    async def list_all_of(self, subject: str, *, after: int, limit: int) -> list[tuple[int, Event]]:
        """Return up to `limit` events of a subject with a number above `after`, each with its number, oldest first."""

    async def list_page(self, *, after: int, until: int, since_ms: int, before_ms: int, limit: int) -> list[tuple[int, Event]]:
        """Return up to `limit` events with their numbers, in the order of these.

        Their numbers are above `after` and at most `until`, their times at least `since_ms` and below `before_ms`.
        """

    async def list_back(self, *, before: int, subject: str | None, limit: int) -> list[tuple[int, Event]]:
        """Return up to `limit` events with numbers below `before`, newest first: all, or those of a subject."""

    async def find_place(self, at_ms: int) -> int:
        """Return the number of the last event before a time, in milliseconds since 1970; 0 if there is none.

        Numbers grow with time, but not exactly: an event has the time of its request, and its number from its transaction.
        """

    async def get_last_number(self) -> int:
        """Return the number of the last event; 0 if there is none.

        Events with lower numbers may still be invisible, because transactions commit in any order: see `get_horizon`.
        """

    async def get_horizon(self) -> int:
        """Return a place in the order of transactions, for `has_passed`. All that have begun to write are before it."""

    async def has_passed(self, horizon: int) -> bool:
        """Return whether all transactions before a horizon have ended, so that whatever they wrote is visible."""


class EventTable(EventQueries, Protocol):
    """Reads and extends the audit trail."""

    async def insert(self, event: Event) -> None:
        """Record what this transaction does."""

    async def insert_many(self, events: Sequence[Event]) -> None:
        """Record up to 1000 events at once."""
