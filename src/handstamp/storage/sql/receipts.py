"""The statements about receipts."""

from __future__ import annotations

from ...domain.receipt import LIFETIME_MS, Receipt
from .columns import Columns
from .executor import Executor, purge_statement

COLUMNS = Columns(Receipt)
_SELECT = f"SELECT {COLUMNS.list} FROM receipt WHERE key = ?"
_UPSERT = (
    f"INSERT INTO receipt ({COLUMNS.list}) VALUES ({COLUMNS.marks}) "
    f"ON CONFLICT (key) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS.names[1:])}"
)
_PURGE = purge_statement("receipt", "key", "at_ms")


class SqlReceipts:
    """Implements `handstamp.storage.store.ReceiptTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self, key: str) -> Receipt | None:
        rows = await self._executor.run(_SELECT, (key,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def save(self, receipt: Receipt) -> None:
        await self._executor.run(_UPSERT, COLUMNS.encode(receipt))

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` receipts that are older than `LIFETIME_MS`. Return the number of deleted rows."""
        return len(await self._executor.run(_PURGE, (now_ms - LIFETIME_MS, limit)))
