"""The statements about receivers of the audit trail."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.receiver import Receiver
from .columns import Columns
from .executor import Executor

COLUMNS = Columns(Receiver)
_SELECT = f"SELECT {COLUMNS.list} FROM receiver"
_UPSERT = (
    f"INSERT INTO receiver ({COLUMNS.list}) VALUES ({COLUMNS.marks}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS.names if name != 'id')}"
)


class SqlReceivers:
    """Implements `handstamp.storage.store.ReceiverTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self, receiver_id: str) -> Receiver | None:
        rows = await self._executor.run(f"{_SELECT} WHERE id = ?", (receiver_id,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def list_all(self) -> list[Receiver]:
        return [COLUMNS.decode(row) for row in await self._executor.run(f"{_SELECT} ORDER BY name, id")]

    async def save(self, receiver: Receiver) -> None:
        await self._executor.run(_UPSERT, COLUMNS.encode(receiver))

    async def count_lost(self, deleted: Sequence[int]) -> None:
        """Record which of these events, which are being deleted, receivers have not accepted."""
        for receiver in await self.list_all() if deleted else ():
            if lost := sum(number > receiver.sent_to for number in deleted):
                await self._executor.run("UPDATE receiver SET lost = lost + ? WHERE id = ?", (lost, receiver.id))
