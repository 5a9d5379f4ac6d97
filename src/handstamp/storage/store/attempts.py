"""Queries and changes of attempts."""

from __future__ import annotations

from typing import Protocol

from ...domain.attempt import AttemptRow


class AttemptQueries(Protocol):
    """Reads attempts."""

    async def get(self, attempt_id: str) -> AttemptRow | None:
        """Return the row of an attempt, None if nothing of it is stored."""


class AttemptTable(AttemptQueries, Protocol):
    """Reads and changes attempts."""

    async def save(self, row: AttemptRow) -> None:
        """Write the row of an attempt. It replaces the one before."""

    async def delete_of(self, account_id: str) -> None:
        """Remove the attempts of an account."""
