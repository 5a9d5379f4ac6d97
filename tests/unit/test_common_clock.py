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


class Times:
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
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    """Return a store with a clock."""
    return Times(monkeypatch)


@pytest.mark.parametrize("differs_ms", [0, 1, -1, 20_000, -20_000, 3_600_000, -3_600_000])
async def test_whatever_a_node_shows_it_is_the_stores_time(times: Times, differs_ms: int) -> None:
    """Also while the store does not answer, and after the node's clock was set."""
    clock = times.clock(own_ms=NOW_MS + differs_ms)
    await clock.synchronise()
    assert clock() == NOW_MS
    times.is_away = True
    times.later(90_000)
    with pytest.raises(Unavailable):
        await clock.synchronise()
    assert clock() == NOW_MS + 90_000


async def test_where_the_store_has_no_clock_the_machines_counts(times: Times) -> None:
    """As with SQLite. Setting the machine's clock changes it."""
    times.store_ms = None
    clock = times.clock(own_ms=NOW_MS - 7)
    await clock.synchronise()
    assert clock() == NOW_MS - 7


async def test_a_clock_that_drifts_is_held_to_the_stores(times: Times) -> None:
    """Forward at once; back by standing still, so that no token is ever from the future."""
    clock = times.clock()
    await clock.synchronise()
    times.later(1_000)
    times.store_ms = NOW_MS + 1_300
    await clock.synchronise()
    assert clock() == NOW_MS + 1_300
    times.later(1_000)
    times.store_ms = NOW_MS + 500
    await clock.synchronise()
    assert clock() == NOW_MS + 1_300, "it neither went back nor went on"
    times.later(900)
    assert clock() == NOW_MS + 1_400


async def test_a_store_far_behind_is_believed(times: Times) -> None:
    """Time does not stand still for an hour because a server's clock was wrong for a moment."""
    clock = times.clock()
    times.store_ms = NOW_MS + 3_600_000
    await clock.synchronise()
    assert clock() == NOW_MS + 3_600_000
    times.store_ms = NOW_MS
    await clock.synchronise()
    assert clock() == NOW_MS


async def test_a_slow_answer_says_nothing(times: Times) -> None:
    """Except for the first reading, when there is no other."""
    clock = times.clock(own_ms=NOW_MS + 20_000)
    times.took_ms = 5_000
    await clock.synchronise()
    assert clock() == NOW_MS
    times.store_ms = NOW_MS + 2_500
    await clock.synchronise()
    assert clock() == NOW_MS
    times.took_ms = 1
    await clock.synchronise()
    assert clock() == NOW_MS + 2_500
