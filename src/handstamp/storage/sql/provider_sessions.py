"""The statements about sessions that began at another provider, and about its logout tokens."""

from __future__ import annotations

from typing import Any

from ...domain.identity import LogoutRow, ProviderSession
from .columns import Columns
from .executor import Executor, purge_statement

COLUMNS = Columns(ProviderSession)
LOGOUTS = Columns(LogoutRow)
_SELECT = f"SELECT {COLUMNS.list} FROM provider_session"
_INSERT = f"INSERT INTO provider_session ({COLUMNS.list}) VALUES ({COLUMNS.marks}) ON CONFLICT DO NOTHING"
_OF_ACCOUNT = "sid IN (SELECT id FROM session WHERE subject = ?)"
_INSERT_LOGOUT = f"INSERT INTO provider_logout ({LOGOUTS.list}) VALUES ({LOGOUTS.marks}) ON CONFLICT DO NOTHING RETURNING 1"
_HAS_LOGOUT = (
    "SELECT 1 FROM provider_logout WHERE issuer = ? AND at_ms >= ? "
    "AND (subject = ? OR subject = '') AND (at_provider = ? OR at_provider = '') LIMIT 1"
)
_PURGE = purge_statement("provider_session", "sid", "expires_at_ms")
_PURGE_LOGOUTS = (
    "DELETE FROM provider_logout WHERE (issuer, jti) IN "
    "(SELECT issuer, jti FROM provider_logout WHERE expires_at_ms <= ? LIMIT ?) RETURNING 1"
)


class SqlProviderSessions:
    """Implements `handstamp.storage.store.ProviderSessionTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def list_named(self, issuer: str, *, subject: str, at_provider: str, after: str, limit: int) -> list[ProviderSession]:
        sql, values = f"{_SELECT} WHERE issuer = ? AND sid > ?", list[Any]((issuer, after))
        for column, value in (("subject", subject), ("at_provider", at_provider)):
            if value:
                sql, values = f"{sql} AND {column} = ?", [*values, value]
        rows = await self._executor.run(f"{sql} ORDER BY sid LIMIT ?", (*values, limit))
        return [COLUMNS.decode(row) for row in rows]

    async def list_of(self, account_id: str, *, limit: int) -> list[ProviderSession]:
        rows = await self._executor.run(f"{_SELECT} WHERE {_OF_ACCOUNT} LIMIT ?", (account_id, limit))
        return [COLUMNS.decode(row) for row in rows]

    async def has_logout(self, issuer: str, *, subject: str, at_provider: str, since_ms: int) -> bool:
        return bool(await self._executor.run(_HAS_LOGOUT, (issuer, since_ms, subject, at_provider)))

    async def insert(self, link: ProviderSession) -> None:
        await self._executor.run(_INSERT, COLUMNS.encode(link))

    async def delete_of(self, account_id: str) -> None:
        await self._executor.run(f"DELETE FROM provider_session WHERE {_OF_ACCOUNT}", (account_id,))

    async def add_logout(self, logout: LogoutRow) -> bool:
        return bool(await self._executor.run(_INSERT_LOGOUT, LOGOUTS.encode(logout)))

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` expired rows of each kind. Return the number of deleted rows."""
        links = await self._executor.run(_PURGE, (now_ms, limit))
        return len(links) + len(await self._executor.run(_PURGE_LOGOUTS, (now_ms, limit)))
