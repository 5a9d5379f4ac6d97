"""How failed attempts delay the next ones: the arithmetic of NIST SP 800-63B-4 §3.2.2."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.domain.throttle import (
    ACCOUNT,
    ACCOUNT_AT_HOME,
    CLOCK_TOLERANCE_MS,
    DEVICE,
    DEVICES,
    FACTOR,
    FACTOR_ON_DEVICE,
    FACTOR_ON_DEVICES,
    MAX_CONSECUTIVE,
    NETWORK,
    PAIR,
    SITE,
    UNKNOWN_ACCOUNT,
    Failures,
    Limit,
    add_failure,
    grow,
    is_locked,
    wait_ms,
)
from tests.builders import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, SECOND_MS

FACTORS = [FACTOR, FACTOR_ON_DEVICE, FACTOR_ON_DEVICES]
LIMITS = [PAIR, NETWORK, SITE, ACCOUNT, ACCOUNT_AT_HOME, UNKNOWN_ACCOUNT, DEVICE, DEVICES, *FACTORS]
ALL = pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.name)
WAITING = [PAIR, NETWORK, SITE, ACCOUNT, DEVICE, DEVICES, *FACTORS]
ALL_WAITING = pytest.mark.parametrize("limit", WAITING, ids=lambda limit: limit.name)
steps = st.lists(st.integers(-2 * DAY_MS, 2 * DAY_MS) | st.integers(0, 2 * MINUTE_MS), max_size=150)
"""How far the clock moves between two failures. It may also be set back."""


def fail(limit: Limit, times: int, *, every_ms: int = 0, failures: Failures | None = None) -> Failures:
    """Return `times` failures, the last of them at `NOW_MS`."""
    failures = failures or Failures()
    for number in reversed(range(times)):
        failures = add_failure(failures, limit, NOW_MS - number * every_ms)
    return failures


@ALL
def test_the_first_failures_cause_no_wait(limit: Limit) -> None:
    """People mistype, so the first attempts cost nothing."""
    assert wait_ms(Failures(), limit, NOW_MS) == 0
    assert [wait_ms(fail(limit, times), limit, NOW_MS) for times in range(limit.free)] == [0] * limit.free


@ALL_WAITING
def test_each_further_failure_doubles_the_wait_up_to_the_longest(limit: Limit) -> None:
    """Waits grow 30 s, 1 min, 2 min … and never beyond the limit's longest, however many failures there are."""
    failures, waits = fail(limit, limit.free), []
    for _ in range(40):
        waits.append(wait_ms(failures, limit, NOW_MS))
        failures = add_failure(failures, limit, NOW_MS)
    assert waits[0] == 30 * SECOND_MS
    for before, after in pairwise(waits):
        assert after == min(2 * before, limit.longest_wait_ms)
    assert wait_ms(Failures(level=10**12, consecutive=1, last_at_ms=NOW_MS), limit, NOW_MS) == limit.longest_wait_ms


@pytest.mark.parametrize(
    ("times", "wait"),
    [(4, 0), (5, 30 * SECOND_MS), (6, MINUTE_MS), (7, 2 * MINUTE_MS), (11, 32 * MINUTE_MS), (12, HOUR_MS), (13, HOUR_MS)],
)
def test_the_waits_of_one_address_from_one_network(times: int, wait: int) -> None:
    """The table that an operator can look up, also if the failures are some seconds apart."""
    for every_ms in (0, 7 * SECOND_MS):
        assert wait_ms(fail(PAIR, times, every_ms=every_ms), PAIR, NOW_MS) == wait


@pytest.mark.parametrize(
    ("later", "left"),
    [(0, 30_000), (1, 29_999), (29_999, 1), (30_000, 0), (30_001, 0), (DAY_MS, 0)],
)
def test_waiting_is_counted_from_the_last_failure(later: int, left: int) -> None:
    """The remaining wait decreases with the clock, to the millisecond, and is never negative."""
    assert wait_ms(fail(PAIR, PAIR.free), PAIR, NOW_MS + later) == left


@ALL_WAITING
def test_a_failure_leaks_away_in_its_time(limit: Limit) -> None:
    """A failure counts until all of it has leaked away; one millisecond later it does not."""
    full = fail(limit, limit.free - 1)
    almost, gone = (add_failure(full, limit, NOW_MS + limit.leak_ms + later) for later in (-1, 0))
    assert wait_ms(almost, limit, almost.last_at_ms) == limit.first_wait_ms
    assert wait_ms(gone, limit, gone.last_at_ms) == 0


@given(limit=st.sampled_from([NETWORK, SITE]), gaps=st.lists(st.integers(50 * MINUTE_MS, DAY_MS), max_size=200))
def test_an_office_with_a_typo_every_fifty_minutes_is_never_delayed(limit: Limit, gaps: list[int]) -> None:
    """Failures that trickle in leak away, so a network does not collect them for ever."""
    failures, now_ms = Failures(), NOW_MS
    for gap in gaps:
        now_ms += gap
        failures = add_failure(failures, limit, now_ms)
        assert wait_ms(failures, limit, now_ms) == 0


