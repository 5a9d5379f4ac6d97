"""Read the audit trail, for programs that keep or watch it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ...domain.event import Event
from ...errors import Unavailable
from ...storage.store import Store

PAGE_SIZE = 500
POLL_S = 0.05
PATIENCE_S = 30.0
"""How long to wait for the transactions that were writing when the export began. The store ends them sooner."""
FOREVER_MS = 2**62


class AuditTrail:
    """The use case that exports the audit trail."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def export(
        self, *, after: int = 0, since_ms: int = 0, before_ms: int = FOREVER_MS
    ) -> AsyncIterator[list[tuple[int, Event]]]:
        """Yield pages of events with their numbers, in the order of these, up to the last event of now.

        An export that goes on after the last number of another one misses no event and repeats none, although transactions do
        not commit in the order of the numbers: it waits until those that were writing have ended.

        Args:
            after: The number of the last event that the caller has; 0 for all.
            since_ms: The first time, in milliseconds since 1970.
            before_ms: The time before which they are.

        Raises:
            Unavailable: If the store does not answer, or if a transaction writes for too long.
        """
        last = await self._store.read(lambda rows: rows.events.get_last_number())
        await self._settle()
        while page := await self._store.read(
            lambda rows, after=after: rows.events.list_page(  # type: ignore[misc]
                after=after, until=last, since_ms=since_ms, before_ms=before_ms, limit=PAGE_SIZE
            )
        ):
            after = page[-1][0]
            yield page

    async def _settle(self) -> None:
        """Return when every transaction that may have taken a number before this call has ended."""
        await asyncio.sleep(POLL_S)  # a transaction begins to write a moment after it has taken its first number
        horizon = await self._store.read(lambda rows: rows.events.get_horizon())
        for _ in range(int(PATIENCE_S / POLL_S)):
            if await self._store.read(lambda rows: rows.events.has_passed(horizon)):
                return
            await asyncio.sleep(POLL_S)
        raise Unavailable("a transaction has been writing for too long")
