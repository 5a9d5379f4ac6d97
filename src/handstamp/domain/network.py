"""Networks: the unit by which clients are counted, because one client can use many addresses of its network."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

_MAX_LENGTH = 64
"""Of the text of an address. A longer one, as with an endless zone (RFC 4007 §11), would fill the cache."""


def network_of(ip: str) -> str:
    """Return the network that one customer of a provider has: an IPv4 address, or an IPv6 /64.

    An IPv4 address in IPv6 (RFC 4291 §2.5.5.2) is that IPv4 address. "" if `ip` is no address, as behind a Unix socket.
    """
    return _network_of(ip) if len(ip) <= _MAX_LENGTH else ""


def site_of(ip: str) -> str:
    """Return the largest network that providers give to one customer: an IPv6 /48 (RFC 6177). "" for all other clients."""
    address = _parse(ip) if len(ip) <= _MAX_LENGTH else None
    return _prefix(address, 48) if isinstance(address, ipaddress.IPv6Address) else ""


@lru_cache(maxsize=16_384)
def _network_of(ip: str) -> str:
    address = _parse(ip)
    return "" if address is None else _prefix(address, 64)


def _parse(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _prefix(address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    host_bits = 128 - length
    return f"{ipaddress.IPv6Address(int(address) >> host_bits << host_bits)}/{length}"
