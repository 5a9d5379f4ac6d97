"""Queries and changes of the counts of failed attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...domain.throttle import Failures


class FailureQueries(Protocol):
    """Reads counts of failed attempts."""

    async def get_many(self, keys: Sequence[str]) -> list[Failures]:
        """Return the failed attempts counted under each key, in the order of `keys`. An unknown key has zero."""


class FailureTable(FailureQueries, Protocol):
    """Reads and changes counts of failed attempts."""

    async def save(self, key: str, failures: Failures) -> None:
        """Write the count of one key."""

    async def delete(self, key: str) -> None:
        """Reset the count of one key."""
