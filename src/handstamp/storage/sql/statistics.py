"""The statements that count all rows of a table, one piece at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...domain.throttle import MAX_CONSECUTIVE
from ..store.statistics import WINDOWS_MS, Piece
from .executor import Executor


def _statement(table: str, key: str, features: Sequence[str], columns: str, *, descending: bool = False) -> str:
    """Return the statement that groups the next rows by their features, and tells the last key in each row.

    The database finds the last key, because it alone knows the order of its keys.
    """
    names = [f"feature_{number}" for number in range(len(features))]
    following, order, last = ("<", "DESC", "min") if descending else (">", "ASC", "max")
    piece = f"SELECT {columns} FROM {table} WHERE {key} {following} ? ORDER BY {key} {order} LIMIT ?"
    told = ", ".join(f"{feature} AS {name}" for feature, name in zip(features, names, strict=True))
    grouped = f" GROUP BY {', '.join(names)}" if names else ""
    return f"SELECT {told}{', ' if told else ''}count(*), {last}({last}({key})) OVER () FROM ({piece}) AS piece{grouped}"


_AGE = "CASE WHEN {} >= ? THEN 0 WHEN {} >= ? THEN 1 ELSE 2 END"
_ACCOUNTS = _statement(
    "account",
    "id",
    ("email_verified", "disabled_at_ms IS NOT NULL", "password_hash <> ''", "has_totp", "has_passkey"),
    "id, email_verified, disabled_at_ms, password_hash, "
    "EXISTS (SELECT 1 FROM totp WHERE account_id = account.id) AS has_totp, "
    "EXISTS (SELECT 1 FROM passkey WHERE account_id = account.id) AS has_passkey",
)
_SESSIONS = _statement(
    "session",
    "id",
    ("revoked_at_ms IS NULL AND expires_at_ms > ? AND rotated_at_ms + idle_lifetime_ms > ?", "delivery", "bound_by"),
    "id, revoked_at_ms, expires_at_ms, rotated_at_ms, idle_lifetime_ms, delivery, bound_by",
)
_EVENTS = _statement("event", "id", (_AGE.format("at_ms", "at_ms"), "kind"), "id, at_ms, kind", descending=True)
_FAILURES = _statement(
    "failure",
    "key",
    (
        "account IS NOT NULL AND key = account",
        _AGE.format("last_at_ms", "last_at_ms"),
        "forgotten_at_ms IS NULL AND consecutive >= ?",
    ),
    "key, account, last_at_ms, forgotten_at_ms, consecutive",
)
_MAILS = _statement("mail", "id", ("next_at_ms IS NOT NULL",), "id, next_at_ms")
_REVOCATIONS = _statement("revocation", "seq", (), "seq")
_BEYOND = 2**62
"""No event has a number as high as this."""


class SqlStatistics:
    """Implements `handstamp.storage.store.StatisticQueries`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def count_accounts(self, place: str | None, *, limit: int) -> Piece:
        return await self._count(_ACCOUNTS, (place or "", limit), limit)

    async def count_sessions(self, place: str | None, *, now_ms: int, limit: int) -> Piece:
        return await self._count(_SESSIONS, (now_ms, now_ms, place or "", limit), limit)

    async def count_events(self, place: int | None, *, now_ms: int, limit: int) -> Piece:
        values = (*_list_starts(now_ms), _BEYOND if place is None else place, limit)
        return await self._count(_EVENTS, values, limit)

    async def count_failures(self, place: str | None, *, now_ms: int, limit: int) -> Piece:
        return await self._count(_FAILURES, (*_list_starts(now_ms), MAX_CONSECUTIVE, place or "", limit), limit)

    async def count_mails(self, place: str | None, *, limit: int) -> Piece:
        return await self._count(_MAILS, (place or "", limit), limit)

    async def count_revocations(self, place: int | None, *, limit: int) -> Piece:
        return await self._count(_REVOCATIONS, (place or 0, limit), limit)

    async def _count(self, sql: str, values: Sequence[Any], limit: int) -> Piece:
        groups = [row for row in await self._executor.run(sql, values) if row[-2]]
        counts = {tuple(row[:-2]): int(row[-2]) for row in groups}
        is_end = sum(counts.values()) < limit
        return Piece(counts, None if is_end else groups[0][-1])


def _list_starts(now_ms: int) -> tuple[int, ...]:
    return tuple(now_ms - window_ms for window_ms in WINDOWS_MS)
