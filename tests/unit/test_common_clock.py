"""One clock for all nodes, whatever their own clocks show."""

from __future__ import annotations

from typing import cast

import pytest

from handstamp.errors import Unavailable
from handstamp.service.parts import common_clock
from handstamp.service.parts.common_clock import CommonClock
from handstamp.storage.store import Store, StoreTime

pytestmark = pytest.mark.anyio
NOW_MS = 1_800_000_000_000


class StoreClock:
    """A store that only answers its time, and the monotonic clock of the node."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic_ms = 5_000
        self.store_ms: int | None = NOW_MS
        self.took_ms = 10
        self.is_away = False
        monkeypatch.setattr(common_clock, "monotonic_ms", lambda: self.monotonic_ms)

    def clock(self, *, own_ms: int = NOW_MS) -> CommonClock:
        """Return the clock of a node whose own clock shows `own_ms` when the monotonic clock shows 5 s."""
        return CommonClock(cast("Store", self), lambda: own_ms + self.monotonic_ms - 5_000)

    async def time(self) -> StoreTime | None:
        """As `Store.time`."""
        if self.is_away:
            raise Unavailable("away")
        if self.store_ms is None:
            return None
        return StoreTime(time_ms=self.store_ms, at_ms=self.monotonic_ms, within_ms=self.took_ms)

    def later(self, by_ms: int) -> None:
        """Advance all clocks."""
        self.monotonic_ms += by_ms
        self.store_ms = None if self.store_ms is None else self.store_ms + by_ms


@pytest.fixture
def store_clock(monkeypatch: pytest.MonkeyPatch) -> StoreClock:
    """Return a store with a clock."""
    return StoreClock(monkeypatch)


@pytest.mark.parametrize("differs_ms", [0, 1, -1, 20_000, -20_000, 3_600_000, -3_600_000])
async def test_the_stores_clock_overrides_the_nodes(store_clock: StoreClock, differs_ms: int) -> None:
    """Also while the store does not answer, and after the node's clock was set."""
    clock = store_clock.clock(own_ms=NOW_MS + differs_ms)
    await clock.synchronise()
    assert clock() == NOW_MS
    store_clock.is_away = True
    store_clock.later(90_000)
    with pytest.raises(Unavailable):
        await clock.synchronise()
    assert clock() == NOW_MS + 90_000


async def test_without_a_store_clock_the_machines_is_used(store_clock: StoreClock) -> None:
    """As with SQLite. Setting the machine's clock changes it."""
    store_clock.store_ms = None
    clock = store_clock.clock(own_ms=NOW_MS - 7)
    await clock.synchronise()
    assert clock() == NOW_MS - 7


async def test_a_drifting_clock_is_corrected(store_clock: StoreClock) -> None:
    """Forward at once; back by standing still, so that no token is ever from the future."""
    clock = store_clock.clock()
    await clock.synchronise()
    store_clock.later(1_000)
    store_clock.store_ms = NOW_MS + 1_300
    await clock.synchronise()
    assert clock() == NOW_MS + 1_300
    store_clock.later(1_000)
    store_clock.store_ms = NOW_MS + 500
    await clock.synchronise()
    assert clock() == NOW_MS + 1_300, "it neither went back nor went on"
    store_clock.later(900)
    assert clock() == NOW_MS + 1_400


async def test_a_store_far_behind_is_believed(store_clock: StoreClock) -> None:
    """Time does not stand still for an hour because a server's clock was wrong for a moment."""
    clock = store_clock.clock()
    store_clock.store_ms = NOW_MS + 3_600_000
    await clock.synchronise()
    assert clock() == NOW_MS + 3_600_000
    store_clock.store_ms = NOW_MS
    await clock.synchronise()
    assert clock() == NOW_MS


async def test_a_slow_answer_is_ignored(store_clock: StoreClock) -> None:
    """Except for the first reading, when there is no other."""
    clock = store_clock.clock(own_ms=NOW_MS + 20_000)
    store_clock.took_ms = 5_000
    await clock.synchronise()
    assert clock() == NOW_MS
    store_clock.store_ms = NOW_MS + 2_500
    await clock.synchronise()
    assert clock() == NOW_MS
    store_clock.took_ms = 1
    await clock.synchronise()
    assert clock() == NOW_MS + 2_500
