"""The store for several machines: PostgreSQL.

Refreshes that arrive together share one transaction, a batch. It locks their rows in the order of their ids, so that no two
batches deadlock, calls the same pure decisions as every store, and writes the results with one statement. All other work runs in
a SERIALIZABLE transaction of its own, which is repeated after a serialization failure.

The two kinds do not slip past each other: work that changes a session updates its row and meets the lock of a batch. Either the
work waits and is then repeated on the row as the batch left it, or the batch waits and then reads the changed row.
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
from ...errors import Unavailable
from ..batching import Around, Decisions, GroupCommit, SessionChange
from ..sql import accounts, events, sessions
from ..store import Decide, Rows, StoreLoad, StoreTime, Transaction
from .failures import FAILURES, refuse_to_start_if_it_fails, unavailable_if_it_fails
from .schema import require_current_schema
from .transaction import CHANNEL, PostgresTransaction, add_revocations, can_be_stored, numbered
from .url import Target, target_of

T = TypeVar("T")
PATIENCE_S = 5.0
"""How long a request waits for a connection, and for a statement, before it is answered 503."""
POLL_S = 1.0
"""How often a process looks for changes without having been notified."""
_TRIES = 16
_LONGEST_PAUSE_S = 0.3
_CLASHES = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

_LOCK_SESSIONS = f"{sessions.SELECT} WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE"
_TIME = "SELECT (1000 * extract(epoch FROM clock_timestamp()))::bigint"
_IMPERSONATING = "SELECT DISTINCT impersonator_sid FROM session WHERE impersonator_id = ANY($1::text[]) AND revoked_at_ms IS NULL"
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

    def __init__(self, url: str, *, connections: int = 10, around: Around | None = None) -> None:
        """Connect to `postgresql://user:password@host/name` with at most `connections` connections, and one more that listens.

        `around` is as for `GroupCommit`.
        """
        self._around = around
        self._url = url
        self._target = Target({}, is_pooled=False)
        self._connections = connections
        self._pool: Any = None
        self._group: GroupCommit[SessionChange] = GroupCommit(self._commit_together, around=self._around)

    def __repr__(self) -> str:
        """Show the class only: the URL holds a password."""
        return "PostgresStore()"

    async def open(self) -> None:
        """Connect. Raises `ConfigurationError` if that fails or if the schema is not up to date."""
        self._group = GroupCommit(self._commit_together, around=self._around)
        with refuse_to_start_if_it_fails():
            self._target = target_of(self._url, patience_s=PATIENCE_S)
            # No idle connection is kept in reserve: asyncpg would log a traceback whenever it could not replace one.
            self._pool = await asyncpg.create_pool(
                **self._target.options, min_size=0, max_size=self._connections, reset=_skip_reset
            )
        try:
            with refuse_to_start_if_it_fails():
                async with self._connected() as connection:
                    await require_current_schema(connection)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Commit what was submitted, then close the connections."""
        await self._group.close()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await pool.close()
            except FAILURES:
                pool.terminate()

    async def read(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run `work`. Each of its queries reads the rows that are committed at that moment."""
        with unavailable_if_it_fails():
            async with self._connected() as connection:
                return await work(PostgresTransaction(connection))

    async def session(self, sid: str) -> tuple[Session, Account | None] | None:
        """Return a session and its account."""
        return await self.read(lambda rows: rows.sessions.get(sid))

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction of its own and repeat it if it clashes with another. Return when it is durable."""
        return await self._in_transaction("serializable", lambda connection: work(PostgresTransaction(connection)))

    async def update_session(self, sid: str, decide: Decide[T]) -> T:
        """Call `decide` under the row's lock and write its result. Return its answer when that is durable."""
        result: T = await self._group.submit(SessionChange(sid, decide))
        return result

    def load(self) -> StoreLoad:
        """Return how busy the store is."""
        idle = 0 if self._pool is None else self._pool.get_idle_size()
        return StoreLoad(self._group.waiting, busy=0 if self._pool is None else self._pool.get_size() - idle, idle=idle)

    async def time(self) -> StoreTime:
        """Return the time of the server's clock."""
        with unavailable_if_it_fails():
            async with self._connected() as connection:
                asked_ms = monotonic_ms()
                time_ms = await connection.fetchval(_TIME)
                answered_ms = monotonic_ms()
        return StoreTime(time_ms=time_ms, at_ms=(asked_ms + answered_ms) // 2, within_ms=answered_ms - asked_ms)

    async def changes(self) -> AsyncIterator[None]:
        """Listen on a connection of its own. Look every second as well: a notification can be lost with the connection."""
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
        """Return a connection that listens: the given one if it still answers, else a new one. None if neither is possible.

        The connection is tested, because a firewall may drop an idle connection without telling either side.
        """
        if self._target.is_pooled:
            return None
        with suppress(*FAILURES):
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
            except FAILURES:
                connection.terminate()  # its state is unknown: it must not go back to the pool
                raise

    async def _in_transaction(self, isolation: str, work: Callable[[Any], Awaitable[T]]) -> T:
        """Run `work` in a transaction and repeat it if it clashes with another. Return when it is durable."""
        with unavailable_if_it_fails():
            for number in range(_TRIES):
                with suppress(*_CLASHES):
                    async with self._connected() as connection, connection.transaction(isolation=isolation):
                        return await work(connection)
                pause_s = min(0.01 * 2**number, _LONGEST_PAUSE_S)
                await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - so that the same two do not clash again
        raise Unavailable(f"PostgreSQL: the transaction has clashed with others {_TRIES} times")

    async def _commit_together(self, changes: Sequence[SessionChange]) -> list[Any]:
        return await self._in_transaction("read_committed", lambda connection: _decide_together(connection, changes))


async def _decide_together(connection: Any, changes: Sequence[SessionChange]) -> list[Any]:
    """Lock the sessions of these changes, run each decision in turn, and write the results."""
    locked = await connection.fetch(_LOCK_SESSIONS, sorted(filter(can_be_stored, {change.sid for change in changes})))
    found = {session.id: session for session in map(sessions.COLUMNS.decode, locked)}
    # After the locks: a statement sees what was committed when it began, and the locks may have been waited for.
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
    """Write all results. Revocations come last, because all processes share their lock."""
    if decided.changed:
        await connection.execute(_UPDATE_SESSIONS, *zip(*map(sessions.encode_update, decided.changed), strict=True))
    if decided.events:
        await connection.executemany(numbered(events.INSERT), map(events.COLUMNS.encode, decided.events))
    for mail in decided.mails:
        await PostgresTransaction(connection).mails.insert(mail)
    await add_revocations(connection, list(map(sessions.revocation_of, decided.revoked)))
    await _end_begun_in(connection, decided.revoked)


async def _end_begun_in(connection: Any, revoked: Sequence[Session]) -> None:
    """End the sessions that operators began in these. One query finds that there are none, as nearly always."""
    found = await connection.fetch(_IMPERSONATING, [session.subject for session in revoked]) if revoked else ()
    begun_in = {sid for (sid,) in found}
    for session in revoked:
        if session.id in begun_in:
            await PostgresTransaction(connection).sessions.end_begun_in(session)


async def _skip_reset(connection: Any) -> None:
    """Skip the statements that would reset a session. Ours keeps no state between transactions.

    That saves a round trip and suits PgBouncer. asyncpg itself still rolls back a transaction that was left open.
    """
