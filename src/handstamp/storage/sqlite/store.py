"""The embedded store: one SQLite file, shared by any number of processes of one machine.

It is fast and durable at once: WAL with `synchronous=FULL`, and one writer in each process that commits in groups. Statements
take microseconds and run on the event loop; only COMMIT waits for the disk, on a thread. `BEGIN IMMEDIATE` takes the write lock
before anything is read, so that no decision rests on a row that another process has changed since. (A deferred transaction would
fail there, whatever its busy time-out.) A process that finds the lock taken sleeps without blocking its event loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ...domain.account import Account
from ...domain.session import Session
from ...errors import ConfigurationError, Unavailable
from ..batching import Around, Decisions, Failed, GroupCommit, SessionChange
from ..store import Decide, Rows, StoreLoad, Transaction
from .connection import FileConnection, SharedReader, run_patiently, unavailable
from .schema import migrate
from .stale_log import require_own_log
from .transaction import SqliteTransaction, finish

T = TypeVar("T")
_START_PATIENCE_S = 10.0
"""How long a start waits for a lock: another process may be creating the tables."""
_LOOK_EVERY_S = 0.05
"""How often a process checks whether another one has committed."""
_FAILURES = (sqlite3.OperationalError, sqlite3.DatabaseError)
"""What the file or the disk can cause. Their subclasses, such as a violated constraint, are faults of our code."""

_Change = SessionChange | Callable[[SqliteTransaction], Any]


class SqliteStore:
    """Implements `handstamp.storage.store.Store` on one file."""

    def __init__(self, path: Path, *, around: Around | None = None) -> None:
        """Use the file at `path`. `open` creates it, with mode 0600, if it does not exist. `around`: as for `GroupCommit`."""
        self._around = around
        self.path = path
        self._reader = SharedReader(path)
        self._writer = FileConnection(path)
        self._start()

    async def open(self) -> None:
        """Create the file if it does not exist and bring its schema up to date.

        Raises `ConfigurationError` if the file is another program's, of a newer version, cannot be opened, or was copied beside
        the log of another.
        """
        try:
            require_own_log(self.path.resolve())
            await run_patiently(lambda: migrate(self.path), _START_PATIENCE_S)
            for connection in (self._reader, self._writer):  # a process that is just closing the file may hold the lock
                await run_patiently(connection.get, _START_PATIENCE_S)
        except (OSError, Unavailable) as problem:
            why = problem.why if isinstance(problem, Unavailable) else problem
            raise ConfigurationError(f"The database {self.path} cannot be opened: {why}") from None
        self._start()

    def _start(self) -> None:
        """Create what `close` ends. An application may be started again, in another event loop."""
        self._group: GroupCommit[_Change] = GroupCommit(self._commit_together, around=self._around)
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="handstamp-commit")

    async def close(self) -> None:
        """Commit what was submitted, then close the file."""
        await self._group.close()
        self._disk.shutdown()
        self._writer.close()
        self._reader.close()

    async def read(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run `work` on the last committed rows. It waits for no writer, in this process or another."""
        return await run_patiently(lambda: finish(work(self._reader.begin())))

    async def session(self, sid: str) -> tuple[Session, Account | None] | None:
        """Return a session and its account. Every request with an access token calls this, so it avoids a coroutine."""
        try:
            return self._reader.begin().get_session(sid)
        except sqlite3.DatabaseError:  # try again with patience, and translate the error
            return await run_patiently(lambda: self._reader.begin().get_session(sid))

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a savepoint of the next group. Return its result when that group is on the disk."""
        result: T = await self._group.submit(lambda rows: finish(work(rows)))
        return result

    async def update_session(self, sid: str, decide: Decide[T]) -> T:
        """Call `decide` under the write lock and write its result. Return its answer when that is on the disk."""
        result: T = await self._group.submit(SessionChange(sid, decide))
        return result

    def load(self) -> StoreLoad:
        """Return how busy the store is."""
        return StoreLoad(self._group.waiting)

    async def time(self) -> None:
        """Return None: every process that uses the file is on this machine."""

    async def changes(self) -> AsyncIterator[None]:
        """Check every 50 ms whether any process has committed. A check costs microseconds and reads no row."""
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
        connection = await run_patiently(self._begin)
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
            raise unavailable(problem) from None
        finally:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            if connection.in_transaction:  # the rollback failed too: the next group gets a new connection
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
    except Exception as problem:  # noqa: BLE001 - it is raised in the caller who submitted the work
        if not connection.in_transaction:  # SQLite rolls back the whole transaction if the disk is full or fails
            raise unavailable(problem) from None
        connection.execute("ROLLBACK TO work")
        outcome = Failed(unavailable(problem) if type(problem) in _FAILURES else problem)
    connection.execute("RELEASE work")
    return outcome
