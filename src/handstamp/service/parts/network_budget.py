"""How often one network may do something in this process."""

from __future__ import annotations

import math

from ...buckets import Buckets
from ...domain.limits import Rate
from ...domain.network import network_of, site_of
from ...domain.throttle import NETWORKS_PER_SITE
from ...errors import TooManyAttempts


class NetworkBudget:
    """Counts by network, and for IPv6 also by site, because a client there has many networks."""

    def __init__(self, name: str, rate: Rate) -> None:
        """Create it. `name` is for logs, and `rate` is that of a network."""
        self._name = name
        self._networks = Buckets(burst=rate.burst, per_s=rate.per_s)
        self._sites = Buckets(burst=rate.burst * NETWORKS_PER_SITE, per_s=rate.per_s * NETWORKS_PER_SITE)

    def take(self, ip: str, *, device: str = "") -> None:
        """Count once. A client without an address is not counted: such clients are not one network.

        Args:
            ip: The address of the client.
            device: The key of a device that is known to the account, which is counted instead of its network.

        Raises:
            TooManyAttempts: If the network has to wait.
        """
        network = network_of(ip)
        if not network:
            return
        wait_s = self._networks.take(device or network)
        if not wait_s and not device and ":" in network:
            wait_s = self._sites.take(site_of(ip))
        if wait_s:
            raise TooManyAttempts(math.ceil(wait_s), limit=self._name)
