"""Rows on a SQLite connection. None of the methods waits; the hot ones have plain twins, which `update_session` calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ..domain.account import Account
from ..domain.event import Event
from ..domain.session import Session
from .rows import (
    INSERT_EVENT,
    INSERT_REVOCATION,
    SELECT_BOTH,
    UPDATE_SESSION,
    SqlRows,
    both_of,
    changes_of,
    event_columns,
    revocation_of,
)


class SqliteTransaction(SqlRows):
    """Implements `handstamp.storage.store.Transaction`; there is one writer at a time, so numbers grow by themselves."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take a connection."""
        self._execute = connection.execute

    async def _run(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        return self._execute(sql, values).fetchall()

    def get_session(self, sid: str) -> tuple[Session, Account | None] | None:
        """Return a session with the account of its subject."""
        row = self._execute(SELECT_BOTH, (sid,)).fetchone()
        return None if row is None else both_of(row)

    def put_session(self, session: Session) -> None:
        """Write a session that exists, and its revocation if it is revoked."""
        self._execute(UPDATE_SESSION, changes_of(session))
        if session.revoked_at_ms is not None:
            self._execute(INSERT_REVOCATION, revocation_of(session))

    def put_event(self, event: Event) -> None:
        """Record an event."""
        self._execute(INSERT_EVENT, event_columns(event))
