"""What one network may ask of the service.

An office, a school or a part of a mobile network shares one address, so every limit follows from the number of people who may be
behind it: see docs/decisions/0021-limits-per-network.md for the arithmetic. `handstamp.domain.throttle` limits new accounts.
"""

from __future__ import annotations

import msgspec


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How often something may happen: `burst` times at once, and `per_s` times a second in the long run."""

    burst: float
    per_s: float


class NetworkLimits(msgspec.Struct, frozen=True):
    """What the people of one network may do, given their number."""

    people: int

    @property
    def requests(self) -> Rate:
        """Refreshes, pages and all other requests that change something, in each process."""
        return Rate(burst=self.people / 5, per_s=self.people / 100)

    @property
    def hashing(self) -> Rate:
        """Passwords to hash, for sign-ins, registrations and password changes, in each process. Known devices count apart."""
        return Rate(burst=self.people / 50, per_s=self.people / 2000)
