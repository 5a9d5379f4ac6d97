"""The statements about failed attempts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter

from ...domain.throttle import Failures
from ..store.failures import Count
from .columns import Columns
from .executor import Executor, purge_statement

COLUMNS = Columns(Failures)
_PURGE = purge_statement("failure", "key", "forgotten_at_ms")


class SqlFailures:
    """Implements `handstamp.storage.store.FailureTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get_many(self, keys: Sequence[str]) -> list[Failures]:
        rows = await self._executor.run(f"SELECT key, {COLUMNS.list} FROM failure WHERE key IN ({_marks(len(keys))})", keys)
        found = {row[0]: COLUMNS.decode(row[1:]) for row in rows}
        return [found.get(key, Failures()) for key in keys]

    async def list_of(self, account: str, *, limit: int) -> list[Failures]:
        rows = await self._executor.run(f"SELECT {COLUMNS.list} FROM failure WHERE account = ? LIMIT ?", (account, limit))
        return [COLUMNS.decode(row) for row in rows]

    async def save_many(self, counts: Sequence[Count]) -> None:
        in_order = sorted(counts, key=attrgetter("key"))  # two transactions that lock the same rows lock them in the same order
        values = [value for count in in_order for value in (count.key, count.account, *COLUMNS.encode(count.failures))]
        await self._executor.run(_upsert(len(in_order)), values)

    async def delete_many(self, keys: Sequence[str]) -> None:
        await self._executor.run(f"DELETE FROM failure WHERE key IN ({_marks(len(keys))})", keys)

    async def delete_of(self, account: str) -> int:
        return len(await self._executor.run("DELETE FROM failure WHERE account = ? RETURNING key", (account,)))

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` counts that no longer slow anything down. Return the number of deleted rows."""
        return len(await self._executor.run(_PURGE, (now_ms, limit)))


def _marks(count: int) -> str:
    return ", ".join("?" * count)


@lru_cache
def _upsert(rows: int) -> str:
    """Return the statement that inserts so many rows, or replaces those that exist."""
    marks = ", ".join([f"(?, ?, {COLUMNS.marks})"] * rows)
    changes = ", ".join(f"{name} = excluded.{name}" for name in ("account", *COLUMNS.names))
    return f"INSERT INTO failure (key, account, {COLUMNS.list}) VALUES {marks} ON CONFLICT (key) DO UPDATE SET {changes}"
