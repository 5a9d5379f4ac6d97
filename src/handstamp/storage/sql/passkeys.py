"""The statements about passkeys."""

from __future__ import annotations

from ...domain.passkey import Passkey
from .columns import Columns
from .executor import Executor

COLUMNS = Columns(Passkey)
_CHANGING = ("sign_count", "name", "is_backed_up", "used_at_ms")
_encode_update = COLUMNS.encoder((*_CHANGING, "id"))
_SELECT = f"SELECT {COLUMNS.list} FROM passkey"
_INSERT = f"INSERT INTO passkey ({COLUMNS.list}) VALUES ({COLUMNS.marks}) ON CONFLICT DO NOTHING RETURNING 1"
_UPDATE = f"UPDATE passkey SET {', '.join(f'{name} = ?' for name in _CHANGING)} WHERE id = ?"
_DELETE = "DELETE FROM passkey WHERE account_id = ? AND id = ? RETURNING 1"


class SqlPasskeys:
    """Implements `handstamp.storage.store.PasskeyTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self, passkey_id: str) -> Passkey | None:
        rows = await self._executor.run(f"{_SELECT} WHERE id = ?", (passkey_id,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def list_of(self, account_id: str) -> list[Passkey]:
        rows = await self._executor.run(f"{_SELECT} WHERE account_id = ? ORDER BY created_at_ms, id", (account_id,))
        return [COLUMNS.decode(row) for row in rows]

    async def insert(self, passkey: Passkey) -> bool:
        return bool(await self._executor.run(_INSERT, COLUMNS.encode(passkey)))

    async def update(self, passkey: Passkey) -> None:
        await self._executor.run(_UPDATE, _encode_update(passkey))

    async def delete(self, account_id: str, passkey_id: str) -> bool:
        return bool(await self._executor.run(_DELETE, (account_id, passkey_id)))

    async def delete_of(self, account_id: str) -> None:
        await self._executor.run("DELETE FROM passkey WHERE account_id = ?", (account_id,))
