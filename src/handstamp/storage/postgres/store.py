"""The store for several machines: PostgreSQL.

Refreshes that arrive together share one transaction: their rows are locked in the order of their ids, so that no two
transactions wait for each other, judged by the same pure decision as everywhere, and written with one statement. Everything else
is a transaction of its own, SERIALIZABLE, and run again where PostgreSQL finds that it does not fit with another.

How the two kinds mix: what ends or changes a session updates its row, so it meets the lock of a batch. Either it waits, and is
then run again on the row as the batch has left it, or the batch waits, and then sees the row as changed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg

from ...clock import monotonic_ms
from ...domain.account import Account
from ...domain.session import Session
from ...errors import ConfigurationError, Unavailable
from .. import migrations
from ..batching import Decisions, GroupCommit, SessionChange
from ..sql import accounts, events, sessions
from ..store import Decide, Rows, StoreTime, Transaction
from .transaction import CHANNEL, PostgresTransaction, add_revocations, can_be_stored, numbered
from .url import Target, target_of

T = TypeVar("T")
PATIENCE_S = 5.0
"""How long a request waits for a connection, and for a statement, before it is answered 503."""
POLL_S = 1.0
"""How often a process looks for changes though nobody has told it of any."""
_TRIES = 8
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What the network and the server can do to us."""
_CLASHES = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_MIGRATING = 0x48414E45
"""The advisory lock of whoever migrates."""

_LOCK_SESSIONS = f"{sessions.SELECT} WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE"
_TIME = "SELECT (1000 * extract(epoch FROM clock_timestamp()))::bigint"
_ACCOUNTS = f"{accounts.SELECT} WHERE id = ANY($1::text[])"
COLUMN_TYPES = {"integer": "bigint", "boolean": "boolean", "text": "text", "json": "text", "blob": "bytea"}
_WRITTEN = (*sessions.CHANGING, "id")
_ARRAYS = (f"${number}::{COLUMN_TYPES[sessions.COLUMNS.kinds[name]]}[]" for number, name in enumerate(_WRITTEN, 1))
_UPDATE_SESSIONS = (
    f"UPDATE session SET {', '.join(f'{name} = new.{name}' for name in sessions.CHANGING)} "
    f"FROM unnest({', '.join(_ARRAYS)}) AS new ({', '.join(_WRITTEN)}) WHERE session.id = new.id"
)


