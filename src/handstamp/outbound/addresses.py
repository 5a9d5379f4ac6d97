"""Which addresses a request may go to: public ones (RFC 6890, and the IANA registries of special addresses)."""

from __future__ import annotations

import ipaddress
import re

_IPV4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
            *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            "168.63.129.16/32",  # the metadata server of Azure, which has a public address
        ),
    )
)
_UNICAST = ipaddress.IPv6Network("2000::/3")
_IPV6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""Protocol assignments with Teredo, documentation, 6to4: the latter two contain IPv4 addresses of any kind."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NUMBER = re.compile(r"(?:\d+|0[xX][0-9a-fA-F]*)", re.ASCII)


def is_public(address: str) -> bool:
    """Return whether an IPv4 or IPv6 address, as text, belongs to the public internet.

    Others are private, shared, loopback, link-local, multicast, reserved, for documentation, or contain an IPv4 address that is
    not public.
    """
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF) if parsed in _NAT64 else parsed.ipv4_mapped
        if inner is None:
            return parsed in _UNICAST and not any(parsed in network for network in _IPV6)
        parsed = inner
    return not any(parsed in network for network in _IPV4)


def is_misleading(host: str) -> bool:
    """Return whether a host looks like a name, and resolvers take it for an IPv4 address: 127.1, 0x7f000001, 2130706433."""
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) is None:
        return False
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return True
    return False
