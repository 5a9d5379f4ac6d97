"""The limits of a network: what an office of ten thousand people needs."""

from __future__ import annotations

from handstamp.domain.limits import NetworkLimits
from handstamp.domain.throttle import Failures, add_failure, new_accounts, wait_ms
from tests.builders import HOUR_MS, MINUTE_MS, NOW_MS


def test_an_office_of_the_given_size_stays_below_its_limits() -> None:
    """Ten thousand people renew every ten minutes and load a page every five minutes, and all sign in within an hour."""
    limits = NetworkLimits(10_000)
    assert limits.requests.per_s >= 10_000 / 600 + 10_000 / 300
    assert limits.hashing.burst + 3600 * limits.hashing.per_s >= 10_000


def test_new_accounts_are_given_as_from_a_bucket() -> None:
    """Twenty at once, then one each three minutes, and twenty again after an hour."""
    limit = new_accounts(10_000)
    made, now_ms = Failures(), NOW_MS

    def make() -> bool:
        nonlocal made
        if wait_ms(made, limit, now_ms):
            return False
        made = add_failure(made, limit, now_ms)
        return True

    assert [make() for _ in range(25)] == [True] * 20 + [False] * 5
    for _ in range(5):
        assert wait_ms(made, limit, now_ms) == 3 * MINUTE_MS
        now_ms += 3 * MINUTE_MS
        assert [make(), make()] == [True, False]
    now_ms += HOUR_MS + 3 * MINUTE_MS
    assert [make() for _ in range(21)] == [True] * 20 + [False]
