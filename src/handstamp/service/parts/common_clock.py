"""One clock for all nodes: that of the store.

What decides by time (grace, the end of a session, which key signs) must not depend on which node is asked, and the clocks of
machines differ. So a node looks every few seconds what time the store has, and counts on from there on a clock that nobody sets.
It never goes back: a store that another has taken over from may be behind, and then time stands still until that has caught up.
"""

from __future__ import annotations

import asyncio

from ...clock import Clock, monotonic_ms
from ...errors import Unavailable
from ...logger import Logger
from ...storage.store import Store

EVERY_S = 5.0
_TOO_SLOW_MS = 1000
"""An answer that took longer says too little: the store's time was somewhere in between."""
_FAR_MS = 60_000
"""Nobody waits longer than this for time to catch up: further back, the earlier time was the wrong one."""
_NOTABLE_MS = 1000
_log = Logger("handstamp.clock")


class CommonClock:
    """The store's time, wherever it has one of its own; else this machine's. Call it for milliseconds since 1970."""

    def __init__(self, store: Store, own: Clock) -> None:
        """Take the store, and the clock of this machine."""
        self._store = store
        self._own = own
        self._ahead_ms: int | None = None
        self._latest_ms = 0

    def __call__(self) -> int:
        """Return the time that all nodes agree on."""
        if self._ahead_ms is None:
            return self._own()
        self._latest_ms = max(self._latest_ms, monotonic_ms() + self._ahead_ms)
        return self._latest_ms

    async def look(self) -> None:
        """Look what time the store has. Raises `Unavailable`."""
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
        """Look again and again, until cancelled. While the store is away, time goes on."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.look()
            except Unavailable as problem:
                _log.debug("clock_not_seen", problem=problem.why)
            except Exception:  # noqa: BLE001 - one round that fails, for whatever reason, must not be the last
                _log.exception("clock_not_seen")
