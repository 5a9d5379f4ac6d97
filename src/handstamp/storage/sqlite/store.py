"""The embedded store: one SQLite file, shared by any number of processes of one machine.

How it is fast and durable at once: WAL with `synchronous=FULL`, and one writer a process that commits in groups. Statements take
microseconds and run on the event loop; only COMMIT waits for the disk, and does so on a thread. `BEGIN IMMEDIATE` takes the
write lock before anything is read, so that a decision never rests on a row that another process has changed since (a deferred
transaction fails there, and no busy time-out helps). Whoever finds the lock taken sleeps without stopping the loop.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from ...domain.account import Account
from ...domain.session import Session
from ...errors import ConfigurationError, Unavailable
from .. import migrations
from ..batching import Decisions, Failed, GroupCommit, SessionChange
from ..store import Decide, Rows, Transaction
from .transaction import SqliteTransaction

T = TypeVar("T")
PATIENCE_S = 5.0
"""How long a request waits for another process's lock before it is answered 503."""
_START_PATIENCE_S = 10.0
"""How long a start waits for one: another process may be making the tables."""
_LOCK_PAUSE_S = 0.001
"""How long to sleep before looking again whether the lock is free. Who looks seldom seldom gets it: with pauses that grew to
20 ms, one of two busy processes waited for half a second."""
_LOOK_EVERY_S = 0.05
"""How often a process looks whether another one has committed."""
_FAILURES = (sqlite3.OperationalError, sqlite3.DatabaseError)
"""What the file or the disk can do to us; the classes below these, as a broken constraint, would be mistakes of ours."""
_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


_Change = SessionChange | Callable[[SqliteTransaction], Any]


class _Connection:
    """A connection that notices when its file was taken away or replaced.

    SQLite would go on writing into a file that nobody can open any more, and those sign-ins would be lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sqlite: sqlite3.Connection | None = None
        self._rows: SqliteTransaction | None = None
        self._identity: tuple[int, int] | None = None

    def get(self) -> sqlite3.Connection:
        try:
            stat = self.path.stat()
        except OSError as problem:
            self.close()
            raise Unavailable(f"the database file cannot be found: {problem}") from None
        if self._sqlite is None or self._identity != (stat.st_dev, stat.st_ino):
            self.close()
            self._sqlite = _connect_to_current(self.path)
            self._rows = SqliteTransaction(self._sqlite)
            self._identity = (stat.st_dev, stat.st_ino)
        return self._sqlite

    @property
    def rows(self) -> SqliteTransaction:
        """The statements on the connection that `get` returned. They are made once for each connection."""
        assert self._rows is not None  # noqa: S101 - for the reader and the type checker
        return self._rows

    def close(self) -> None:
        if self._sqlite is not None:
            with suppress(sqlite3.Error):
                self._sqlite.close()
        self._sqlite = self._rows = None


class _Reader(_Connection):
    """A connection whose reads share a transaction with all others of one turn of the event loop.

    Locking and looking after the file take longer than finding a row. Nobody reads what is too old: the transaction ends with a
    callback that is scheduled as it begins. The loop calls in order, so whoever comes before that callback was scheduled, and
    had their request, before the transaction began.
    """

    _is_shared = True

    def begin(self) -> SqliteTransaction:
        """Return the rows of the shared transaction. Open it if it is not open."""
        if self._sqlite is None or not self._sqlite.in_transaction:
            connection = self.get()
            if self._is_shared:
                connection.execute("BEGIN")
                asyncio.get_running_loop().call_soon(self._end)
        return self.rows

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let each read end by itself, meanwhile.

        After a commit SQLite empties its log, unless somebody still reads what was before it. On a busy service somebody always
        would, and the log would grow.
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


class SqliteStore:
    """Implements `handstamp.storage.store.Store` on one file."""

    def __init__(self, path: Path) -> None:
        """Take the file's path; it is made, with mode 0600, when the store is opened."""
        self.path = path
        self._reader = _Reader(path)
        self._writer = _Connection(path)
        self._begin_anew()

    async def open(self) -> None:
        """Make the file if there is none and bring its schema up to date. Raises `ConfigurationError` if it is not ours."""
        try:
            await _patiently(lambda: _migrate(self.path), _START_PATIENCE_S)
            for connection in (self._reader, self._writer):  # which a process that ends just now may hold up
                await _patiently(connection.get, _START_PATIENCE_S)
        except (OSError, Unavailable) as problem:
            why = problem.why if isinstance(problem, Unavailable) else problem
            raise ConfigurationError(f"The database {self.path} cannot be opened: {why}") from None
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Make what ends with `close`: an application may be started again, in another event loop."""
        self._group: GroupCommit[_Change] = GroupCommit(self._commit_together)
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="handstamp-commit")

    async def close(self) -> None:
        """Commit what was submitted, then let go of the file."""
        await self._group.close()
        self._disk.shutdown()
        self._writer.close()
        self._reader.close()

    async def read(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run `work` on the last committed rows. No writer, in this process or another, holds it up."""
        return await _patiently(lambda: _finish(work(self._reader.begin())))

    async def session(self, sid: str) -> tuple[Session, Account | None] | None:
        """Look at one session without the ways around: this is asked with every request."""

        def look() -> tuple[Session, Account | None] | None:
            return self._reader.begin().get_session(sid)

        try:
            return look()
        except sqlite3.DatabaseError:  # look again, patiently, or say what it is
            return await _patiently(look)

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a savepoint of the next group; return when that group is on the disk."""
        result: T = await self._group.submit(lambda rows: _finish(work(rows)))
        return result

    async def update_session(self, sid: str, decide: Decide[T]) -> T:
        """Ask `decide` with the write lock held, and write what it says; return when that is on the disk."""
        result: T = await self._group.submit(SessionChange(sid, decide))
        return result

    async def time(self) -> None:
        """Return None: all who use the file are on this machine."""

    async def changes(self) -> AsyncIterator[None]:
        """Ask SQLite every 50 ms whether anybody has committed; that costs microseconds and touches no row."""
        seen: tuple[int, int] | None = None
        while True:
            with suppress(Unavailable, sqlite3.Error):
                connection = self._reader.get()
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                if (id(connection), version) != seen:
                    seen = (id(connection), version)
                    yield
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _commit_together(self, changes: Sequence[_Change]) -> list[Any]:
        connection = await _patiently(self._begin)
        try:
            rows = self._writer.rows
            decided = Decisions(rows.get_session)
            outcomes = [decided.judge(change) if isinstance(change, SessionChange) else None for change in changes]
            rows.write(decided)
            for number, change in enumerate(changes):
                if not isinstance(change, SessionChange):
                    outcomes[number] = _in_savepoint(connection, rows, change)
            with self._reader.apart():
                await asyncio.get_running_loop().run_in_executor(self._disk, connection.execute, "COMMIT")
        except sqlite3.Error as problem:
            raise _unavailable(problem) from None
        finally:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            if connection.in_transaction:  # not even that: begin anew with another connection
                self._writer.close()
        return outcomes

    def _begin(self) -> sqlite3.Connection:
        connection = self._writer.get()
        connection.execute("BEGIN IMMEDIATE")
        return connection


def _in_savepoint(connection: sqlite3.Connection, rows: SqliteTransaction, work: Callable[[SqliteTransaction], Any]) -> Any:
    """Return the result of `work`, or `Failed` with what it raised. Raises only if the whole transaction is lost."""
    connection.execute("SAVEPOINT work")
    try:
        outcome = work(rows)
    except Exception as problem:  # noqa: BLE001 - it belongs to whoever submitted the work
        if not connection.in_transaction:  # SQLite rolls everything back by itself when the disk is full or failing
            raise _unavailable(problem) from None
        connection.execute("ROLLBACK TO work")
        outcome = Failed(_unavailable(problem) if type(problem) in _FAILURES else problem)
    connection.execute("RELEASE work")
    return outcome


def _finish(work: Awaitable[T]) -> T:
    """Run a coroutine that awaits nothing but rows, which on SQLite never wait."""
    if not isinstance(work, Coroutine):
        raise TypeError("work must be an 'async def' function")
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("Inside a transaction, await its rows and nothing else: the write lock is held.")


async def _patiently(attempt: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Return what `attempt` gives, trying again while another process holds the lock; `Unavailable` after so many seconds."""
    with suppress(_Busy):
        return _once(attempt)
    try:
        async with asyncio.timeout(patience_s):
            while True:
                await asyncio.sleep(_LOCK_PAUSE_S)
                with suppress(_Busy):
                    return _once(attempt)
    except TimeoutError:
        raise Unavailable(f"another process has locked the database for more than {patience_s:g} s") from None


