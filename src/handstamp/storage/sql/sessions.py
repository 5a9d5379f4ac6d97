"""The statements about sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...domain.account import Account
from ...domain.event import Event
from ...domain.impersonation import describe_end
from ...domain.policy import HOUR_MS
from ...domain.revocation import forgotten_at_s
from ...domain.session import FIXED_AT_START, Session, home_network_of
from ...domain.sweep import Sweep
from ..store.sessions import COMPARED, Counted, Place
from . import accounts, events
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
_INSERT = f"INSERT INTO session (network, impersonator_id, impersonator_sid, {COLUMNS.list}) VALUES (?, ?, ?, {COLUMNS.marks})"
UPDATE = f"UPDATE session SET {', '.join(f'{name} = ?' for name in CHANGING)} WHERE id = ?"
encode_update: Callable[[Session], list[Any]] = COLUMNS.encoder((*CHANGING, "id"))
"""Returns the parameters of `UPDATE` for a session."""
_HAS_ANY_FROM = "SELECT 1 FROM session WHERE subject = ? AND network = ? LIMIT 1"
_HAS_ANY_LIKE = "SELECT 1 FROM session WHERE subject = ? AND network = ? AND user_agent = ? LIMIT 1"
_SELECT_ALL_OF = f"{SELECT} WHERE subject = ? AND (network, id) > (?, ?) ORDER BY network, id LIMIT ?"
_CHANGING_UNREVOKED = tuple(name for name in CHANGING if name not in {"revoked_at_ms", "revoked_why"})
UPDATE_UNREVOKED = f"UPDATE session SET {', '.join(f'{name} = ?' for name in _CHANGING_UNREVOKED)} WHERE id = ?"
"""As `UPDATE` for a session that is not revoked. SQLite writes no index then, because none has a column of this statement."""
encode_update_unrevoked: Callable[[Session], list[Any]] = COLUMNS.encoder((*_CHANGING_UNREVOKED, "id"))
_UNREVOKED = "revoked_at_ms IS NULL AND expires_at_ms > ?"
_COUNT_UNREVOKED = f"SELECT count(*) FROM (SELECT 1 FROM session WHERE subject = ? AND {_UNREVOKED} LIMIT ?) AS unrevoked"
_IS_DEAD = "(rotated_at_ms + idle_lifetime_ms) / 1000 * 1000 <= ? OR epoch <> ?"
_SELECT_COUNTED = (
    "SELECT subject, expires_at_ms, id FROM session WHERE revoked_at_ms IS NULL AND (subject, expires_at_ms, id) > (?, ?, ?) "
    "ORDER BY subject, expires_at_ms, id LIMIT ?"
)
_SELECT_DISPENSABLE = (
    f"{SELECT} WHERE id IN (SELECT id FROM ("
    f"SELECT id, seen_at_ms, CASE WHEN {_IS_DEAD} THEN 0 ELSE 1 END AS is_alive "
    f"FROM session WHERE subject = ? AND {_UNREVOKED} AND id <> ? ORDER BY expires_at_ms LIMIT {COMPARED}) AS compared "
    "ORDER BY is_alive, seen_at_ms, id LIMIT ?)"
)
_IN_SWEEP = "(epoch < ? OR (epoch IS NULL AND created_at_ms <= ?))"
BATCH = f"SELECT id FROM session WHERE subject = ? AND {_UNREVOKED} AND {_IN_SWEEP} ORDER BY expires_at_ms, id LIMIT ?"
"""The next sessions of a sweep. Its parameters are those of `encode_batch`."""
_REVOKE_BATCH = f"UPDATE session SET revoked_at_ms = ?, revoked_why = ? WHERE id IN ({BATCH}) RETURNING id, expires_at_ms, NULL"
_FORGET_BATCH = (
    "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE subject = ? LIMIT ?) "
    "RETURNING id, expires_at_ms, revoked_at_ms"
)
_END_IMPERSONATIONS = (
    "UPDATE session SET revoked_at_ms = ?, revoked_why = 'impersonation_ended' WHERE impersonator_id IS NOT NULL AND {which} "
    "AND revoked_at_ms IS NULL AND expires_at_ms > ? RETURNING id, subject, impersonator_id"
)
_END_ALL_BY = _END_IMPERSONATIONS.format(which="impersonator_id = ?")
_END_ALL_WITHIN = _END_IMPERSONATIONS.format(which="impersonator_id = ? AND impersonator_sid = ?")
_END_ALL_OF = _END_IMPERSONATIONS.format(which="subject = ?")
_PURGE = purge_statement("session", "id", "expires_at_ms")
_WIDTH = len(COLUMNS.names)
_DECODERS = [*COLUMNS.decoders, *((_WIDTH + index, convert) for index, convert in accounts.COLUMNS.decoders)]
"""What converts the values of a row of `SELECT_WITH_ACCOUNT`. Every request with an access token reads one."""


def decode_with_account(row: Sequence[Any]) -> tuple[Session, Account | None]:
    """Return the session and the account of a row of `SELECT_WITH_ACCOUNT`."""
    values = list(row)
    for index, convert in _DECODERS:
        value = values[index]
        if value is not None:
            values[index] = convert(value)
    session = Session(*values[:_WIDTH])
    has_account = session.epoch is not None and values[_WIDTH] is not None
    return session, Account(*values[_WIDTH:]) if has_account else None


def encode_batch(sweep: Sweep, now_ms: int, limit: int) -> tuple[Any, ...]:
    """Return the parameters of `BATCH`."""
    return sweep.subject, now_ms, sweep.epoch, sweep.at_ms, limit


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

    async def list_page(self, subject: str | None, *, before: Place | None = None, now_ms: int, limit: int) -> list[Session]:
        sql, values = f"{SELECT} WHERE {_UNREVOKED}", tuple[Any, ...]((now_ms,))
        if subject is not None:
            sql, values = f"{sql} AND subject = ?", (*values, subject)
        if before is not None:
            sql, values = f"{sql} AND (expires_at_ms, id) < (?, ?)", (*values, *before)
        rows = await self._executor.run(f"{sql} ORDER BY expires_at_ms DESC, id DESC LIMIT ?", (*values, limit))
        return [COLUMNS.decode(row) for row in rows]

    async def has_any_like(self, subject: str, network: str, user_agent: str) -> bool:
        return bool(await self._executor.run(_HAS_ANY_LIKE, (subject, network, user_agent)))

    async def list_all_of(self, subject: str, *, after: tuple[str, str], limit: int) -> list[Session]:
        return [COLUMNS.decode(row) for row in await self._executor.run(_SELECT_ALL_OF, (subject, *after, limit))]

    async def count_unrevoked_after(self, place: Counted, *, now_ms: int, limit: int) -> tuple[int, Counted | None]:
        rows = await self._executor.run(_SELECT_COUNTED, (*place, limit))
        following = (rows[-1][0], rows[-1][1], rows[-1][2]) if len(rows) == limit else None
        return sum(expires_at_ms > now_ms for _, expires_at_ms, _ in rows), following

    async def count_unrevoked(self, subject: str, *, now_ms: int, limit: int) -> int:
        rows = await self._executor.run(_COUNT_UNREVOKED, (subject, now_ms, limit))
        return int(rows[0][0]) if rows else 0

    async def list_dispensable(self, session: Session, *, now_ms: int, limit: int) -> list[Session]:
        values = (now_ms, session.epoch, session.subject, now_ms, session.id, limit)
        return [COLUMNS.decode(row) for row in await self._executor.run(_SELECT_DISPENSABLE, values)]

    async def has_any_from(self, subject: str, network: str) -> bool:
        return network != "" and bool(await self._executor.run(_HAS_ANY_FROM, (subject, network)))

    async def insert(self, session: Session) -> None:
        by = session.impersonator
        indexed = (None, None) if by is None else (by.account_id, by.sid)
        await self._executor.run(_INSERT, (home_network_of(session), *indexed, *COLUMNS.encode(session)))

    async def update(self, session: Session) -> None:
        if session.revoked_at_ms is None:
            await self._executor.run(UPDATE_UNREVOKED, encode_update_unrevoked(session))
            return
        await self._executor.run(UPDATE, encode_update(session))
        await self._executor.add_revocations([revocation_of(session)])
        await self.end_begun_in(session)

    async def end_batch(self, sweep: Sweep, *, now_ms: int, limit: int) -> int:
        if sweep.forgets:
            ended = await self._executor.run(_FORGET_BATCH, (sweep.subject, limit))
        else:
            ended = await self._executor.run(_REVOKE_BATCH, (now_ms, sweep.why, *encode_batch(sweep, now_ms, limit)))
        exp_s = forgotten_at_s(now_ms)
        lived = [sid for sid, expires_at_ms, revoked_before_ms in ended if expires_at_ms > now_ms and revoked_before_ms is None]
        await self._executor.add_revocations([("sid", sid, exp_s) for sid in lived])
        await self.end_impersonations(now_ms=now_ms, by=sweep.subject)
        return len(ended)

    async def end_begun_in(self, session: Session) -> None:
        """End the sessions that an operator began in one that is revoked."""
        if session.revoked_at_ms is not None:
            await self.end_impersonations(now_ms=session.revoked_at_ms, by=session.subject, within=session.id)

    async def end_impersonations(self, *, now_ms: int, by: str = "", within: str = "", of: str = "") -> list[Event]:
        if of:
            ended = await self._executor.run(_END_ALL_OF, (now_ms, of, now_ms))
        elif within:
            ended = await self._executor.run(_END_ALL_WITHIN, (now_ms, by, within, now_ms))
        else:
            ended = await self._executor.run(_END_ALL_BY, (now_ms, by, now_ms))
        found = [describe_end(sid, subject=subject, account_id=by_whom, at_ms=now_ms) for sid, subject, by_whom in ended]
        for event in found:
            await self._executor.run(events.INSERT, events.COLUMNS.encode(event))
        await self._executor.add_revocations([("sid", sid, forgotten_at_s(now_ms)) for sid, _, _ in ended])
        return found

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` sessions that expired `AFTERLIFE_MS` ago. Return the number of deleted rows."""
        return len(await self._executor.run(_PURGE, (now_ms - AFTERLIFE_MS, limit)))