@given(limit=st.sampled_from(LIMITS), gaps=st.data())
def test_failures_that_come_no_faster_than_they_leak_never_delay(limit: Limit, gaps: st.DataObject) -> None:
    """The level of any counter stays below its free failures at that pace."""
    failures, now_ms = Failures(), NOW_MS
    for gap in gaps.draw(st.lists(st.integers(limit.leak_ms, 3 * limit.leak_ms), max_size=120)):
        now_ms += gap
        failures = add_failure(failures, limit, now_ms)
        assert wait_ms(failures, limit, now_ms) == 0


@given(limit=st.sampled_from(LIMITS), moves=steps, asked_after=st.integers(-40 * DAY_MS, 40 * DAY_MS))
def test_no_clock_makes_a_wait_longer_than_the_longest(limit: Limit, moves: list[int], asked_after: int) -> None:
    """Whatever the clock did, an announced wait is at most the longest, and after it the attempt is accepted."""
    failures, now_ms = Failures(), NOW_MS
    for move in moves:
        now_ms += move
        failures = add_failure(failures, limit, now_ms)
    now_ms += asked_after
    wait = wait_ms(failures, limit, now_ms)
    assert 0 <= wait <= limit.longest_wait_ms
    longest_left = CLOCK_TOLERANCE_MS if wait == limit.longest_wait_ms else 0
    assert wait_ms(failures, limit, now_ms + wait) <= longest_left


@given(limit=st.sampled_from(WAITING), back=st.integers(HOUR_MS + CLOCK_TOLERANCE_MS + 1, 400 * DAY_MS))
def test_a_clock_that_was_far_ahead_delays_nobody_after_it_was_set_right(limit: Limit, back: int) -> None:
    """A failure from the far future does not shut anybody out until then."""
    failures = fail(limit, limit.free + 20)
    assert wait_ms(failures, limit, NOW_MS - back) == 0
    again = add_failure(failures, limit, NOW_MS - back)
    assert again.last_at_ms == NOW_MS - back, "the next failure is counted at the right time"
    assert wait_ms(again, limit, NOW_MS - back) == limit.longest_wait_ms


@given(limit=st.sampled_from(WAITING), late=st.integers(0, CLOCK_TOLERANCE_MS))
def test_requests_that_are_counted_out_of_order_do_not_get_round_a_wait(limit: Limit, late: int) -> None:
    """A request that arrived earlier and is counted later waits like all others, also at the longest wait."""
    failures = fail(limit, limit.free + 20)
    assert wait_ms(failures, limit, NOW_MS - late) == limit.longest_wait_ms
    assert add_failure(failures, limit, NOW_MS - late).last_at_ms == NOW_MS


@given(limit=st.sampled_from(LIMITS), moves=st.lists(st.integers(0, 30 * DAY_MS), min_size=1, max_size=150))
def test_consecutive_failures_do_not_leak(limit: Limit, moves: list[int]) -> None:
    """The ceiling counts every failure since the last success, for as long as the limit remembers."""
    failures, now_ms, expected = Failures(), NOW_MS, 0
    for move in moves:
        now_ms += move
        is_forgotten = failures.forgotten_at_ms is not None and failures.forgotten_at_ms <= now_ms
        expected = 1 if is_forgotten else expected + 1
        failures = add_failure(failures, limit, now_ms)
        assert failures.consecutive == expected
        assert is_locked(failures, limit, now_ms) == (limit.ceiling is not None and expected >= limit.ceiling)


@pytest.mark.parametrize("limit", [ACCOUNT, ACCOUNT_AT_HOME, UNKNOWN_ACCOUNT, DEVICE], ids=lambda limit: limit.name)
def test_a_hundred_failures_in_a_row_lock(limit: Limit) -> None:
    """The hundredth failure reaches the ceiling, the ninety-ninth does not."""
    assert MAX_CONSECUTIVE == 100
    assert not is_locked(fail(limit, 99), limit, NOW_MS)
    assert is_locked(fail(limit, 100), limit, NOW_MS)


def test_time_does_not_unlock_an_account() -> None:
    """The failures of an account are never forgotten; those of a device for as long as its cookie may live."""
    years = 10 * 365 * DAY_MS
    assert is_locked(fail(ACCOUNT, 100), ACCOUNT, NOW_MS + years)
    assert fail(ACCOUNT, 1).forgotten_at_ms is None
    assert is_locked(fail(DEVICE, 100), DEVICE, NOW_MS + 400 * DAY_MS - 1)
    assert not is_locked(fail(UNKNOWN_ACCOUNT, 100), UNKNOWN_ACCOUNT, NOW_MS + 30 * DAY_MS)


