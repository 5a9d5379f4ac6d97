"""The statements about sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...domain.account import Account
from ...domain.network import network_of
from ...domain.policy import HOUR_MS
from ...domain.reasons import RevokedWhy
from ...domain.revocation import forgotten_at_s
from ...domain.session import FIXED_AT_START, Session
from . import accounts
from .columns import Columns
from .executor import Executor, purge_statement

AFTERLIFE_MS = HOUR_MS
"""Rows stay a little past their session's end, so that a client that comes back late receives the true reason."""

COLUMNS = Columns(Session)
CHANGING = tuple(name for name in COLUMNS.names if name not in FIXED_AT_START)
SELECT = f"SELECT {COLUMNS.list} FROM session"
SELECT_WITH_ACCOUNT = (
    f"SELECT {', '.join(f's.{name}' for name in COLUMNS.names)}, {', '.join(f'a.{name}' for name in accounts.COLUMNS.names)} "
    "FROM session s LEFT JOIN account a ON a.id = s.subject WHERE s.id = ?"
)
_INSERT = f"INSERT INTO session (network, {COLUMNS.list}) VALUES (?, {COLUMNS.marks})"
UPDATE = f"UPDATE session SET {', '.join(f'{name} = ?' for name in CHANGING)} WHERE id = ?"
encode_update: Callable[[Session], list[Any]] = COLUMNS.encoder((*CHANGING, "id"))
"""Returns the parameters of `UPDATE` for a session."""
_HAS_ANY_FROM = "SELECT 1 FROM session WHERE subject = ? AND network = ? LIMIT 1"
_REVOKE_ALL = (
    "UPDATE session SET revoked_at_ms = ?, revoked_why = ? "
    "WHERE subject = ? AND revoked_at_ms IS NULL AND expires_at_ms > ? RETURNING id"
)
_PURGE = purge_statement("session", "id", "expires_at_ms")
_WIDTH = len(COLUMNS.names)


def decode_with_account(row: Sequence[Any]) -> tuple[Session, Account | None]:
    """Return the session and the account of a row of `SELECT_WITH_ACCOUNT`."""
    session = COLUMNS.decode(row[:_WIDTH])
    has_account = session.epoch is not None and row[_WIDTH] is not None
    return session, accounts.COLUMNS.decode(row[_WIDTH:]) if has_account else None


def revocation_of(session: Session) -> tuple[str, str, int]:
    """Return (kind, name, exp_s) of the revocation of a session that is revoked."""
    assert session.revoked_at_ms is not None  # noqa: S101 - for the reader and the type checker
    return "sid", session.id, forgotten_at_s(session.revoked_at_ms)


class SqlSessions:
    """Implements `handstamp.storage.store.SessionTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self, sid: str) -> tuple[Session, Account | None] | None:
        rows = await self._executor.run(SELECT_WITH_ACCOUNT, (sid,))
        return decode_with_account(rows[0]) if rows else None

    async def list_live(self, subject: str | None, *, now_ms: int, limit: int) -> list[Session]:
        of_subject = "" if subject is None else "subject = ? AND "
        sql = f"{SELECT} WHERE {of_subject}revoked_at_ms IS NULL AND expires_at_ms > ? ORDER BY seen_at_ms DESC LIMIT ?"
        values = (now_ms, limit) if subject is None else (subject, now_ms, limit)
        return [COLUMNS.decode(row) for row in await self._executor.run(sql, values)]

    async def has_any_from(self, subject: str, network: str) -> bool:
        return network != "" and bool(await self._executor.run(_HAS_ANY_FROM, (subject, network)))

    async def insert(self, session: Session) -> None:
        await self._executor.run(_INSERT, (network_of(session.ip), *COLUMNS.encode(session)))

    async def update(self, session: Session) -> None:
        await self._executor.run(UPDATE, encode_update(session))
        if session.revoked_at_ms is not None:
            await self._executor.add_revocations([revocation_of(session)])

    async def revoke_all(self, subject: str, why: RevokedWhy, *, now_ms: int) -> int:
        revoked = await self._executor.run(_REVOKE_ALL, (now_ms, why, subject, now_ms))
        exp_s = forgotten_at_s(now_ms)
        await self._executor.add_revocations([("sid", sid, exp_s) for (sid,) in revoked])
        return len(revoked)

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` sessions that expired `AFTERLIFE_MS` ago. Return the number of deleted rows."""
        return len(await self._executor.run(_PURGE, (now_ms - AFTERLIFE_MS, limit)))
