"""Statements on a SQLite connection. None of the methods waits."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, TypeVar

from ...domain.account import Account
from ...domain.session import Session
from ..batching import Decisions
from ..sql import events, mails, revocations, sessions
from ..sql.transaction import SqlTransaction
from . import session_row

T = TypeVar("T")


def finish(work: Awaitable[T]) -> T:
    """Run a coroutine to its end. It may await rows only, and rows of SQLite never wait."""
    if not isinstance(work, Coroutine):
        raise TypeError("work must be an 'async def' function")
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("Inside a transaction, await its rows and nothing else: the write lock is held.")


class SqliteTransaction(SqlTransaction):
    """Implements `handstamp.storage.store.Transaction`. There is one writer at a time, so revocations number themselves in order.

    `get_session` and `write` are plain functions for the fast paths of the store.
    """

    __slots__ = ("_execute", "_execute_many", "_session_rows")

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Run statements on `connection`."""
        self._execute = connection.execute
        self._execute_many = connection.executemany
        self._session_rows = connection.cursor()

    async def run(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        """Execute a statement and return all rows that it yields."""
        return self._execute(sql, values).fetchall()

    async def add_revocations(self, entries: Sequence[Sequence[Any]]) -> None:
        """Add revocations, given as (kind, name, exp_s)."""
        self._execute_many(revocations.INSERT, entries)

    def get_session(self, sid: str) -> tuple[Session, Account | None] | None:
        """Return a session and its subject's account."""
        row = self._session_rows.execute(session_row.SELECT, (sid,)).fetchone()
        return None if row is None else session_row.decode(row[0])

    def write(self, decided: Decisions) -> None:
        """Write the sessions that were changed, a revocation for each that is revoked, the events and the mails."""
        self._execute_many(sessions.UPDATE_UNREVOKED, map(sessions.encode_update_unrevoked, decided.unrevoked))
        self._execute_many(sessions.UPDATE, map(sessions.encode_update, decided.revoked))
        self._execute_many(revocations.INSERT, map(sessions.revocation_of, decided.revoked))
        for session in decided.revoked:
            finish(self.sessions.end_begun_in(session))
        self._execute_many(events.INSERT, map(events.COLUMNS.encode, decided.events))
        if decided.mails:
            self._execute_many(mails.INSERT, map(mails.COLUMNS.encode, decided.mails))