class _Busy(Exception):
    """Another process holds the lock."""


def _once(attempt: Callable[[], T]) -> T:
    try:
        return attempt()
    except sqlite3.DatabaseError as problem:
        raise (_Busy if _is_busy(problem) else _unavailable(problem)) from None


def _is_busy(problem: sqlite3.Error) -> bool:
    return getattr(problem, "sqlite_errorcode", 0) & 0xFF in _BUSY_CODES


def _unavailable(problem: Exception) -> Unavailable:
    return problem if isinstance(problem, Unavailable) else Unavailable(f"SQLite: {problem}")


def _connect(path: Path) -> sqlite3.Connection:
    """Connect to a file that exists; a missing one is never made here, where it would look like an empty database."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0, check_same_thread=False
    )
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF", "cell_size_check=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _connect_to_current(path: Path) -> sqlite3.Connection:
    """Connect to a file that should be ours and up to date; `Unavailable` where it was replaced by one that is not."""
    connection = _connect(path)
    try:
        is_outdated = bool(migrations.find_pending(migrations.load_migrations("sqlite"), _applied(connection)))
    except ConfigurationError as problem:
        connection.close()
        raise Unavailable(f"the database file was replaced: {problem}") from None
    except sqlite3.Error:
        connection.close()
        raise
    if is_outdated:
        connection.close()
        raise Unavailable("the database file was replaced by one of an older schema: restart to bring it up to date")
    return connection


def _applied(connection: sqlite3.Connection) -> dict[int, str]:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if "schema_migration" in tables:
        return dict(connection.execute("SELECT version, checksum FROM schema_migration"))
    if tables:
        raise ConfigurationError(
            "This SQLite file belongs to another program: name a file of Handstamp's own in HANDSTAMP_DATABASE."
        )
    return {}


def _migrate(path: Path) -> None:
    # It holds addresses and sealed keys; WAL files take its mode. One that is there is not opened here: closing it again would
    # drop all locks that another store in this process holds on it (POSIX), and the next process to leave would delete the WAL.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = _connect(path)
    try:
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            _applied(connection)  # leave a stranger's file as it is
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        waiting = migrations.find_pending(migrations.load_migrations("sqlite"), _applied(connection))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration "
            "(version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT"
        )
        for migration in waiting:
            for statement in migration.statements():
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_migration VALUES (?, ?, ?)", (migration.version, migration.name, migration.checksum)
            )
        connection.execute("COMMIT")
    finally:
        connection.close()
