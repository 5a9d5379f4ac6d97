"""Queries and additions of the audit trail."""

from __future__ import annotations

from typing import Protocol

from ...domain.event import Event


class EventQueries(Protocol):
    """Reads the audit trail."""

    async def list_about(self, about: str, *, limit: int) -> list[Event]:
        """Return the last `limit` events whose subject or session is `about`, oldest first."""


class EventTable(EventQueries, Protocol):
    """Reads and extends the audit trail."""

    async def insert(self, event: Event) -> None:
        """Record what this transaction does."""
