"""What the statements of every aggregate run on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any


class Executor(ABC):
    """Runs statements in a transaction that its owner begins and ends."""

    __slots__ = ()

    @abstractmethod
    async def run(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        """Execute a statement and return all rows that it yields."""

    @abstractmethod
    async def add_revocations(self, entries: Sequence[Sequence[Any]]) -> None:
        """Add revocations, given as (kind, name, exp_s), so that their numbers grow in the order of commits."""


def purge_statement(table: str, key: str, age: str, *, keep: str = "") -> str:
    """Return the statement that deletes up to so many rows whose `age` column is not above a limit.

    `keep` is a further condition, beginning with AND. The parameters are the limit of age and the number of rows.
    """
    old = f"SELECT {key} FROM {table} WHERE {age} <= ? {keep} LIMIT ?"
    return f"DELETE FROM {table} WHERE {key} IN ({old}) RETURNING {key}"
