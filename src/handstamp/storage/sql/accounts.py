"""The statements about accounts."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.account import Account
from .columns import Columns
from .executor import Executor

COLUMNS = Columns(Account)
LAST_CHARACTER = chr(0x10FFFF)
"""Sorts after every other character."""
SELECT = f"SELECT {COLUMNS.list} FROM account"
_INSERT = f"INSERT INTO account ({COLUMNS.list}) VALUES ({COLUMNS.marks}) ON CONFLICT (email) DO NOTHING RETURNING id"
_CHANGING = COLUMNS.names[1:]
_UPDATE = f"UPDATE account SET {', '.join(f'{name} = ?' for name in _CHANGING)} WHERE id = ?"
_encode_update = COLUMNS.encoder((*_CHANGING, "id"))


class SqlAccounts:
    """Implements `handstamp.storage.store.AccountTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self, account_id: str) -> Account | None:
        rows = await self._executor.run(f"{SELECT} WHERE id = ?", (account_id,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def get_by_email(self, email: str) -> Account | None:
        rows = await self._executor.run(f"{SELECT} WHERE email = ?", (email,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def list_of(self, *, emails: Sequence[str], ids: Sequence[str]) -> list[Account]:
        emails, ids = emails or ("",), ids or ("",)  # PostgreSQL has no empty lists, and no account an empty address or id
        sql = f"{SELECT} WHERE email IN ({', '.join('?' * len(emails))}) OR id IN ({', '.join('?' * len(ids))})"
        return [COLUMNS.decode(row) for row in await self._executor.run(sql, (*emails, *ids))]

    async def list_page(self, *, prefix: str = "", after: str, limit: int) -> list[Account]:
        sql, values = f"{SELECT} WHERE email > ?", tuple[str, ...]((after,))
        if prefix:
            sql, values = f"{sql} AND email >= ? AND email < ?", (after, prefix, f"{prefix}{LAST_CHARACTER}")
        rows = await self._executor.run(f"{sql} ORDER BY email LIMIT ?", (*values, limit))
        return [COLUMNS.decode(row) for row in rows]

    async def insert(self, account: Account) -> bool:
        return bool(await self._executor.run(_INSERT, COLUMNS.encode(account)))

    async def insert_many(self, accounts: Sequence[Account]) -> set[str]:
        if not accounts:
            return set()
        values = [value for account in accounts for value in COLUMNS.encode(account)]
        rows = await self._executor.run(
            f"INSERT INTO account ({COLUMNS.list}) VALUES {COLUMNS.marks_of(len(accounts))} ON CONFLICT DO NOTHING RETURNING id",
            values,
        )
        return {account_id for (account_id,) in rows}

    async def update(self, account: Account) -> None:
        await self._executor.run(_UPDATE, _encode_update(account))

    async def delete(self, account_id: str) -> None:
        await self._executor.run("DELETE FROM account WHERE id = ?", (account_id,))
