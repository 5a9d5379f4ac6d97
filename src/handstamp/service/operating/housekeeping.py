"""What the service does by itself: reload and rotate keys, and delete rows that nobody will ask for again."""

from __future__ import annotations

import asyncio
import random

from ...clock import Clock
from ...errors import HandstampError
from ...logger import Logger
from ...storage.store import Store
from .keys import Keys

INTERVAL_S = 30.0
PURGE_BATCH = 200
PAUSE_S = 0.05
_log = Logger("handstamp.housekeeping")


class Housekeeping:
    """Runs in every process; they may do the same work at once without harm."""

    def __init__(self, *, store: Store, keys: Keys, clock: Clock) -> None:
        """Take what it looks after."""
        self._store = store
        self._keys = keys
        self._clock = clock

    async def run(self) -> None:
        """Go round for ever, until cancelled. A store that is away is tried again next time."""
        while True:
            await asyncio.sleep(INTERVAL_S * random.uniform(0.8, 1.2))  # noqa: S311 - it only spreads the load
            try:
                await self.once()
            except HandstampError as problem:
                _log.warning("housekeeping_failed", problem=getattr(problem, "why", str(problem)))
            except Exception:  # noqa: BLE001 - one round that fails, for whatever reason, must not be the last
                _log.exception("housekeeping_failed")

    async def once(self) -> int:
        """Go round once; return how many rows were purged. Small batches leave room for requests between them."""
        now_ms = self._clock()
        await self._keys.maintain(now_ms)
        total = 0
        while purged := await self._store.transact(lambda rows: rows.purge(now_ms=now_ms, limit=PURGE_BATCH)):
            total += purged
            await asyncio.sleep(PAUSE_S)
        return total
