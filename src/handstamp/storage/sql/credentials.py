"""The statements about service credentials."""

from __future__ import annotations

from ...domain.credential import Credential
from .columns import Columns
from .executor import Executor

COLUMNS = Columns(Credential)
_SELECT = f"SELECT {COLUMNS.list} FROM credential"
_INSERT = f"INSERT INTO credential ({COLUMNS.list}) VALUES ({COLUMNS.marks}) ON CONFLICT (name) DO NOTHING RETURNING id"


class SqlCredentials:
    """Implements `handstamp.storage.store.CredentialTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self, credential_id: str) -> Credential | None:
        rows = await self._executor.run(f"{_SELECT} WHERE id = ?", (credential_id,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def list_all(self) -> list[Credential]:
        return [COLUMNS.decode(row) for row in await self._executor.run(f"{_SELECT} ORDER BY name")]

    async def insert(self, credential: Credential) -> bool:
        return bool(await self._executor.run(_INSERT, COLUMNS.encode(credential)))

    async def delete(self, credential_id: str) -> None:
        await self._executor.run("DELETE FROM credential WHERE id = ?", (credential_id,))
