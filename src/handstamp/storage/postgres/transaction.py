"""Statements on a PostgreSQL connection."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from ...domain.mail import Mail
from ...domain.sweep import Sweep
from ..sql.events import SqlEvents
from ..sql.mails import DUE, SqlMails
from ..sql.sessions import BATCH, SqlSessions, encode_batch
from ..sql.transaction import SqlTransaction

CHANNEL = "handstamp"
_REVOKING = 0x48414E44
"""The advisory lock that is held while revocations are added."""
_INSERT_REVOCATIONS = (
    "INSERT INTO revocation (kind, name, exp_s) "
    "SELECT kind, name, exp_s FROM unnest($1::text[], $2::text[], $3::bigint[]) AS new (kind, name, exp_s) ON CONFLICT DO NOTHING"
)
_HORIZON = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_FIRST_WRITER = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_SURROGATE = re.compile("[\ud800-\udfff]")
_LOCK_BATCH = f"SELECT 1 FROM session WHERE id IN ({BATCH}) ORDER BY id FOR UPDATE"


class PostgresSessions(SqlSessions):
    """Implements `handstamp.storage.store.SessionTable`."""

    __slots__ = ()

    async def end_batch(self, sweep: Sweep, *, now_ms: int, limit: int) -> int:
        """Lock the sessions in the order of their ids first, as refreshes that share a transaction do, to avoid deadlocks."""
        await self._executor.run(_LOCK_BATCH, encode_batch(sweep, now_ms, limit))
        return await super().end_batch(sweep, now_ms=now_ms, limit=limit)


class PostgresEvents(SqlEvents):
    """Implements `handstamp.storage.store.EventTable`."""

    __slots__ = ()

    async def get_horizon(self) -> int:
        """Return the number of the first transaction that has not begun to write."""
        return int((await self._executor.run(_HORIZON))[0][0])

    async def has_passed(self, horizon: int) -> bool:
        """Return whether the first transaction that still writes is not before a horizon."""
        return int((await self._executor.run(_FIRST_WRITER))[0][0]) >= horizon


class PostgresMails(SqlMails):
    """Implements `handstamp.storage.store.MailTable`."""

    __slots__ = ()
    due: str = f"{DUE} FOR UPDATE SKIP LOCKED"
    """Nodes that look at the same time take different mails, without waiting for each other."""

    async def insert(self, mail: Mail) -> None:
        """Add a mail, and notify all listeners once this is committed."""
        await super().insert(mail)
        await self._executor.run(f"SELECT pg_notify('{CHANNEL}', '')")


class PostgresTransaction(SqlTransaction):
    """Implements `handstamp.storage.store.Transaction`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        """Run statements on `connection`."""
        self._connection = connection

    @property
    def sessions(self) -> PostgresSessions:
        """Query and change sessions."""
        return PostgresSessions(self)

    @property
    def events(self) -> PostgresEvents:
        """Query and extend the audit trail."""
        return PostgresEvents(self)

    @property
    def mails(self) -> PostgresMails:
        """Query and change mail that waits to be sent."""
        return PostgresMails(self)

    async def run(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        """Execute a statement and return all rows that it yields."""
        if sql.startswith("SELECT") and not all(map(can_be_stored, values)):
            return ()
        rows: Sequence[Sequence[Any]] = await self._connection.fetch(numbered(sql), *values)
        return rows

    async def add_revocations(self, entries: Sequence[Sequence[Any]]) -> None:
        """Add revocations, given as (kind, name, exp_s)."""
        await add_revocations(self._connection, entries)


async def add_revocations(connection: Any, entries: Sequence[Sequence[Any]]) -> None:
    """Number and add revocations, and notify all listeners once this is committed.

    Numbers must become visible in order, or a reader of the feed would miss entries. So an advisory lock is held until the
    commit: a transaction that takes a later number also commits later.
    """
    if entries:
        await connection.execute(f"SELECT pg_advisory_xact_lock({_REVOKING}), pg_notify('{CHANNEL}', '')")
        kinds, names, ends = zip(*entries, strict=True)
        await connection.execute(_INSERT_REVOCATIONS, kinds, names, ends)


def can_be_stored(value: Any) -> bool:
    """Return False for text that PostgreSQL cannot store: with a NUL character or half a surrogate pair."""
    return not isinstance(value, str) or ("\0" not in value and (value.isascii() or not _SURROGATE.search(value)))


@lru_cache
def numbered(sql: str) -> str:
    """Return a statement with `$1`, `$2` … in place of each `?`. No statement of ours has a `?` in a literal."""
    numbers = count(1)
    return "".join(f"${next(numbers)}" if character == "?" else character for character in sql)
