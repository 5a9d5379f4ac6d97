"""Queries and changes of receivers of the audit trail."""

from __future__ import annotations

from typing import Protocol

from ...domain.receiver import Receiver


class ReceiverQueries(Protocol):
    """Reads receivers."""

    async def get(self, receiver_id: str) -> Receiver | None:
        """Return a receiver."""

    async def list_all(self) -> list[Receiver]:
        """Return all receivers, those that are no longer configured too."""


class ReceiverTable(ReceiverQueries, Protocol):
    """Reads and changes receivers."""

    async def save(self, receiver: Receiver) -> None:
        """Add a receiver, or replace its row."""
