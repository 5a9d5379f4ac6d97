"""The statements about attempts."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.attempt import AttemptRow
from .columns import Columns
from .executor import Executor, purge_statement

COLUMNS = Columns(AttemptRow)
_SELECT = f"SELECT {COLUMNS.list} FROM attempt"
_UPSERT = (
    f"INSERT INTO attempt ({COLUMNS.list}) VALUES ({COLUMNS.marks}) "
    "ON CONFLICT (id) DO UPDATE SET tries = excluded.tries, enrolled = excluded.enrolled, used_at_ms = excluded.used_at_ms"
)
_PURGE = purge_statement("attempt", "id", "expires_at_ms")


class SqlAttempts:
    """Implements `handstamp.storage.store.AttemptTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get_many(self, attempt_ids: Sequence[str]) -> dict[str, AttemptRow]:
        marks = ", ".join("?" * len(attempt_ids))
        found = [COLUMNS.decode(row) for row in await self._executor.run(f"{_SELECT} WHERE id IN ({marks})", tuple(attempt_ids))]
        return {row.id: row for row in found}

    async def save(self, row: AttemptRow) -> None:
        await self._executor.run(_UPSERT, COLUMNS.encode(row))

    async def delete_of(self, account_id: str) -> None:
        await self._executor.run("DELETE FROM attempt WHERE account_id = ?", (account_id,))

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` attempts that have expired. Return the number of deleted rows."""
        return len(await self._executor.run(_PURGE, (now_ms, limit)))
