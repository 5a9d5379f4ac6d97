"""Counting failed sign-ins in the store, so that they count in every process and survive a restart."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

from ...crypto.seal import Pseudonyms
from ...domain.throttle import ACCOUNT, NETWORK, PAIR, Limit, add_failure, wait_ms
from ...errors import TooManyAttempts
from ...storage.store import Rows, Transaction


class Counter(msgspec.Struct, frozen=True):
    """One key under which failures are counted, and how many it allows."""

    key: str
    limit: Limit


class Throttling:
    """Which counters an attempt has, whether it must wait, and what a failure adds."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        """Take what turns addresses into names that tell nothing."""
        self._pseudonyms = pseudonyms

    def counters(self, email: str | None, ip: str, *, at_home: bool = False) -> Sequence[Counter]:
        """Return the counters of an attempt on `email` (None: on no account) from `ip`.

        `at_home` says that the person has a session from there; strangers' failures do not hold them up then.
        """
        network = _network(ip)
        counters = [Counter(self._pseudonyms.make("network", network), NETWORK)]
        if email is not None:
            counters.append(Counter(self._pseudonyms.make("pair", email, network), PAIR))
            if not at_home:
                counters.append(Counter(self._pseudonyms.make("account", email), ACCOUNT))
        return counters

    async def check(self, rows: Rows, counters: Sequence[Counter], now_ms: int) -> None:
        """Raise `TooManyAttempts` if one of the counters says to wait."""
        found = await rows.failures.get_many([counter.key for counter in counters])
        waits = [wait_ms(failures, counter.limit, now_ms) for failures, counter in zip(found, counters, strict=True)]
        if max(waits) > 0:
            raise TooManyAttempts(-(-max(waits) // 1000))

    async def count_failure(self, rows: Transaction, counters: Sequence[Counter], now_ms: int) -> None:
        """Add one failure to each counter. Raises `TooManyAttempts` where others have used them up meanwhile.

        Of many guesses at once, those behind the limit are thus all answered alike, right or wrong.
        """
        await self.check(rows, counters, now_ms)
        found = await rows.failures.get_many([counter.key for counter in counters])
        for failures, counter in zip(found, counters, strict=True):
            await rows.failures.save(counter.key, add_failure(failures, counter.limit, now_ms))

    async def forgive(self, rows: Transaction, counters: Sequence[Counter]) -> None:
        """Start anew after a success; the network's count stays, or an attacker's own account would clear it."""
        for counter in counters:
            if counter.limit is not NETWORK:
                await rows.failures.delete(counter.key)


def _network(ip: str) -> str:
    """Return what one party can be taken to hold: an IPv4 address, or an IPv6 /64."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
