"""One clock for all nodes, whatever their own clocks show."""

from __future__ import annotations

from typing import cast

import pytest

from handstamp.domain.policy import DAY_MS, HOUR_MS, MINUTE_MS
from handstamp.domain.timekeeping import USUAL_ABSENCE_MS, Timekeeping
from handstamp.errors import Unavailable
from handstamp.service.parts import common_clock
from handstamp.service.parts.common_clock import CommonClock
from handstamp.service.parts.leap_guard import SETTLE_AFTER_ABSENCE_MS, SETTLE_MS, STEP_MS
from handstamp.storage.store import Store, StoreTime

pytestmark = pytest.mark.anyio
NOW_MS = 1_800_000_000_000


class StoreClock:
    """A store that only answers its time, and the monotonic clock of the node."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic_ms = 5_000
        self.machine_ms = NOW_MS
        self.store_ms: int | None = NOW_MS
        self.seen_at_ms: int | None = None
        self.took_ms = 10
        self.is_away = False
        monkeypatch.setattr(common_clock, "monotonic_ms", lambda: self.monotonic_ms)
        monkeypatch.setattr(common_clock, "now_ms", lambda: self.machine_ms)

    async def of_machine(self) -> CommonClock:
        """Return the clock of a service whose store is a file."""
        self.store_ms = None
        clock = CommonClock(cast("Store", self))
        await clock.synchronise()
        return clock

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

    async def read(self, _: object) -> Timekeeping | None:
        """As `Store.read`, which is only asked for the row about time."""
        return None if self.seen_at_ms is None else Timekeeping(self.seen_at_ms, self.seen_at_ms)

    def later(self, by_ms: int) -> None:
        """Advance all clocks."""
        self.monotonic_ms += by_ms
        self.machine_ms += by_ms
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


@pytest.mark.parametrize("leap_ms", [HOUR_MS, -HOUR_MS, 40 * DAY_MS])
async def test_a_store_that_leaps_is_believed_after_a_while(store_clock: StoreClock, leap_ms: int) -> None:
    """As after a fail-over to a server whose clock is wrong."""
    clock = store_clock.clock()
    await clock.synchronise()
    assert clock() == NOW_MS
    store_clock.store_ms = NOW_MS + leap_ms
    await clock.synchronise()
    require_doubt(clock)
    assert clock.estimate() == NOW_MS
    store_clock.later(SETTLE_MS)
    await clock.synchronise()
    assert clock() == NOW_MS + leap_ms + SETTLE_MS


async def test_a_store_that_comes_to_its_senses_is_believed_at_once(store_clock: StoreClock) -> None:
    """Nobody waits for the end of a wrong time."""
    clock = store_clock.clock()
    await clock.synchronise()
    store_clock.store_ms = NOW_MS + 40 * DAY_MS
    await clock.synchronise()
    require_doubt(clock)
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


# --- this machine's clock, where the store is a file


def require_doubt(clock: CommonClock) -> None:
    """Fail unless the clock is in doubt."""
    assert clock.is_in_doubt
    with pytest.raises(Unavailable, match="cannot answer right now"):
        clock()


@pytest.mark.parametrize("leap_ms", [STEP_MS + 1, -STEP_MS - 1, HOUR_MS, -HOUR_MS, 40 * DAY_MS, -40 * DAY_MS, -NOW_MS])
async def test_a_leap_is_believed_when_it_has_stood_as_long_as_it_is_wide(store_clock: StoreClock, leap_ms: int) -> None:
    """But after at most ten minutes: a machine that was paused for two minutes answers again after two."""
    clock = await store_clock.of_machine()
    store_clock.machine_ms += leap_ms
    require_doubt(clock)
    store_clock.later(min(abs(leap_ms), SETTLE_MS) - 1)
    require_doubt(clock)
    store_clock.later(1)
    assert clock() == store_clock.machine_ms
    assert not clock.is_in_doubt


@pytest.mark.parametrize("leap_ms", [HOUR_MS, -HOUR_MS, 40 * DAY_MS])
async def test_a_leap_that_is_undone_is_forgotten(store_clock: StoreClock, leap_ms: int) -> None:
    """Also if the clock was corrected to a slightly other time."""
    clock = await store_clock.of_machine()
    store_clock.machine_ms += leap_ms
    require_doubt(clock)
    store_clock.later(MINUTE_MS)
    require_doubt(clock)
    store_clock.machine_ms += -leap_ms + 900
    assert clock() == store_clock.machine_ms


async def test_each_leap_must_stand_by_itself(store_clock: StoreClock) -> None:
    """A clock that leaps again and again is never believed."""
    clock = await store_clock.of_machine()
    for _ in range(20):
        store_clock.machine_ms += HOUR_MS
        require_doubt(clock)
        store_clock.later(SETTLE_MS - 1)
        require_doubt(clock)


async def test_a_step_is_followed_forwards_and_waited_out_backwards(store_clock: StoreClock) -> None:
    """NTP and leap seconds make such steps: nobody is refused, and no token is from the future."""
    clock = await store_clock.of_machine()
    store_clock.machine_ms += STEP_MS
    latest_ms = clock()
    assert latest_ms == store_clock.machine_ms
    store_clock.machine_ms -= STEP_MS
    assert clock() == latest_ms, "it neither goes back nor raises an error"
    store_clock.later(STEP_MS - 1)
    assert clock() == latest_ms
    store_clock.later(2)
    assert clock() == latest_ms + 1


async def test_slow_corrections_never_add_up_to_a_leap(store_clock: StoreClock) -> None:
    """NTP changes the pace of a clock by up to 500 millionths; a smeared leap second takes a day."""
    clock = await store_clock.of_machine()
    for _ in range(1_000):
        store_clock.later(MINUTE_MS)
        store_clock.machine_ms += 30
        await clock.synchronise()
        assert not clock.is_in_doubt
    store_clock.later(DAY_MS)
    store_clock.machine_ms += DAY_MS // 2_000
    assert clock() == store_clock.machine_ms, "even if nobody has asked for a day"


async def test_a_leap_stops_no_request_that_ends_a_session(store_clock: StoreClock) -> None:
    """The time goes on as it was before the leap, in which every token was issued."""
    clock = await store_clock.of_machine()
    store_clock.later(7)
    before_ms = clock()
    store_clock.machine_ms += 40 * DAY_MS
    store_clock.later(5_000)
    require_doubt(clock)
    assert clock.estimate() == before_ms + 5_000


async def test_a_clock_that_a_test_moves_is_believed(store_clock: StoreClock) -> None:
    """Tests leap on purpose."""
    store_clock.store_ms = None
    moved = [NOW_MS]
    clock = CommonClock(cast("Store", store_clock), lambda: moved[0])
    for leap_ms in (0, 40 * DAY_MS, -80 * DAY_MS):
        moved[0] += leap_ms
        await clock.synchronise()
        assert clock() == clock.estimate() == moved[0]
        assert not clock.is_in_doubt


# --- a start


@pytest.mark.parametrize("absent_ms", [0, HOUR_MS, 3 * DAY_MS, USUAL_ABSENCE_MS, -STEP_MS])
async def test_a_usual_absence_is_no_leap(store_clock: StoreClock, absent_ms: int) -> None:
    """A night, a weekend, and a clock that was corrected by a little."""
    store_clock.seen_at_ms = NOW_MS - absent_ms
    clock = await store_clock.of_machine()
    assert clock() == NOW_MS


async def test_a_service_that_was_off_for_forty_days_answers_after_a_minute(store_clock: StoreClock) -> None:
    """Perhaps it was off, perhaps the clock is wrong: NTP corrects a clock soon after a start."""
    store_clock.seen_at_ms = NOW_MS - 40 * DAY_MS
    clock = await store_clock.of_machine()
    require_doubt(clock)
    assert clock.estimate() == store_clock.seen_at_ms
    store_clock.later(SETTLE_AFTER_ABSENCE_MS - 1)
    require_doubt(clock)
    store_clock.later(1)
    assert clock() == store_clock.machine_ms


async def test_a_start_behind_the_last_time_waits_for_ntp(store_clock: StoreClock) -> None:
    """A machine without a battery for its clock starts in 1970, or at the time of its last shutdown."""
    store_clock.seen_at_ms = NOW_MS
    store_clock.machine_ms = 0
    clock = await store_clock.of_machine()
    require_doubt(clock)
    store_clock.later(SETTLE_MS - 1)
    require_doubt(clock)
    store_clock.machine_ms = NOW_MS + 3 * DAY_MS  # the correction, to any time that a start would have believed
    assert clock() == NOW_MS + 3 * DAY_MS


async def test_a_start_behind_the_last_time_is_believed_in_the_end(store_clock: StoreClock) -> None:
    """The database may have been used with a clock that was ahead."""
    store_clock.seen_at_ms = NOW_MS + 40 * DAY_MS
    clock = await store_clock.of_machine()
    require_doubt(clock)
    store_clock.later(SETTLE_MS)
    assert clock() == store_clock.machine_ms


async def test_the_time_of_the_store_is_watched_at_a_start_too(store_clock: StoreClock) -> None:
    """Nodes start with a server whose clock is wrong."""
    store_clock.seen_at_ms = NOW_MS
    store_clock.store_ms = NOW_MS - HOUR_MS
    clock = store_clock.clock()
    await clock.synchronise()
    require_doubt(clock)
    store_clock.store_ms = NOW_MS + 20
    await clock.synchronise()
    assert clock() == NOW_MS + 20
