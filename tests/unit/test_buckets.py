"""Token buckets: a reserve for bursts, a rate in the long run, and bounded memory."""

from __future__ import annotations

import pytest

from handstamp.buckets import Buckets


class Clock:
    """A clock that stands still until it is advanced."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        """Return the time in milliseconds."""
        return self.now_ms


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
    assert set(waits) == {1.0}
    clock.now_ms += 1_000
    assert buckets.take("a") == 0


def test_keys_have_buckets_of_their_own() -> None:
    """One network leaves every other network its own."""
    buckets = Buckets(burst=1, per_s=1, clock=Clock())
    assert [buckets.take(key) > 0 for key in ("a", "b", "a", "b", "c")] == [False, False, True, True, False]


def test_memory_is_bounded() -> None:
    """Of more keys than are kept, the one that was used least recently is dropped."""
    buckets = Buckets(burst=1, per_s=1, most=3, clock=Clock())
    for key in ("a", "b", "c", "d"):
        assert buckets.take(key) == 0
    assert len(buckets._full_at_ms) == 3
    assert [buckets.take(key) > 0 for key in ("b", "c", "d")] == [True, True, True]
    assert buckets.take("a") == 0
