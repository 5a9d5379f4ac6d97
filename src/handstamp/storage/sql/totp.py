"""The statements about authenticator apps."""

from __future__ import annotations

from ...domain.totp import Totp
from .columns import Columns
from .executor import Executor

COLUMNS = Columns(Totp)
_SELECT = f"SELECT {COLUMNS.list} FROM totp"
_UPSERT = (
    f"INSERT INTO totp ({COLUMNS.list}) VALUES ({COLUMNS.marks}) "
    f"ON CONFLICT (account_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS.names[1:])}"
)


class SqlTotp:
    """Implements `handstamp.storage.store.TotpTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self, account_id: str) -> Totp | None:
        rows = await self._executor.run(f"{_SELECT} WHERE account_id = ?", (account_id,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def list_page(self, *, after: str, limit: int) -> list[Totp]:
        rows = await self._executor.run(f"{_SELECT} WHERE account_id > ? ORDER BY account_id LIMIT ?", (after, limit))
        return [COLUMNS.decode(row) for row in rows]

    async def save(self, totp: Totp) -> None:
        await self._executor.run(_UPSERT, COLUMNS.encode(totp))

    async def delete(self, account_id: str) -> None:
        await self._executor.run("DELETE FROM totp WHERE account_id = ?", (account_id,))
