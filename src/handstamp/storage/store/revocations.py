"""Queries and additions of revocations."""

from __future__ import annotations

from typing import Protocol

from ...domain.revocation import Revocation


class RevocationQueries(Protocol):
    """Reads revocations."""

    async def list_since(self, seq: int, *, limit: int) -> list[Revocation]:
        """Return up to `limit` revocations whose number is at least `seq`, in the order of their numbers."""

    async def count(self, *, limit: int) -> int:
        """Return how many revocations are held, at most `limit`."""

    async def get_last(self) -> Revocation:
        """Return the revocation with the highest number. There always is one."""


class RevocationTable(RevocationQueries, Protocol):
    """Reads and adds revocations."""

    async def insert(self, revocation: Revocation) -> None:
        """Add a revocation, under the next number whatever its `seq`. Do nothing if its kind and name are there already."""
