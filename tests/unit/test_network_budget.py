"""How often a network may do something: IPv4 addresses, IPv6 networks and sites, known devices, and unknown clients."""

from __future__ import annotations

from contextlib import suppress

import pytest

from handstamp.domain.limits import Rate
from handstamp.domain.throttle import NETWORKS_PER_SITE
from handstamp.errors import TooManyAttempts
from handstamp.service.parts.network_budget import NetworkBudget

RATE = Rate(burst=3, per_s=0.001)


def count_allowed(budget: NetworkBudget, *ips: str, device: str = "") -> int:
    """Return how many of these requests are allowed."""
    allowed = 0
    for ip in ips:
        with suppress(TooManyAttempts):
            budget.take(ip, device=device)
            allowed += 1
    return allowed


@pytest.mark.parametrize(
    ("ips", "allowed"),
    [
        (["203.0.113.9"] * 10, 3),
        (["203.0.113.9", "::ffff:203.0.113.9"] * 5, 3),
        ([f"203.0.113.{number}" for number in range(10)], 10),
        ([f"2001:db8:1:1::{number}" for number in range(1, 10)], 3),
        ([f"2001:db8:1:{number:x}::1" for number in range(1_000)], 3 * NETWORKS_PER_SITE),
        ([f"2001:db8:{number:x}::1" for number in range(100)], 100),
        ([""] * 100, 100),
        (["testclient"] * 100, 100),
    ],
    ids=["one address", "one address in IPv6", "many addresses", "one /64", "one /48", "many /48", "unknown", "no address"],
)
def test_a_network_and_a_site_have_a_budget(ips: list[str], allowed: int) -> None:
    """A client cannot get around the limit with the many networks of its site, and unknown clients share nothing."""
    assert count_allowed(NetworkBudget("requests", RATE), *ips) == allowed


def test_a_known_device_has_a_budget_of_its_own() -> None:
    """It neither uses up that of its network nor suffers from it."""
    budget = NetworkBudget("requests", RATE)
    assert count_allowed(budget, *["203.0.113.9"] * 5) == 3
    assert count_allowed(budget, *["203.0.113.9"] * 5, device="laptop") == 3
    assert count_allowed(budget, *["203.0.113.9"] * 5, device="phone") == 3


def test_a_refusal_says_when_and_by_which_limit() -> None:
    """The client learns the time, and the log the name."""
    budget = NetworkBudget("requests", RATE)
    count_allowed(budget, *["203.0.113.9"] * 3)
    with pytest.raises(TooManyAttempts) as refused:
        budget.take("203.0.113.9")
    assert (refused.value.limit, 900 < refused.value.retry_after_s <= 1_000) == ("requests", True)
