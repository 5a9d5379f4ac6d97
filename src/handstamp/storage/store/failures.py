"""Queries and changes of the counts of failed attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ...domain.throttle import Failures


class Count(NamedTuple):
    """One row: a key, the failures under it, and the account that they belong to (a pseudonym), None if to no single one."""

    key: str
    failures: Failures
    account: str | None = None


class FailureQueries(Protocol):
    """Reads counts of failed attempts."""

    async def get_many(self, keys: Sequence[str]) -> list[Failures]:
        """Return the failed attempts counted under each key, in the order of `keys`. An unknown key has zero."""

    async def list_of(self, account: str, *, limit: int) -> list[Failures]:
        """Return up to `limit` counts that belong to an account (a pseudonym), in any order."""


class FailureTable(FailureQueries, Protocol):
    """Reads and changes counts of failed attempts."""

    async def save_many(self, counts: Sequence[Count]) -> None:
        """Write the counts of one or more different keys."""

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Reset the counts of one or more keys."""

    async def delete_of(self, account: str) -> int:
        """Reset all counts that belong to an account. Return how many there were."""
