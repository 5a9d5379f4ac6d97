"""One clock for all nodes: that of the store.

Decisions by time (grace, the end of a session, the signing key) must not depend on the node, and the clocks of machines differ.
So each node reads the store's time every few seconds and adds the time that has passed on its own monotonic clock.

The clock never goes back. After a fail-over the new store may be behind; then the time stands still until the store catches up.
"""

from __future__ import annotations

import asyncio

from ...clock import Clock, monotonic_ms
from ...errors import Unavailable
from ...logger import Logger
from ...storage.store import Store

EVERY_S = 5.0
_TOO_SLOW_MS = 1000
"""A reading that took longer is ignored, because it is not exact enough."""
_FAR_MS = 60_000
"""If the store is further behind than this, its time is accepted: the earlier time was wrong."""
_NOTABLE_MS = 1000
"""A larger difference from this machine's clock is logged."""
_log = Logger("handstamp.clock")


class CommonClock:
    """Returns the store's time in milliseconds since 1970, or this machine's time if the store has no clock of its own."""

    def __init__(self, store: Store, own: Clock) -> None:
        """Create the clock. `own` is the clock of this machine."""
        self._store = store
        self._own = own
        self._ahead_ms: int | None = None
        self._latest_ms = 0

    def __call__(self) -> int:
        """Return the time on which all nodes agree, in milliseconds since 1970."""
        if self._ahead_ms is None:
            return self._own()
        self._latest_ms = max(self._latest_ms, monotonic_ms() + self._ahead_ms)
        return self._latest_ms

    async def synchronise(self) -> None:
        """Read the store's time.

        Raises:
            Unavailable: If the store does not answer.
        """
        seen = await self._store.time()
        if seen is None or (self._ahead_ms is not None and seen.within_ms > _TOO_SLOW_MS):
            return
        if self._ahead_ms is None:
            differs_ms = seen.time_ms - (self._own() + seen.at_ms - monotonic_ms())
            if abs(differs_ms) > _NOTABLE_MS:
                _log.warning("clock_differs", database_is_ahead_ms=differs_ms)
        self._ahead_ms = seen.time_ms - seen.at_ms
        if self._latest_ms - (monotonic_ms() + self._ahead_ms) > _FAR_MS:
            _log.warning("clock_went_back", by_ms=self._latest_ms - (monotonic_ms() + self._ahead_ms))
            self._latest_ms = 0

    async def run(self) -> None:
        """Synchronise every `EVERY_S` seconds until cancelled. While the store does not answer, the time continues."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.synchronise()
            except Unavailable as problem:
                _log.debug("clock_not_synchronised", problem=problem.why)
            except Exception:  # noqa: BLE001 - an unexpected failure must not stop the loop
                _log.exception("clock_not_synchronised")
