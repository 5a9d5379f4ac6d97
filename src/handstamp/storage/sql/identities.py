"""The statements about identities at other providers, and their tokens."""

from __future__ import annotations

from ...domain.identity import UNCLAIMED_MS, Identity, SealedTokens
from .columns import Columns
from .executor import Executor

COLUMNS = Columns(Identity)
TOKENS = Columns(SealedTokens)
_CHANGING = ("provider", "email", "used_at_ms")
_encode_update = COLUMNS.encoder((*_CHANGING, "id"))
_SELECT = f"SELECT {COLUMNS.list} FROM identity"
_INSERT = f"INSERT INTO identity ({COLUMNS.list}) VALUES ({COLUMNS.marks}) ON CONFLICT DO NOTHING RETURNING 1"
_UPDATE = f"UPDATE identity SET {', '.join(f'{name} = ?' for name in _CHANGING)} WHERE id = ?"
_DELETE = "DELETE FROM identity WHERE account_id = ? AND id = ? RETURNING 1"
_OWN = "(issuer, subject) IN (SELECT issuer, subject FROM identity WHERE account_id = ?"
_DELETE_TOKENS = f"DELETE FROM provider_token WHERE {_OWN} AND id = ?)"
_DELETE_ALL_TOKENS = f"DELETE FROM provider_token WHERE {_OWN})"
_SELECT_TOKENS = f"SELECT {TOKENS.list} FROM provider_token"
_UPSERT_TOKENS = (
    f"INSERT INTO provider_token ({TOKENS.list}) VALUES ({TOKENS.marks}) "
    "ON CONFLICT (issuer, subject) DO UPDATE SET sealed = excluded.sealed, at_ms = excluded.at_ms"
)
_UNCLAIMED = (
    "SELECT issuer, subject FROM provider_token AS kept WHERE at_ms <= ? "
    "AND NOT EXISTS (SELECT 1 FROM identity WHERE identity.issuer = kept.issuer AND identity.subject = kept.subject) LIMIT ?"
)
_PURGE = f"DELETE FROM provider_token WHERE (issuer, subject) IN ({_UNCLAIMED}) RETURNING 1"


class SqlIdentities:
    """Implements `handstamp.storage.store.IdentityTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self, issuer: str, subject: str) -> Identity | None:
        rows = await self._executor.run(f"{_SELECT} WHERE issuer = ? AND subject = ?", (issuer, subject))
        return COLUMNS.decode(rows[0]) if rows else None

    async def list_of(self, account_id: str) -> list[Identity]:
        rows = await self._executor.run(f"{_SELECT} WHERE account_id = ? ORDER BY created_at_ms, id", (account_id,))
        return [COLUMNS.decode(row) for row in rows]

    async def get_tokens(self, issuer: str, subject: str) -> SealedTokens | None:
        rows = await self._executor.run(f"{_SELECT_TOKENS} WHERE issuer = ? AND subject = ?", (issuer, subject))
        return TOKENS.decode(rows[0]) if rows else None

    async def list_tokens(self, *, after: tuple[str, str], limit: int) -> list[SealedTokens]:
        sql = f"{_SELECT_TOKENS} WHERE (issuer, subject) > (?, ?) ORDER BY issuer, subject LIMIT ?"
        return [TOKENS.decode(row) for row in await self._executor.run(sql, (*after, limit))]

    async def insert(self, identity: Identity) -> bool:
        return bool(await self._executor.run(_INSERT, COLUMNS.encode(identity)))

    async def update(self, identity: Identity) -> None:
        await self._executor.run(_UPDATE, _encode_update(identity))

    async def delete(self, account_id: str, identity_id: str) -> bool:
        await self._executor.run(_DELETE_TOKENS, (account_id, identity_id))
        return bool(await self._executor.run(_DELETE, (account_id, identity_id)))

    async def delete_of(self, account_id: str) -> None:
        await self._executor.run(_DELETE_ALL_TOKENS, (account_id,))
        await self._executor.run("DELETE FROM identity WHERE account_id = ?", (account_id,))

    async def save_tokens(self, tokens: SealedTokens) -> None:
        await self._executor.run(_UPSERT_TOKENS, TOKENS.encode(tokens))

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` tokens of sign-ins that never became complete. Return the number of deleted rows."""
        return len(await self._executor.run(_PURGE, (now_ms - UNCLAIMED_MS, limit)))
