"""The statements about the row about time."""

from __future__ import annotations

from ...domain.timekeeping import Timekeeping
from .columns import Columns
from .executor import Executor

COLUMNS = Columns(Timekeeping)
_SELECT = f"SELECT {COLUMNS.list} FROM timekeeping"
_UPSERT = (
    f"INSERT INTO timekeeping (id, {COLUMNS.list}) VALUES (1, {COLUMNS.marks}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS.names)}"
)


class SqlTimekeeping:
    """Implements `handstamp.storage.store.TimekeepingTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self) -> Timekeeping | None:
        rows = await self._executor.run(_SELECT)
        return COLUMNS.decode(rows[0]) if rows else None

    async def save(self, kept: Timekeeping) -> None:
        await self._executor.run(_UPSERT, COLUMNS.encode(kept))
