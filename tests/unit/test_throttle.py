"""How failed sign-ins slow down the next ones: the arithmetic of NIST SP 800-63B-4 §3.2.2."""

from __future__ import annotations

from itertools import pairwise

import pytest

from handstamp.domain.throttle import (
    ACCOUNT,
    LONGEST_MEMORY_MS,
    NETWORK,
    PAIR,
    Failures,
    Limit,
    add_failure,
    wait_ms,
)
from tests.builders import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, SECOND_MS

ALL = pytest.mark.parametrize("limit", [PAIR, NETWORK, ACCOUNT], ids=["pair", "network", "account"])


def failed(times: int) -> Failures:
    """Return `times` failures, the last of them at `NOW_MS`."""
    return Failures(count=times, last_at_ms=NOW_MS)


@ALL
def test_the_first_failures_cause_no_wait(limit: Limit) -> None:
    """People mistype, so the first attempts cost nothing."""
    assert wait_ms(Failures(), limit, NOW_MS) == 0
    assert [wait_ms(failed(times), limit, NOW_MS) for times in range(limit.free)] == [0] * limit.free


@ALL
def test_each_further_failure_doubles_the_wait_up_to_the_longest(limit: Limit) -> None:
    """Waits grow 30 s, 1 min, 2 min … and never beyond the limit's longest, however many failures there are."""
    waits = [wait_ms(failed(limit.free + more), limit, NOW_MS) for more in range(40)]
    assert waits[0] == 30 * SECOND_MS
    for before, after in pairwise(waits):
        assert after == min(2 * before, limit.longest_wait_ms)
    assert wait_ms(failed(10**9), limit, NOW_MS) == limit.longest_wait_ms


@pytest.mark.parametrize(
    ("times", "wait"),
    [(4, 0), (5, 30 * SECOND_MS), (6, MINUTE_MS), (7, 2 * MINUTE_MS), (11, 32 * MINUTE_MS), (12, HOUR_MS), (13, HOUR_MS)],
)
def test_the_waits_of_one_address_from_one_network(times: int, wait: int) -> None:
    """The table that an operator can look up."""
    assert wait_ms(failed(times), PAIR, NOW_MS) == wait


@pytest.mark.parametrize(
    ("later", "left"),
    [(0, 30_000), (1, 29_999), (29_999, 1), (30_000, 0), (30_001, 0), (DAY_MS, 0)],
)
def test_waiting_is_counted_from_the_last_failure(later: int, left: int) -> None:
    """The remaining wait decreases with the clock, to the millisecond, and is never negative."""
    assert wait_ms(failed(PAIR.free), PAIR, NOW_MS + later) == left


def test_a_clock_set_back_does_not_extend_the_wait() -> None:
    """A failure from the future adds its distance and nothing more."""
    assert wait_ms(failed(PAIR.free), PAIR, NOW_MS - SECOND_MS) == 31 * SECOND_MS


def test_a_failure_is_counted_with_its_time() -> None:
    """The count goes up by one, whatever it was."""
    assert add_failure(Failures(), PAIR, NOW_MS) == Failures(1, NOW_MS)
    assert add_failure(Failures(7, NOW_MS - MINUTE_MS), PAIR, NOW_MS) == Failures(8, NOW_MS)


@ALL
def test_failures_are_forgotten_after_a_quiet_time(limit: Limit) -> None:
    """One millisecond before the end of the quiet time they count; at the end, the next failure is the first."""
    old = failed(1000)
    quiet = limit.forget_after_ms
    assert add_failure(old, limit, NOW_MS + quiet - 1).count == 1001
    assert add_failure(old, limit, NOW_MS + quiet) == Failures(1, NOW_MS + quiet)


@ALL
def test_a_wait_never_exceeds_the_retention(limit: Limit) -> None:
    """The longest wait ends before its failures are forgotten, and the store keeps every failure that still counts."""
    assert limit.first_wait_ms <= limit.longest_wait_ms < limit.forget_after_ms <= LONGEST_MEMORY_MS


def guesses_in(limit: Limit, duration_ms: int) -> int:
    """Return the number of attempts of an attacker who tries again as soon as it is allowed."""
    failures, now_ms, attempts = Failures(), NOW_MS, 0
    while now_ms < NOW_MS + duration_ms:
        attempts += 1
        failures = add_failure(failures, limit, now_ms)
        now_ms += max(1, wait_ms(failures, limit, now_ms))
    return attempts


def test_a_patient_attacker_gets_few_guesses() -> None:
    """Within a day one network has about forty guesses at one address; a month of them stays below 1,000."""
    assert guesses_in(PAIR, DAY_MS) < 40
    assert guesses_in(PAIR, 30 * DAY_MS) < 1000


def test_distributed_guessing_is_slowed() -> None:
    """The account's own count bounds a distributed attack to little more than its free attempts a day."""
    assert guesses_in(ACCOUNT, DAY_MS) < ACCOUNT.free + 40


def test_a_shared_network_is_never_shut_out_for_long() -> None:
    """A whole school may share one address, so its longest wait is a few minutes."""
    assert NETWORK.longest_wait_ms <= 5 * MINUTE_MS
    assert NETWORK.free >= 50