def test_a_network_has_no_ceiling() -> None:
    """A network that others use too is delayed for minutes at most, whatever one of them does."""
    for limit in (PAIR, NETWORK, SITE):
        assert not is_locked(Failures(level=10**9, consecutive=10**6, last_at_ms=NOW_MS), limit, NOW_MS)
    assert max(NETWORK.longest_wait_ms, SITE.longest_wait_ms) <= 5 * MINUTE_MS


@ALL
@given(data=st.data())
def test_no_wait_outlives_the_memory_of_what_caused_it(limit: Limit, data: st.DataObject) -> None:
    """A counter that the store may delete delays nobody any more, and locks nobody."""
    failures, now_ms = Failures(), NOW_MS
    for gap in data.draw(st.lists(st.integers(0, HOUR_MS), min_size=1, max_size=120)):
        now_ms += gap
        failures = add_failure(failures, limit, now_ms)
    if failures.forgotten_at_ms is not None:
        assert failures.forgotten_at_ms > now_ms
        assert wait_ms(failures, limit, failures.forgotten_at_ms) == 0
        assert not is_locked(failures, limit, failures.forgotten_at_ms)
        assert add_failure(failures, limit, failures.forgotten_at_ms) == add_failure(Failures(), limit, failures.forgotten_at_ms)


def guesses_in(limit: Limit, duration_ms: int) -> int:
    """Return the number of attempts of an attacker who tries again as soon as it is allowed."""
    failures, now_ms, attempts = Failures(), NOW_MS, 0
    while now_ms < NOW_MS + duration_ms and not is_locked(failures, limit, now_ms):
        attempts += 1
        failures = add_failure(failures, limit, now_ms)
        now_ms += max(1, wait_ms(failures, limit, now_ms))
    return attempts


def test_a_patient_attacker_gets_few_guesses() -> None:
    """Within a day one network has about forty guesses at one address; a month of them stays below 1,000."""
    assert guesses_in(PAIR, DAY_MS) < 40
    assert guesses_in(PAIR, 30 * DAY_MS) < 1000


def test_many_networks_against_one_person_are_slowed_down_too() -> None:
    """A distributed attack needs days for the hundred failures that lock an account, so its person can act before."""
    assert guesses_in(ACCOUNT, DAY_MS) < ACCOUNT.free + 40
    assert guesses_in(ACCOUNT, 365 * DAY_MS) == MAX_CONSECUTIVE
    assert guesses_in(ACCOUNT, 3 * DAY_MS) < MAX_CONSECUTIVE


def test_a_stolen_device_cookie_buys_a_hundred_guesses() -> None:
    """Then the device is locked, until an operator or the person unlocks it. Many cookies together buy little more."""
    assert guesses_in(DEVICE, 365 * DAY_MS) == MAX_CONSECUTIVE
    assert guesses_in(DEVICES, DAY_MS) < 110


def test_who_knows_the_password_finds_no_code() -> None:
    """At most 20 guesses on a day, and 100 before a success of the owner: 0.03 percent, with three codes of a million valid."""
    assert guesses_in(FACTOR, DAY_MS) <= 20
    assert guesses_in(FACTOR, 365 * DAY_MS) == guesses_in(FACTOR_ON_DEVICE, 365 * DAY_MS) == MAX_CONSECUTIVE
    assert guesses_in(FACTOR, 10 * DAY_MS) < MAX_CONSECUTIVE


@given(moves=st.lists(st.integers(0, 2 * DAY_MS) | st.integers(0, HOUR_MS), max_size=150))
def test_no_timing_gives_more_than_thirty_codes_in_a_day(moves: list[int]) -> None:
    """However an attacker spreads the guesses. Failures that leaked away add some to the twenty of an impatient one."""
    failures, now_ms, guesses = Failures(), NOW_MS, list[int]()
    for move in moves:
        now_ms += move
        if wait_ms(failures, FACTOR, now_ms) == 0 and not is_locked(failures, FACTOR, now_ms):
            failures = add_failure(failures, FACTOR, now_ms)
            guesses.append(now_ms)
    assert all(sum(at <= other < at + DAY_MS for other in guesses) <= 30 for at in guesses)


@pytest.mark.parametrize("limit", [NETWORK, SITE], ids=["network", "site"])
def test_a_larger_network_has_a_larger_budget(limit: Limit) -> None:
    """The budget grows with the number of people, and is never smaller than that of 10,000."""
    assert grow(limit, 1_000) == grow(limit, 10_000) == limit
    large = grow(limit, 1_000_000)
    assert (large.free, large.leak_ms) == (100 * limit.free, limit.leak_ms // 100)
    largest = grow(limit, 10_000_000)
    assert largest.leak_ms > 0
    assert wait_ms(fail(largest, 200), largest, NOW_MS) == 0


def test_spraying_from_one_network_is_bounded() -> None:
    """One network has less than 800 guesses a day over all accounts, an IPv6 site ten times as many."""
    assert guesses_in(NETWORK, DAY_MS) < 800
    assert guesses_in(SITE, DAY_MS) < 8000
    assert (SITE.free, SITE.leak_ms) == (10 * NETWORK.free, NETWORK.leak_ms // 10)
