"""Rows on a PostgreSQL connection."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from ...domain.session import RevokedWhy
from ..sql.rows import SqlRows

CHANNEL = "handstamp"
_REVOKING = 0x48414E44
"""The advisory lock of whoever adds revocations."""
_INSERT_REVOCATIONS = (
    "INSERT INTO revocation (kind, name, exp_s) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) ON CONFLICT DO NOTHING"
)


class PostgresTransaction(SqlRows):
    """Implements `handstamp.storage.store.Transaction`."""

    def __init__(self, connection: Any) -> None:
        """Take a connection."""
        self._connection = connection

    async def _run(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        if sql.startswith("SELECT") and not all(map(can_be_stored, values)):
            return ()
        rows: Sequence[Sequence[Any]] = await self._connection.fetch(numbered(sql), *values)
        return rows

    async def revoke_sessions(self, subject: str, why: RevokedWhy, *, now_ms: int) -> int:
        """Lock them first in the order of their ids, as refreshes that share a transaction do: else the two could deadlock."""
        await self._run("SELECT 1 FROM session WHERE subject = ? AND revoked_at_ms IS NULL ORDER BY id FOR UPDATE", (subject,))
        return await super().revoke_sessions(subject, why, now_ms=now_ms)

    async def _add_revocations(self, entries: Sequence[tuple[str, str, int]]) -> None:
        await add_revocations(self._connection, entries)


async def add_revocations(connection: Any, entries: Sequence[tuple[str, str, int]]) -> None:
    """Number and add revocations, and wake up whoever listens, once this is committed.

    A number that is taken before the commit becomes visible out of order, and a reader would miss entries. The lock is held to
    the commit, so whoever numbers later commits later.
    """
    if entries:
        await connection.execute(f"SELECT pg_advisory_xact_lock({_REVOKING}), pg_notify('{CHANNEL}', '')")
        kinds, names, ends = zip(*entries, strict=True)
        await connection.execute(_INSERT_REVOCATIONS, kinds, names, ends)


def can_be_stored(value: Any) -> bool:
    """Say whether a value can be in a row at all: PostgreSQL's text has no NUL."""
    return not isinstance(value, str) or "\0" not in value


@lru_cache
def numbered(sql: str) -> str:
    """Return a statement with `$1`, `$2` … for each `?`. None of ours has one in a text."""
    numbers = count(1)
    return "".join(f"${next(numbers)}" if character == "?" else character for character in sql)
