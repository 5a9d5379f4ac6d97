"""Token buckets: a reserve for bursts, a rate in the long run, and bounded memory."""

from __future__ import annotations

import pytest

from handstamp.buckets import Buckets


class Clock:
    """A clock that stands still until it is advanced."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_ms / 1000


@pytest.mark.parametrize(("burst", "per_s"), [(1, 1), (20, 2), (2_000, 100), (20, 20 / 3600)])
def test_a_full_bucket_holds_its_burst_and_is_refilled_at_its_rate(burst: int, per_s: float) -> None:
    """Exactly `burst` are given at once, then one in each interval, and a full bucket again after a quiet time."""
    clock = Clock()
    buckets = Buckets(burst=burst, per_s=per_s, clock=clock)
    assert not any(buckets.take("a") for _ in range(burst))
    wait_s = buckets.take("a")
    assert wait_s == pytest.approx(1 / per_s)
    clock.now_ms += max(1, round(1000 * wait_s)) - 1
    assert buckets.take("a") > 0
    clock.now_ms += 1
    assert buckets.take("a") == 0
    clock.now_ms += int(1000 * burst / per_s) + 1
    assert not any(buckets.take("a") for _ in range(burst))
    assert buckets.take("a") > 0


def test_a_refused_request_costs_nothing() -> None:
    """Who asks again and again gets the next one no later than others."""
    clock = Clock()
    buckets = Buckets(burst=1, per_s=1, clock=clock)
    buckets.take("a")
    waits = [buckets.take("a") for _ in range(1_000)]
    assert waits == pytest.approx([1.0] * 1_000)
    clock.now_ms += 1_000
    assert buckets.take("a") == 0


def test_keys_have_buckets_of_their_own() -> None:
    """One network leaves every other network its own."""
    buckets = Buckets(burst=1, per_s=1, clock=Clock())
    assert [buckets.take(key) > 0 for key in ("a", "b", "a", "b", "c")] == [False, False, True, True, False]


def test_memory_is_bounded() -> None:
    """However many keys there are, a bounded number is kept: those that were used last."""
    buckets = Buckets(burst=2, per_s=1, most=100, clock=Clock())
    for number in range(10_000):
        assert buckets.take(str(number)) == 0
        assert len(buckets._new) + len(buckets._old) <= 100
    assert [buckets.take(str(number)) for number in range(9_950, 10_000)] == [0.0] * 50
    assert all(buckets.take(str(number)) > 0 for number in range(9_950, 10_000)), "the last fifty are kept"
    assert buckets.take("0") == 0
    assert buckets.take("0") == 0
    assert buckets.take("0") > 0
