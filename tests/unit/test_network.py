"""The networks by which clients are counted."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.domain.network import network_of, site_of


@pytest.mark.parametrize(
    ("ip", "network", "site"),
    [
        ("192.0.2.1", "192.0.2.1", ""),
        ("::ffff:192.0.2.1", "192.0.2.1", ""),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("::1", "::/64", "::/48"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48"),
        ("", "", ""),
        ("testclient", "", ""),
        ("/run/handstamp.sock", "", ""),
        ("192.0.2.1:443", "", ""),
        ("192.0.2.256", "", ""),
        ("fe80::1%" + "x" * 60_000, "", ""),
    ],
)
def test_the_network_and_the_site_of_an_address(ip: str, network: str, site: str) -> None:
    """An IPv4 address is its own network, an IPv6 client has a /64 in a /48, and what is no address has neither."""
    assert (network_of(ip), site_of(ip)) == (network, site)


@given(address=st.builds(ipaddress.IPv6Address, st.integers(2**64, 2**128 - 1)))
def test_an_address_lies_in_its_network_and_in_its_site(address: ipaddress.IPv6Address) -> None:
    """The standard library agrees, and the network of an address in the same network is the same."""
    network, site = ipaddress.IPv6Network(network_of(str(address))), ipaddress.IPv6Network(site_of(str(address)))
    assert (network.prefixlen, site.prefixlen) == (64, 48)
    assert address in network
    assert network.subnet_of(site)
    assert network_of(str(network[-1])) == str(network)
