"""Connections to a SQLite file, and waiting for another process's lock."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ...errors import Unavailable
from .schema import connect_to_current
from .stale_log import log_of
from .transaction import SqliteTransaction

T = TypeVar("T")
PATIENCE_S = 5.0
"""How long a request waits for another process's lock before it is answered 503."""
_LOCK_PAUSE_S = 0.001
"""The pause between two attempts to get a lock. A process that tries rarely gets the lock rarely: with pauses of up to 20 ms,
one of two busy processes waited for half a second."""
_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class FileConnection:
    """A connection that reconnects if its file was removed or replaced.

    SQLite would go on writing into a file that can no longer be opened, and those sign-ins would be lost.
    """

    def __init__(self, path: Path) -> None:
        """Connect to `path` at the first use."""
        self.path = path
        self._sqlite: sqlite3.Connection | None = None
        self._rows: SqliteTransaction | None = None
        self._identity: tuple[int, int] | None = None
        self._log: os.stat_result | None = None

    def get(self) -> sqlite3.Connection:
        """Return a connection to the file that is at the path now. Raises `Unavailable` if there is none."""
        try:
            stat = self.path.stat()
        except OSError as problem:
            self.close()
            raise Unavailable(f"the database file cannot be found: {problem}") from None
        identity = stat.st_dev, stat.st_ino
        if self._sqlite is None or self._identity != identity:
            self.close()
            if self._identity not in (None, identity):
                self._require_no_old_log()
            self._sqlite = connect_to_current(self.path)
            self._rows = SqliteTransaction(self._sqlite)
            self._identity, self._log = identity, self._find_log()
        return self._sqlite

    def _require_no_old_log(self) -> None:
        """Raise `Unavailable` if the log of the replaced file is still there. SQLite would read it together with the new one."""
        log = self._find_log()
        if log is not None and log.st_size > 0 and self._log is not None and os.path.samestat(log, self._log):
            raise Unavailable("the database file was replaced beside its log: stop the service and use 'handstamp restore'")

    def _find_log(self) -> os.stat_result | None:
        with suppress(OSError):
            return log_of(self.path.resolve()).stat()
        return None

    @property
    def rows(self) -> SqliteTransaction:
        """The statements on the connection that `get` returned. They are made once for each connection."""
        assert self._rows is not None  # noqa: S101 - for the reader and the type checker
        return self._rows

    def close(self) -> None:
        """Close the connection. A transaction that is open is rolled back."""
        if self._sqlite is not None:
            with suppress(sqlite3.Error):
                self._sqlite.close()
        self._sqlite = self._rows = None


class SharedReader(FileConnection):
    """A connection whose reads share one transaction in each turn of the event loop.

    To lock the file and to check its identity takes longer than to find a row. Reads are never stale: the shared transaction is
    closed by a `call_soon` callback that is scheduled when it opens, and callbacks run in order, so every read that shares it was
    already queued when it opened.
    """

    _is_shared = True

    def begin(self) -> SqliteTransaction:
        """Return the rows of the shared transaction. Open it if it is not open."""
        if self._rows is None or self._sqlite is None or not self._sqlite.in_transaction:
            connection = self.get()
            if self._is_shared:
                connection.execute("BEGIN")
                asyncio.get_running_loop().call_soon(self._end)
            return self.rows
        return self._rows

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Close the shared transaction and open none inside this block: each read then ends by itself.

        After a commit SQLite empties its log, unless a reader still uses an older state. On a busy service there would always be
        such a reader, and the log would grow.
        """
        self._end()
        self._is_shared = False
        try:
            yield
        finally:
            self._is_shared = True

    def _end(self) -> None:
        if self._sqlite is not None and self._sqlite.in_transaction:
            with suppress(sqlite3.Error):
                self._sqlite.execute("COMMIT")
            if self._sqlite.in_transaction:
                self.close()


async def run_patiently(attempt: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Return the result of `attempt`. Repeat it while another process holds the lock.

    Raises `Unavailable` after `patience_s` seconds, and for any other failure of the file or the disk.
    """
    with suppress(_Busy):
        return _run_once(attempt)
    try:
        async with asyncio.timeout(patience_s):
            while True:
                await asyncio.sleep(_LOCK_PAUSE_S)
                with suppress(_Busy):
                    return _run_once(attempt)
    except TimeoutError:
        raise Unavailable(f"another process has locked the database for more than {patience_s:g} s") from None


class _Busy(Exception):
    """Another process holds the lock."""


def _run_once(attempt: Callable[[], T]) -> T:
    try:
        return attempt()
    except sqlite3.DatabaseError as problem:
        raise (_Busy if _is_busy(problem) else unavailable(problem)) from None


def _is_busy(problem: sqlite3.Error) -> bool:
    return getattr(problem, "sqlite_errorcode", 0) & 0xFF in _BUSY_CODES


def unavailable(problem: Exception) -> Unavailable:
    """Return the error that a failure of the file or the disk is answered with."""
    return problem if isinstance(problem, Unavailable) else Unavailable(f"SQLite: {problem}")
