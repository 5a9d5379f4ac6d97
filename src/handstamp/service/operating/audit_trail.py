"""Read the audit trail, for programs that keep or watch it."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator

from ...domain.event import Event, EventKind
from ...domain.history import tell_event
from ...errors import Unavailable
from ...storage.store import Store

PAGE_SIZE = 500
POLL_S = 0.05
PATIENCE_S = 30.0
"""How long to wait for the transactions that were writing when a reader began. The store ends them sooner."""
FOREVER_MS = 2**62
PIECE, MOST_LOOKED_AT = 25, 5_000
"""Events that are read or described in one turn of the event loop, at most half a millisecond; and that one search looks at."""
SLACK, SLACK_MS = 200, 60_000
"""By how much the order of the numbers may differ from that of the times."""
Page = list[tuple[int, Event]]
"""Events with their numbers, in the order of these."""


class AuditTrail:
    """The use case that reads the audit trail: all at once, or what is new."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def export(self, *, after: int = 0, since_ms: int = 0, before_ms: int = FOREVER_MS) -> AsyncIterator[Page]:
        """Yield pages of events with their numbers, in the order of these, up to the last event of now.

        An export that goes on after the last number of another one misses no event and repeats none: see `find_end`.

        Args:
            after: The number of the last event that the caller has; 0 for all.
            since_ms: The first time, in milliseconds since 1970.
            before_ms: The time before which they are.

        Raises:
            Unavailable: If the store does not answer, or if a transaction writes for too long.
        """
        last = await self.find_end()
        while page := await self._read(after, last, since_ms=since_ms, before_ms=before_ms, limit=PAGE_SIZE):
            after = page[-1][0]
            yield page

    async def find_end(self) -> int:
        """Return the number of the last event, once no event with a lower number can appear any more.

        Transactions do not commit in the order of the numbers, so this waits until those that were writing have ended.

        Raises:
            Unavailable: If the store does not answer, or if a transaction writes for too long.
        """
        last = await self.read_last_number()
        await self._settle()
        return last

    async def read_last_number(self) -> int:
        """Return the highest number of an event; 0 if there is none. Events with lower numbers may still be invisible."""
        return await self._store.read(lambda rows: rows.events.get_last_number())

    async def read_page(self, after: int, until: int, *, limit: int) -> Page:
        """Return up to `limit` events with numbers above `after` and at most `until`, piece by piece. Raises `Unavailable`."""
        page: Page = []
        while len(page) < limit:
            asked = min(PIECE, limit - len(page))
            piece = await self._read(after, until, limit=asked)
            page += piece
            if len(piece) < asked:
                break
            after = piece[-1][0]
            await asyncio.sleep(0)
        return page

    async def _read(self, after: int, until: int, *, limit: int, since_ms: int = 0, before_ms: int = FOREVER_MS) -> Page:
        return await self._store.read(
            lambda rows: rows.events.list_page(after=after, until=until, since_ms=since_ms, before_ms=before_ms, limit=limit)
        )

    async def look_back(
        self,
        *,
        before: int | None = None,
        kind: EventKind | None = None,
        subject: str | None = None,
        since_ms: int = 0,
        until_ms: int = FOREVER_MS,
        limit: int,
    ) -> tuple[Page, int | None]:
        """Return up to `limit` events that fit, newest first, and the `before` with which the search goes on.

        It looks at `MOST_LOOKED_AT` events at most. So it may find fewer than there are, and still go on.

        Args:
            before: The number below which their numbers are; None to begin with the last.
            kind: Their kind, None for all.
            subject: Whom they are about, None for all.
            since_ms: The first time, in milliseconds since 1970.
            until_ms: The time before which they are.
            limit: How many to find.

        Raises:
            Unavailable: If the store does not answer.
        """
        if before is None:
            before = FOREVER_MS
            if until_ms < FOREVER_MS:
                before = SLACK + await self._store.read(lambda rows: rows.events.find_place(until_ms))
        found: Page = []
        for _ in range(MOST_LOOKED_AT // PIECE):
            piece = await self._store.read(
                lambda rows, before=before: rows.events.list_back(before=before, subject=subject, limit=PIECE)  # type: ignore[misc]
            )
            for number, event in piece:
                before = number
                if event.at_ms < since_ms - SLACK_MS:
                    return found, None
                if since_ms <= event.at_ms < until_ms and kind in (None, event.kind):
                    found.append((number, event))
                    if len(found) == limit:
                        return found, before
            if len(piece) < PIECE:
                return found, None
            await asyncio.sleep(0)
        return found, before

    async def _settle(self) -> None:
        """Return when every transaction that may have taken a number before this call has ended."""
        await asyncio.sleep(POLL_S)  # a transaction begins to write a moment after it has taken its first number
        horizon = await self._store.read(lambda rows: rows.events.get_horizon())
        for _ in range(int(PATIENCE_S / POLL_S)):
            if await self._store.read(lambda rows: rows.events.has_passed(horizon)):
                return
            await asyncio.sleep(POLL_S)
        raise Unavailable("a transaction has been writing for too long")


async def describe_events(page: Page) -> list[dict[str, object]]:
    """Return events as `describe_event` does. The event loop turns after each piece of them."""
    described = []
    for start in range(0, len(page), PIECE):
        described += [describe_event(*each) for each in page[start : start + PIECE]]
        await asyncio.sleep(0)
    return described


def describe_event(number: int, event: Event) -> dict[str, object]:
    """Return an event as programs outside get it."""
    return {
        "number": number,
        "time": format_event_time(event),
        "kind": event.kind,
        "subject": event.subject,
        "session": event.sid,
        "actor": event.actor,
        "operator": event.operator,
        "ip": event.ip,
        "userAgent": event.user_agent,
        "detail": event.detail,
        "sentence": str(tell_event(event)),
    }


def format_event_time(event: Event) -> str:
    """Return the time of an event, as 2026-01-31T12:00:00.000Z."""
    at = datetime.datetime.fromtimestamp(event.at_ms / 1000, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
