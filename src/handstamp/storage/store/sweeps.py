"""Queries and changes of sweeps."""

from __future__ import annotations

from typing import Protocol

from ...domain.sweep import Sweep


class SweepQueries(Protocol):
    """Reads sweeps that are not finished."""

    async def get_first(self, subject: str) -> Sweep | None:
        """Return the oldest unfinished sweep of a subject."""

    async def get_abandoned(self, *, before_ms: int) -> Sweep | None:
        """Return an unfinished sweep on which no process has worked since `before_ms`."""


class SweepTable(SweepQueries, Protocol):
    """Reads and changes sweeps."""

    async def insert(self, sweep: Sweep) -> None:
        """Add a sweep, under the next number whatever its `id`."""

    async def touch(self, sweep_id: int, *, now_ms: int) -> None:
        """Record that a process works on a sweep."""

    async def delete(self, sweep_id: int) -> None:
        """Remove a sweep, which is finished."""
