"""One clock for all nodes: that of the store. It raises an error while it cannot be believed.

Decisions by time (grace, the end of a session, the signing key) must not depend on the node, and the clocks of machines differ.
So each node reads the store's time every few seconds and adds the time that has passed on its own monotonic clock. A store in a
file has no clock of its own: there each reading is one of this machine's clock.

The clock never goes back by a little: it stands still until the store catches up. After a leap it is in doubt, see
`leap_guard.py`: a request is then answered 503, because a wrong time would end sessions or accept what has ended.
"""

from __future__ import annotations

import asyncio

from ...clock import Clock, monotonic_ms, now_ms
from ...errors import Unavailable
from ...logger import Logger
from ...storage.store import Store
from .leap_guard import STEP_MS, LeapGuard

EVERY_S = 5.0
_TOO_SLOW_MS = 1000
"""A reading that took longer is ignored, because it is not exact enough."""
_NOTABLE_MS = 1000
"""A larger difference from this machine's clock is logged."""
_RETRY_AFTER_S = 5
_log = Logger("handstamp.clock")


class CommonClock:
    """Returns the store's time in milliseconds since 1970, or this machine's time if the store has no clock of its own."""

    def __init__(self, store: Store, own: Clock | None = None) -> None:
        """Create the clock.

        Args:
            store: Whose time it is, if it has one.
            own: Used instead of this machine's clock and believed whatever it shows: a test moves it.
        """
        self._store = store
        self._given = own
        self._guard: LeapGuard | None = None
        self._follows_store = False
        self._latest_ms = 0
        self._read_ms = -1  # the steady clock at the last reading that was believed

    @property
    def is_watched(self) -> bool:
        """True if leaps are noticed. A clock that a test moves is not watched."""
        return self._follows_store or self._given is None

    @property
    def is_in_doubt(self) -> bool:
        """True if calling it would raise an error."""
        return self.is_watched and self._watch(monotonic_ms()).is_in_doubt

    def __call__(self) -> int:
        """Return the time on which all nodes agree, in milliseconds since 1970.

        Raises:
            Unavailable: If the clock has leapt, and the new time has not stood for long enough.
        """
        if self._given is not None and not self._follows_store:
            return self._given()
        steady_ms, guard = monotonic_ms(), self._guard
        if steady_ms == self._read_ms:  # a busy process serves several requests in a millisecond
            return self._latest_ms
        ahead_ms = guard.ahead_ms if self._follows_store and guard is not None else now_ms() - steady_ms
        if guard is None or not guard.believes(ahead_ms):
            guard = self._watch(steady_ms)
            if guard.is_in_doubt:
                raise Unavailable(f"the clock has leapt by {guard.leap_ms // 1000} s and is not believed yet", _RETRY_AFTER_S)
            ahead_ms = guard.ahead_ms
        if steady_ms + ahead_ms > self._latest_ms:  # noqa: PLR1730 - max() is slower
            self._latest_ms = steady_ms + ahead_ms
        self._read_ms = steady_ms
        return self._latest_ms

    def estimate(self) -> int:
        """Return the time, or while the clock is in doubt, the time that it would show without its leap.

        It is for requests that end sessions, which must not fail, and for what tells others about ended sessions. No token may be
        issued or accepted by it.
        """
        try:
            return self()
        except Unavailable:
            return max(self._latest_ms, monotonic_ms() + self._watch(monotonic_ms()).ahead_ms)

    @property
    def offset_ms(self) -> int:
        """How far the store's clock is ahead of this machine's; 0 if the store has none."""
        if self._guard is None or not self._follows_store:
            return 0
        return monotonic_ms() + self._guard.ahead_ms - now_ms()

    async def synchronise(self) -> None:
        """Read the store's time. The first call also compares it with the time that the database has seen last.

        Raises:
            Unavailable: If the store does not answer.
        """
        seen = await self._store.time()
        if seen is None:
            if self._given is None and self._guard is None:
                steady_ms = monotonic_ms()
                await self._start(now_ms() - steady_ms, steady_ms)
            elif self._given is None:
                self._watch(monotonic_ms())  # often enough that slow corrections of the clock never add up to a leap
            return
        if self._guard is None:
            self._follows_store = True
            own_ms = (self._given or now_ms)() + seen.at_ms - monotonic_ms()
            if abs(seen.time_ms - own_ms) > _NOTABLE_MS:
                _log.warning("clock_differs", database_is_ahead_ms=seen.time_ms - own_ms)
            await self._start(seen.time_ms - seen.at_ms, seen.at_ms)
        elif seen.within_ms <= _TOO_SLOW_MS:
            self._see(self._guard, seen.time_ms - seen.at_ms, seen.at_ms)

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

    async def _start(self, ahead_ms: int, steady_ms: int) -> None:
        kept = await self._store.read(lambda rows: rows.timekeeping.get())
        self._guard = LeapGuard(ahead_ms, steady_ms, seen_at_ms=None if kept is None else kept.seen_at_ms)
        self._read_ms = -1
        if self._guard.is_in_doubt:
            _log.warning("clock_in_doubt", leapt_by_s=self._guard.leap_ms // 1000)

    def _watch(self, steady_ms: int) -> LeapGuard:
        """Return the guard, after a reading of this machine's clock if it counts."""
        guard = self._guard
        if guard is None:  # before the first `synchronise`
            return LeapGuard(now_ms() - steady_ms, steady_ms)
        if not self._follows_store:
            self._see(guard, now_ms() - steady_ms, steady_ms)
        return guard

    def _see(self, guard: LeapGuard, ahead_ms: int, steady_ms: int) -> None:
        self._read_ms = -1
        was_in_doubt = guard.is_in_doubt
        guard.see(ahead_ms, steady_ms)
        if guard.is_in_doubt and not was_in_doubt:
            _log.warning("clock_in_doubt", leapt_by_s=guard.leap_ms // 1000)
        elif was_in_doubt and not guard.is_in_doubt:
            _log.warning("clock_believed")
        if self._latest_ms - (steady_ms + guard.ahead_ms) > STEP_MS:
            self._latest_ms = 0  # the earlier time was wrong: standing still until it is reached would take too long
