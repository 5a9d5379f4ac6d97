"""Queries and changes of attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...domain.attempt import AttemptRow


class AttemptQueries(Protocol):
    """Reads attempts."""

    async def get_many(self, attempt_ids: Sequence[str]) -> dict[str, AttemptRow]:
        """Return the rows of attempts by their ids. Those of which nothing is stored are missing."""


class AttemptTable(AttemptQueries, Protocol):
    """Reads and changes attempts."""

    async def save(self, row: AttemptRow) -> None:
        """Write the row of an attempt. It replaces the one before."""

    async def delete_of(self, account_id: str) -> None:
        """Remove the attempts of an account."""
