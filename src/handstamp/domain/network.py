"""Networks: the unit by which clients are counted, because one client can use many addresses of its network."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=16_384)
def network_of(ip: str) -> str:
    """Return the network that one customer of a provider has: an IPv4 address, or an IPv6 /64.

    An IPv4 address in IPv6 (RFC 4291 §2.5.5.2) is that IPv4 address. "" if `ip` is no address, as behind a Unix socket.
    """
    address = _parse(ip)
    return "" if address is None else _prefix(address, 64)


@lru_cache(maxsize=1024)
def site_of(ip: str) -> str:
    """Return the largest network that providers give to one customer: an IPv6 /48 (RFC 6177). "" for all other clients."""
    address = _parse(ip)
    return _prefix(address, 48) if isinstance(address, ipaddress.IPv6Address) else ""


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
