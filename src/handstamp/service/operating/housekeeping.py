"""Periodic work of the service: reload and rotate keys, finish what other processes left, and delete expired rows."""

from __future__ import annotations

import asyncio
import random

from ...domain.timekeeping import advance, may_be_restored
from ...errors import HandstampError
from ...logger import Logger
from ...storage.store import Store, Transaction
from ..parts.common_clock import CommonClock
from ..sessions.sweeping import ABANDONED_AFTER_S, Sweeping
from .keys import Keys

INTERVAL_S = 30.0
PURGE_BATCH = 200
PAUSE_S = 0.05
"""The pause between two batches, in which requests are served."""
_log = Logger("handstamp.housekeeping")


class Housekeeping:
    """Runs in every process of a deployment. Several may run at once."""

    def __init__(self, *, store: Store, keys: Keys, sweeping: Sweeping, clock: CommonClock, audit_retention_ms: int) -> None:
        """Create it. Events that are older than `audit_retention_ms` are deleted."""
        self._store = store
        self._keys = keys
        self._sweeping = sweeping
        self._clock = clock
        self._audit_retention_ms = audit_retention_ms
        self._last_ms: int | None = None

    async def run(self) -> None:
        """Run soon, then about every `INTERVAL_S` seconds until cancelled. If the store does not answer, try in the next round.

        The process may have been started in place of one that was killed during a sweep.
        """
        pause_s = 2 * ABANDONED_AFTER_S
        while True:
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the load of several processes
            pause_s = INTERVAL_S
            try:
                await self.run_once()
            except HandstampError as problem:
                _log.warning("housekeeping_failed", problem=getattr(problem, "why", str(problem)))
            except Exception:  # noqa: BLE001 - an unexpected failure must not stop the loop
                _log.exception("housekeeping_failed")

    async def prepare(self) -> int:
        """Maintain the keys, record the time, and void links and codes if the database may be a restored backup.

        Returns:
            The time up to which expired rows may be deleted, in milliseconds since 1970.

        Raises:
            Unavailable: If the store does not answer, or the clock is in doubt.
            ConfigurationError: If the master secret does not decrypt the keys.
        """
        now_ms = self._clock()
        await self._keys.maintain(now_ms)
        if not self._clock.is_watched:
            return now_ms
        purged_to_ms, voided = await self._store.transact(lambda rows: _keep_time(rows, now_ms, self._last_ms))
        self._last_ms = now_ms
        if voided:
            _log.warning("links_voided", count=voided)
        return purged_to_ms

    async def run_once(self) -> int:
        """Do as `prepare`, finish abandoned sweeps, and delete expired rows in small batches.

        Returns:
            The number of deleted rows.

        Raises:
            As `prepare`. Nothing is deleted then.
        """
        until_ms = await self.prepare()
        await self._sweeping.finish_abandoned()
        total = 0
        while purged := await self._store.transact(
            lambda rows: rows.purge(now_ms=until_ms, limit=PURGE_BATCH, audit_retention_ms=self._audit_retention_ms)
        ):
            total += purged
            await asyncio.sleep(PAUSE_S)
        return total


async def _keep_time(rows: Transaction, now_ms: int, last_ms: int | None) -> tuple[int, int]:
    """Record that it is `now_ms`.

    Returns:
        The time up to which expired rows may be deleted, and how many links were voided because this may be a restored backup.
    """
    before = await rows.timekeeping.get()
    voided = await rows.one_time.delete_unfit_for_backups() if may_be_restored(before, now_ms, last_ms=last_ms) else 0
    kept = advance(before, now_ms)
    await rows.timekeeping.save(kept)
    return kept.purged_to_ms, voided