class PostgresStore:
    """Implements `handstamp.storage.store.Store`."""

    def __init__(self, url: str, *, connections: int = 10) -> None:
        """Take `postgresql://user:password@host/name`, and how many connections this process may have besides one to listen."""
        self._url = url
        self._target = Target({}, is_pooled=False)
        self._connections = connections
        self._pool: Any = None
        self._group: GroupCommit[SessionChange] = GroupCommit(self._commit_together)

    def __repr__(self) -> str:
        """Say what it is; the URL holds a password."""
        return "PostgresStore()"

    async def open(self) -> None:
        """Connect. Raises `ConfigurationError` where that fails, or the schema is not up to date."""
        self._group = GroupCommit(self._commit_together)
        with _configuring():
            self._target = target_of(self._url, patience_s=PATIENCE_S)
            # None is held in reserve: asyncpg would write a traceback into the log whenever it could not have it back.
            self._pool = await asyncpg.create_pool(
                **self._target.options, min_size=0, max_size=self._connections, reset=_skip_reset
            )
        try:
            with _configuring():
                async with self._connected() as connection:
                    _check_schema(await _applied(connection))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Commit what was submitted, then let go of the connections."""
        await self._group.close()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await pool.close()
            except _FAILURES:
                pool.terminate()

    async def read(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run `work`, each look on rows as they are committed then."""
        with _unavailable():
            async with self._connected() as connection:
                return await work(PostgresTransaction(connection))

    async def session(self, sid: str) -> tuple[Session, Account | None] | None:
        """Look at one session."""
        return await self.read(lambda rows: rows.sessions.get(sid))

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction of its own, again if it clashes with another; return when that is durable."""
        return await self._in_transaction("serializable", lambda connection: work(PostgresTransaction(connection)))

    async def update_session(self, sid: str, decide: Decide[T]) -> T:
        """Ask `decide` with the row locked, and write what it says; return when that is durable."""
        result: T = await self._group.submit(SessionChange(sid, decide))
        return result

    async def time(self) -> StoreTime:
        """Ask the server's clock."""
        with _unavailable():
            async with self._connected() as connection:
                asked_ms = monotonic_ms()
                time_ms = await connection.fetchval(_TIME)
                answered_ms = monotonic_ms()
        return StoreTime(time_ms=time_ms, at_ms=(asked_ms + answered_ms) // 2, within_ms=answered_ms - asked_ms)

    async def changes(self) -> AsyncIterator[None]:
        """Listen, on a connection of its own, and look every second all the same: a message can be lost with the connection."""
        heard = asyncio.Event()
        connection = await self._listening(None, heard)
        try:
            while True:
                heard.clear()
                yield
                try:
                    async with asyncio.timeout(POLL_S):
                        await heard.wait()
                except TimeoutError:
                    connection = await self._listening(connection, heard)
        finally:
            if connection is not None:
                connection.terminate()

    async def _listening(self, connection: Any, heard: asyncio.Event) -> Any:
        """Return a connection that listens: this one, if it still answers. None if there is no such thing now.

        It is asked, since whatever stands in between may have forgotten an idle connection and told neither side.
        """
        if self._target.is_pooled:
            return None
        with suppress(*_FAILURES):
            try:
                if connection is None or connection.is_closed():
                    connection = await asyncpg.connect(**self._target.options)
                    await connection.add_listener(CHANNEL, lambda *_: heard.set())
                else:
                    await connection.execute("SELECT 1", timeout=POLL_S)
            except BaseException:
                if connection is not None:
                    connection.terminate()
                raise
            return connection
        return None

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        if self._pool is None:
            raise Unavailable("the store is closed")
        async with self._pool.acquire(timeout=PATIENCE_S) as connection:
            try:
                yield connection
            except _CLASHES:
                raise
            except _FAILURES:
                connection.terminate()  # whatever state it is in: nobody else is given it
                raise

    async def _in_transaction(self, isolation: str, work: Callable[[Any], Awaitable[T]]) -> T:
        """Run `work` in a transaction, again if it clashes with another; return when that is durable."""
        with _unavailable():
            for number in range(_TRIES):
                with suppress(*_CLASHES):
                    async with self._connected() as connection, connection.transaction(isolation=isolation):
                        return await work(connection)
                await asyncio.sleep(random.uniform(0, 0.01 * 2**number))  # noqa: S311 - so that the same two do not meet again
        raise Unavailable(f"PostgreSQL: the transaction has clashed with others {_TRIES} times")

    async def _commit_together(self, changes: Sequence[SessionChange]) -> list[Any]:
        return await self._in_transaction("read_committed", lambda connection: _decide_together(connection, changes))


async def _decide_together(connection: Any, changes: Sequence[SessionChange]) -> list[Any]:
    """Lock the sessions that these changes are about, decide about each in turn, and write what was decided."""
    locked = await connection.fetch(_LOCK_SESSIONS, sorted(filter(can_be_stored, {change.sid for change in changes})))
    found = {session.id: session for session in map(sessions.COLUMNS.decode, locked)}
    # Only now: a statement sees what was committed when it began, and the locks may have been waited for.
    subjects = {session.subject for session in found.values() if session.epoch is not None}
    rows = await connection.fetch(_ACCOUNTS, sorted(subjects)) if subjects else ()
    owners = {account.id: account for account in map(accounts.COLUMNS.decode, rows)}

    def find(sid: str) -> tuple[Session, Account | None] | None:
        session = found.get(sid)
        if session is None:
            return None
        return session, owners.get(session.subject) if session.epoch is not None else None

    decided = Decisions(find)
    outcomes = [decided.judge(change) for change in changes]
    await _write(connection, decided)
    return outcomes


async def _write(connection: Any, decided: Decisions) -> None:
    """Write all of it, revocations last: their lock is shared by everybody."""
    if decided.changed:
        await connection.execute(_UPDATE_SESSIONS, *zip(*map(sessions.encode_update, decided.changed), strict=True))
    if decided.events:
        await connection.executemany(numbered(events.INSERT), map(events.COLUMNS.encode, decided.events))
    await add_revocations(connection, list(map(sessions.revocation_of, decided.revoked)))


async def migrate(url: str) -> list[str]:
    """Bring a database's schema up to date and return the names of what was applied. Any number may try at once.

    Raises `ConfigurationError` for a database that is not ours, of a newer version, or cannot be reached.
    """
    with _configuring():
        connection = await asyncpg.connect(**target_of(url, patience_s=PATIENCE_S).options | {"command_timeout": None})
        try:
            for _ in range(_TRIES - 1):
                with suppress(asyncpg.LockNotAvailableError):
                    return await _migrate(connection)
                await asyncio.sleep(1)
            return await _migrate(connection)
        finally:
            await connection.close()


async def _migrate(connection: Any) -> list[str]:
    """Apply what is missing, all or nothing. Raises where a table stays in use, rather than let every request queue behind us."""
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
        await connection.execute("SET LOCAL lock_timeout = '2s'")
        waiting = migrations.find_pending(migrations.load_migrations("postgres"), await _applied(connection))
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (version bigint PRIMARY KEY, name text NOT NULL, checksum text NOT NULL)"
        )
        for migration in waiting:
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migration VALUES ($1, $2, $3)", migration.version, migration.name, migration.checksum
            )
    return [migration.name for migration in waiting]


def _check_schema(applied: dict[int, str]) -> None:
    if migrations.find_pending(migrations.load_migrations("postgres"), applied):
        what = "has an older schema" if applied else "is empty"
        raise ConfigurationError(f"The PostgreSQL database {what}: run 'handstamp migrate' once, then start again.")


async def _applied(connection: Any) -> dict[int, str]:
    tables = {name for (name,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")}
    if "schema_migration" in tables:
        return dict(map(tuple, await connection.fetch("SELECT version, checksum FROM schema_migration")))
    if tables & {"account", "session"}:
        raise ConfigurationError("This PostgreSQL database belongs to another program: give Handstamp one of its own.")
    return {}


async def _skip_reset(connection: Any) -> None:
    """Skip the statements that would reset a session. Ours keeps no state between transactions.

    That saves a round trip and suits PgBouncer. asyncpg itself still rolls back a transaction that was left open.
    """


class _unavailable:  # noqa: N801 - used as a statement
    """Turn what network and server do into `Unavailable`."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(problem, _FAILURES) and not isinstance(problem, asyncpg.IntegrityConstraintViolationError):  # that is ours
            raise Unavailable(f"PostgreSQL: {type(problem).__name__}: {problem}") from None


class _configuring:  # noqa: N801 - used as a statement
    """Turn the same into `ConfigurationError`, at a start."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(problem, (*_FAILURES, Unavailable, ValueError)):
            what = problem.why if isinstance(problem, Unavailable) else f"{type(problem).__name__}: {problem}"
            raise ConfigurationError(f"The PostgreSQL database cannot be opened: {what}") from None
