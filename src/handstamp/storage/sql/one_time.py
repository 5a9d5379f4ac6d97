"""The statements about one-time grants."""

from __future__ import annotations

from ...domain.one_time import PURPOSES, OneTime, Purpose
from .columns import Columns
from .executor import Executor, purge_statement

COLUMNS = Columns(OneTime)
_SELECT = f"SELECT {COLUMNS.list} FROM one_time"
_SELECT_UNDO = (
    "SELECT 1 FROM one_time WHERE account_id = ? AND purpose = 'undo_change' AND used_at_ms IS NULL AND expires_at_ms > ? LIMIT 1"
)
_INSERT = f"INSERT INTO one_time ({COLUMNS.list}) VALUES ({COLUMNS.marks})"
_CHANGING = ("looks", "used_at_ms", "account_id", "details")
_UPDATE = f"UPDATE one_time SET {', '.join(f'{name} = ?' for name in _CHANGING)} WHERE id = ?"
_encode_update = COLUMNS.encoder((*_CHANGING, "id"))
_DELETE_UNDOS = (
    "DELETE FROM one_time WHERE account_id = ? AND purpose IN ('undo_change', 'undo_factor') AND created_at_ms >= ? AND id <> ?"
)
_UNFIT = tuple(purpose for purpose, rule in PURPOSES.items() if not rule.survives_changes)
_DELETE_UNFIT = f"DELETE FROM one_time WHERE purpose IN ({', '.join('?' * len(_UNFIT))}) RETURNING id"
_PURGE = purge_statement("one_time", "id", "expires_at_ms")


class SqlOneTime:
    """Implements `handstamp.storage.store.OneTimeTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self, grant_id: str) -> OneTime | None:
        rows = await self._executor.run(f"{_SELECT} WHERE id = ?", (grant_id,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def get_by_link(self, link_hash: bytes) -> OneTime | None:
        rows = await self._executor.run(f"{_SELECT} WHERE link_hash = ?", (link_hash,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def list_by_browser(self, browser_hash: bytes, purpose: Purpose, *, limit: int) -> list[OneTime]:
        sql = f"{_SELECT} WHERE browser_hash = ? AND purpose = ? ORDER BY created_at_ms DESC, id LIMIT ?"
        return [COLUMNS.decode(row) for row in await self._executor.run(sql, (browser_hash, purpose, limit))]

    async def list_of(self, account_id: str, *, limit: int) -> list[OneTime]:
        sql = f"{_SELECT} WHERE account_id = ? ORDER BY created_at_ms, id LIMIT ?"
        return [COLUMNS.decode(row) for row in await self._executor.run(sql, (account_id, limit))]

    async def has_undo(self, account_id: str, *, now_ms: int) -> bool:
        return bool(await self._executor.run(_SELECT_UNDO, (account_id, now_ms)))

    async def insert(self, grant: OneTime) -> None:
        await self._executor.run(_INSERT, COLUMNS.encode(grant))

    async def update(self, grant: OneTime) -> None:
        await self._executor.run(_UPDATE, _encode_update(grant))

    async def delete_others(self, grant: OneTime) -> None:
        sql = "DELETE FROM one_time WHERE email = ? AND purpose = ? AND id <> ?"
        await self._executor.run(sql, (grant.email, grant.purpose, grant.id))

    async def delete_later_undos(self, grant: OneTime) -> None:
        await self._executor.run(_DELETE_UNDOS, (grant.account_id, grant.created_at_ms, grant.id))

    async def delete_of(self, account_id: str) -> None:
        await self._executor.run("DELETE FROM one_time WHERE account_id = ?", (account_id,))

    async def delete_unfit_for_backups(self) -> int:
        return len(await self._executor.run(_DELETE_UNFIT, _UNFIT))

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` grants whose links have expired. Return the number of deleted rows."""
        return len(await self._executor.run(_PURGE, (now_ms, limit)))
