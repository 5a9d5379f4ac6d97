"""The statements about mail that waits to be sent."""

from __future__ import annotations

from ...domain.mail import KEPT_MS, Mail
from .columns import Columns
from .executor import Executor, purge_statement

COLUMNS = Columns(Mail)
_SELECT = f"SELECT {COLUMNS.list} FROM mail"
INSERT = f"INSERT INTO mail ({COLUMNS.list}) VALUES ({COLUMNS.marks})"
DUE = "SELECT id FROM mail WHERE next_at_ms <= ? ORDER BY next_at_ms LIMIT 1"
_POSTPONE = "UPDATE mail SET next_at_ms = ?, error = ? WHERE id = ? AND tries = ?"
_POSTPONED = "SELECT id FROM mail WHERE next_at_ms > ? AND error <> '' LIMIT ?"
_RETRY = f"UPDATE mail SET next_at_ms = ? WHERE id IN ({_POSTPONED}) RETURNING id"
_MEASURE = (
    "SELECT count(*), min(created_at_ms) FROM (SELECT created_at_ms FROM mail WHERE next_at_ms IS NOT NULL "
    "ORDER BY created_at_ms LIMIT ?) AS oldest"
)
_PURGE = purge_statement("mail", "id", "created_at_ms")


class SqlMails:
    """Implements `handstamp.storage.store.MailTable`."""

    __slots__ = ("_executor",)
    due = DUE

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self, mail_id: str) -> Mail | None:
        rows = await self._executor.run(f"{_SELECT} WHERE id = ?", (mail_id,))
        return COLUMNS.decode(rows[0]) if rows else None

    async def get_next_at_ms(self) -> int | None:
        next_at_ms: int | None = (await self._executor.run("SELECT min(next_at_ms) FROM mail"))[0][0]
        return next_at_ms

    async def measure(self, *, limit: int) -> tuple[int, int | None]:
        ((count, oldest_ms),) = await self._executor.run(_MEASURE, (limit,))
        return count, oldest_ms

    async def list_newest(self, *, limit: int) -> list[Mail]:
        rows = await self._executor.run(f"{_SELECT} ORDER BY created_at_ms DESC, id LIMIT ?", (limit,))
        return [COLUMNS.decode(row) for row in rows]

    async def insert(self, mail: Mail) -> None:
        await self._executor.run(INSERT, COLUMNS.encode(mail))

    async def claim(self, *, now_ms: int, until_ms: int) -> Mail | None:
        claim = f"UPDATE mail SET tries = tries + 1, next_at_ms = ?, error = '' WHERE id = ({self.due}) RETURNING {COLUMNS.list}"
        rows = await self._executor.run(claim, (until_ms, now_ms))
        return COLUMNS.decode(rows[0]) if rows else None

    async def postpone(self, mail: Mail, *, next_at_ms: int, error: str) -> None:
        await self._executor.run(_POSTPONE, (next_at_ms, error, mail.id, mail.tries))

    async def retry(self, *, now_ms: int, limit: int) -> int:
        return len(await self._executor.run(_RETRY, (now_ms, now_ms, limit)))

    async def delete(self, mail_id: str) -> bool:
        return bool(await self._executor.run("DELETE FROM mail WHERE id = ? RETURNING id", (mail_id,)))

    async def list_of(self, account_id: str, *, limit: int) -> list[Mail]:
        rows = await self._executor.run(f"{_SELECT} WHERE account = ? ORDER BY created_at_ms, id LIMIT ?", (account_id, limit))
        return [COLUMNS.decode(row) for row in rows]

    async def delete_of(self, account_id: str) -> None:
        await self._executor.run("DELETE FROM mail WHERE account = ?", (account_id,))

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` mails that are older than `KEPT_MS`. Return the number of deleted rows."""
        return len(await self._executor.run(_PURGE, (now_ms - KEPT_MS, limit)))
