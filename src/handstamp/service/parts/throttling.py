"""Count failed sign-ins in the store, so that all processes share the counts and a restart keeps them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

from ...crypto.seal import Pseudonyms
from ...domain.throttle import ACCOUNT, NETWORK, PAIR, Limit, add_failure, wait_ms
from ...errors import TooManyAttempts
from ...storage.store import Rows, Transaction


class Counter(msgspec.Struct, frozen=True):
    """A key under which failures are counted, and its limit."""

    key: str
    limit: Limit


class Throttling:
    """Delays attempts after failures: tells the counters of an attempt, checks them, and counts failures."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        """Create it. `pseudonyms` replaces addresses in the keys of counters."""
        self._pseudonyms = pseudonyms

    def list_counters(self, email: str | None, ip: str, *, at_home: bool = False) -> Sequence[Counter]:
        """Return the counters of an attempt.

        Args:
            email: The address that was typed, or None if the attempt is on no particular account.
            ip: The address of the client.
            at_home: True if the person has had a session from `ip`. Then failures from other networks do not delay them.
        """
        network = _network(ip)
        counters = [Counter(self._pseudonyms.make("network", network), NETWORK)]
        if email is not None:
            counters.append(Counter(self._pseudonyms.make("pair", email, network), PAIR))
            if not at_home:
                counters.append(Counter(self._pseudonyms.make("account", email), ACCOUNT))
        return counters

    async def require_no_wait(self, rows: Rows, counters: Sequence[Counter], now_ms: int) -> None:
        """Check the counters.

        Raises:
            TooManyAttempts: If one of them requires waiting, with the longest wait.
        """
        found = await rows.failures.get_many([counter.key for counter in counters])
        waits = [wait_ms(failures, counter.limit, now_ms) for failures, counter in zip(found, counters, strict=True)]
        if max(waits) > 0:
            raise TooManyAttempts(-(-max(waits) // 1000))

    async def count_failure(self, rows: Transaction, counters: Sequence[Counter], now_ms: int) -> None:
        """Add one failure to each counter.

        Raises:
            TooManyAttempts: If concurrent attempts have used up the counters. So of many guesses at once, all those beyond the
                limit get this answer, whether right or wrong.
        """
        await self.require_no_wait(rows, counters, now_ms)
        found = await rows.failures.get_many([counter.key for counter in counters])
        for failures, counter in zip(found, counters, strict=True):
            await rows.failures.save(counter.key, add_failure(failures, counter.limit, now_ms))

    async def forgive(self, rows: Transaction, counters: Sequence[Counter]) -> None:
        """Reset the counters after a success, except that of the network: an attacker could reset it with an own account."""
        for counter in counters:
            if counter.limit is not NETWORK:
                await rows.failures.delete(counter.key)


def _network(ip: str) -> str:
    """Return the network that one customer of a provider has: an IPv4 address, or an IPv6 /64."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
