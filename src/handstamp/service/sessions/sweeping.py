"""End all sessions of a person, in batches.

The new epoch of the account voids all of them at once for the service itself. Writing their rows and revocations, which tell the
services elsewhere, takes about a second for ten thousand sessions. No transaction may hold the store that long.
"""

from __future__ import annotations

import msgspec

from ...clock import Clock
from ...domain.event import Event
from ...domain.sweep import Sweep
from ...storage.store import Store, Transaction
from ..parts.audit import Audit

BATCH = 100
"""The largest number of sessions that one transaction ends."""
ABANDONED_AFTER_S = 2.0
"""A process that works on a sweep touches it many times a second."""


class Sweeping:
    """Begins sweeps in the transaction of the change that they belong to, and finishes them."""

    def __init__(self, *, store: Store, clock: Clock, audit: Audit) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit

    async def begin(self, rows: Transaction, sweep: Sweep) -> int:
        """End the first sessions of a sweep. If there may be more, store the sweep for `finish`.

        Returns:
            The number of sessions that ended.
        """
        count = await rows.sessions.end_batch(sweep, now_ms=sweep.at_ms, limit=BATCH)
        if count == BATCH:
            await rows.sweeps.insert(msgspec.structs.replace(sweep, touched_at_ms=sweep.at_ms))
        return count

    async def finish(self, subject: str) -> int:
        """End the other sessions of a subject, after the transaction of `begin`.

        Returns:
            The number of sessions that ended.

        Raises:
            Unavailable: If the store does not answer. Housekeeping continues the sweep then.
        """
        total = 0
        while sweep := await self._store.read(lambda rows: rows.sweeps.get_first(subject)):
            total += await self._finish(sweep)
        return total

    async def finish_abandoned(self) -> None:
        """Finish the sweeps of processes that were killed.

        Raises:
            Unavailable: If the store does not answer.
        """
        while True:
            before_ms = self._clock() - int(ABANDONED_AFTER_S * 1000)
            sweep = await self._store.read(lambda rows, before_ms=before_ms: rows.sweeps.get_abandoned(before_ms=before_ms))  # type: ignore[misc]
            if sweep is None:
                return
            await self._finish(sweep)

    async def _finish(self, sweep: Sweep) -> int:
        """End the sessions of a stored sweep, batch by batch. Two processes that do so at once end each session once."""
        total, event = 0, None
        while event is None:
            count, event = await self._store.transact(lambda rows, total=total: self._end_batch(rows, sweep, total))  # type: ignore[misc]
            total += count
        self._audit.log(event)
        return total

    async def _end_batch(self, rows: Transaction, sweep: Sweep, ended_before: int) -> tuple[int, Event | None]:
        now_ms = self._clock()
        count = await rows.sessions.end_batch(sweep, now_ms=now_ms, limit=BATCH)
        if count == BATCH:
            await rows.sweeps.touch(sweep.id, now_ms=now_ms)
            return count, None
        await rows.sweeps.delete(sweep.id)
        detail: dict[str, str | int | None] = {"why": sweep.why, "sessions": ended_before + count}
        event = Event(at_ms=now_ms, kind="sessions_swept", subject=sweep.subject, detail=detail)
        await rows.events.insert(event)
        return count, event
