"""The statements about signing keys."""

from __future__ import annotations

from ...domain.keyring import KeyRecord
from .columns import Columns
from .executor import Executor

COLUMNS = Columns(KeyRecord)
_SELECT_ALL = f"SELECT {COLUMNS.list} FROM signing_key ORDER BY active_from_ms, kid"
_INSERT = f"INSERT INTO signing_key ({COLUMNS.list}) VALUES ({COLUMNS.marks})"


class SqlKeys:
    """Implements `handstamp.storage.store.KeyTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def list_all(self) -> list[KeyRecord]:
        return [COLUMNS.decode(row) for row in await self._executor.run(_SELECT_ALL)]

    async def insert(self, record: KeyRecord) -> None:
        await self._executor.run(_INSERT, COLUMNS.encode(record))

    async def delete(self, kid: str) -> None:
        await self._executor.run("DELETE FROM signing_key WHERE kid = ?", (kid,))
