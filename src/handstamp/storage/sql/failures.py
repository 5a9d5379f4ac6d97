"""The statements about failed attempts."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.throttle import LONGEST_MEMORY_MS, Failures
from .columns import Columns
from .executor import Executor, purge_statement

COLUMNS = Columns(Failures)
_SELECT = f"SELECT {COLUMNS.list} FROM failure WHERE key = ?"
_UPSERT = (
    f"INSERT INTO failure (key, {COLUMNS.list}) VALUES (?, {COLUMNS.marks}) "
    f"ON CONFLICT (key) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS.names)}"
)
_PURGE = purge_statement("failure", "key", "last_at_ms")


class SqlFailures:
    """Implements `handstamp.storage.store.FailureTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get_many(self, keys: Sequence[str]) -> list[Failures]:
        found = [await self._executor.run(_SELECT, (key,)) for key in keys]
        return [COLUMNS.decode(rows[0]) if rows else Failures() for rows in found]

    async def save(self, key: str, failures: Failures) -> None:
        await self._executor.run(_UPSERT, (key, *COLUMNS.encode(failures)))

    async def delete(self, key: str) -> None:
        await self._executor.run("DELETE FROM failure WHERE key = ?", (key,))

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` counts that no longer slow anything down. Return the number of deleted rows."""
        return len(await self._executor.run(_PURGE, (now_ms - LONGEST_MEMORY_MS, limit)))
