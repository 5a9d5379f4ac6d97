"""Rows on a SQLite connection. None of the methods waits; the hot ones have plain twins, which `update_session` calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ...domain.account import Account
from ...domain.session import Session
from ..batching import Decisions
from ..sql.rows import (
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
        self._execute_many = connection.executemany

    async def _run(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        return self._execute(sql, values).fetchall()

    def get_session(self, sid: str) -> tuple[Session, Account | None] | None:
        """Return a session with the account of its subject."""
        row = self._execute(SELECT_BOTH, (sid,)).fetchone()
        return None if row is None else both_of(row)

    def write(self, decided: Decisions) -> None:
        """Write what was decided about sessions, with a revocation of each that is revoked."""
        self._execute_many(UPDATE_SESSION, map(changes_of, decided.changed))
        self._execute_many(INSERT_REVOCATION, map(revocation_of, decided.revoked))
        self._execute_many(INSERT_EVENT, map(event_columns, decided.events))
