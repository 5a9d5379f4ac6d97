"""The row about time."""

from __future__ import annotations

from typing import Protocol

from ...domain.timekeeping import Timekeeping


class TimekeepingQueries(Protocol):
    """Reads the row about time."""

    async def get(self) -> Timekeeping | None:
        """Return the row. None before the first round of housekeeping."""


class TimekeepingTable(TimekeepingQueries, Protocol):
    """Reads and writes the row about time."""

    async def save(self, kept: Timekeeping) -> None:
        """Write the row."""
