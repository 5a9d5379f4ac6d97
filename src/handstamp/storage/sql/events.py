"""The statements about the audit trail."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.event import Event
from .columns import Columns
from .executor import Executor, purge_statement

COLUMNS = Columns(Event)
INSERT = f"INSERT INTO event ({COLUMNS.list}) VALUES ({COLUMNS.marks})"
# With OR, all rows about a person would be read and sorted. Each of these stops after `limit` entries of its index.
_SELECT_ABOUT = f"""SELECT {COLUMNS.list} FROM event WHERE id IN (
  SELECT id FROM (SELECT id FROM event WHERE subject = ? ORDER BY id DESC LIMIT ?) AS by_subject
  UNION SELECT id FROM (SELECT id FROM event WHERE sid = ? ORDER BY id DESC LIMIT ?) AS by_session
) ORDER BY id DESC LIMIT ?"""
_SELECT_ALL_OF = f"SELECT id, {COLUMNS.list} FROM event WHERE subject = ? AND id > ? ORDER BY id LIMIT ?"
_SELECT_PAGE = f"SELECT id, {COLUMNS.list} FROM event WHERE id > ? AND id <= ? AND at_ms >= ? AND at_ms < ? ORDER BY id LIMIT ?"
_SELECT_BACK = f"SELECT id, {COLUMNS.list} FROM event WHERE id < ? ORDER BY id DESC LIMIT ?"
_SELECT_BACK_OF = f"SELECT id, {COLUMNS.list} FROM event WHERE subject = ? AND id < ? ORDER BY id DESC LIMIT ?"
_SELECT_PLACE = "SELECT id FROM event WHERE at_ms < ? ORDER BY at_ms DESC LIMIT 1"
_SELECT_LAST = "SELECT coalesce(max(id), 0) FROM event"
_PURGE = purge_statement("event", "id", "at_ms")


class SqlEvents:
    """Implements `handstamp.storage.store.EventTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def list_about(self, about: str, *, limit: int) -> list[Event]:
        rows = await self._executor.run(_SELECT_ABOUT, (about, limit, about, limit, limit))
        return [COLUMNS.decode(row) for row in reversed(rows)]

    async def list_deleted(self, account_ids: Sequence[str]) -> set[str]:
        marks = ", ".join("?" * len(account_ids))
        sql = f"SELECT subject FROM event WHERE subject IN ({marks}) AND kind = 'account_deleted'"
        return {subject for (subject,) in await self._executor.run(sql, account_ids)}

    async def list_all_of(self, subject: str, *, after: int, limit: int) -> list[tuple[int, Event]]:
        rows = await self._executor.run(_SELECT_ALL_OF, (subject, after, limit))
        return [(row[0], COLUMNS.decode(row[1:])) for row in rows]

    async def list_page(self, *, after: int, until: int, since_ms: int, before_ms: int, limit: int) -> list[tuple[int, Event]]:
        rows = await self._executor.run(_SELECT_PAGE, (after, until, since_ms, before_ms, limit))
        return [(row[0], COLUMNS.decode(row[1:])) for row in rows]

    async def list_back(self, *, before: int, subject: str | None, limit: int) -> list[tuple[int, Event]]:
        if subject is None:
            rows = await self._executor.run(_SELECT_BACK, (before, limit))
        else:
            rows = await self._executor.run(_SELECT_BACK_OF, (subject, before, limit))
        return [(row[0], COLUMNS.decode(row[1:])) for row in rows]

    async def find_place(self, at_ms: int) -> int:
        rows = await self._executor.run(_SELECT_PLACE, (at_ms,))
        return int(rows[0][0]) if rows else 0

    async def get_last_number(self) -> int:
        return int((await self._executor.run(_SELECT_LAST))[0][0])

    async def get_horizon(self) -> int:
        return 0  # SQLite has one writer: numbers grow in the order of commits

    async def has_passed(self, horizon: int) -> bool:  # noqa: ARG002 - as above
        return True

    async def insert(self, event: Event) -> None:
        await self._executor.run(INSERT, COLUMNS.encode(event))

    async def insert_many(self, events: Sequence[Event]) -> None:
        if events:
            values = [value for event in events for value in COLUMNS.encode(event)]
            await self._executor.run(f"INSERT INTO event ({COLUMNS.list}) VALUES {COLUMNS.marks_of(len(events))}", values)

    async def purge(self, *, until_ms: int, limit: int) -> list[int]:
        """Delete up to `limit` events that are not later than `until_ms`. Return their numbers."""
        return [number for (number,) in await self._executor.run(_PURGE, (until_ms, limit))]
