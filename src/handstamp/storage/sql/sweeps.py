"""The statements about sweeps that are not finished."""

from __future__ import annotations

from ...domain.sweep import Sweep
from .columns import Columns
from .executor import Executor

COLUMNS = Columns(Sweep)
_WRITTEN = Columns(Sweep, without=("id",))
"""The database assigns `id`."""
_SELECT = f"SELECT {COLUMNS.list} FROM sweep"
_INSERT = f"INSERT INTO sweep ({_WRITTEN.list}) VALUES ({_WRITTEN.marks})"


class SqlSweeps:
    """Implements `handstamp.storage.store.SweepTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get_first(self, subject: str) -> Sweep | None:
        rows = await self._executor.run(f"{_SELECT} WHERE subject = ? ORDER BY id LIMIT 1", (subject,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def get_abandoned(self, *, before_ms: int) -> Sweep | None:
        rows = await self._executor.run(f"{_SELECT} WHERE touched_at_ms < ? ORDER BY id LIMIT 1", (before_ms,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def insert(self, sweep: Sweep) -> None:
        await self._executor.run(_INSERT, _WRITTEN.encode(sweep))

    async def touch(self, sweep_id: int, *, now_ms: int) -> None:
        await self._executor.run("UPDATE sweep SET touched_at_ms = ? WHERE id = ?", (now_ms, sweep_id))

    async def delete(self, sweep_id: int) -> None:
        await self._executor.run("DELETE FROM sweep WHERE id = ?", (sweep_id,))
