"""The addresses to which requests of the service may go."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.outbound.addresses import is_misleading, is_public
from handstamp.outbound.exchange import Exchange


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "100.63.255.255", "172.32.0.1", "192.0.1.1", "223.255.255.255", "2a00:1450:4001:81b::200e",
        "2620:fe::fe", "::ffff:8.8.8.8", "64:ff9b::808:808",
    ],
)  # fmt: skip
def test_public_addresses(address: str) -> None:
    """Requests may go to them."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.255", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "168.63.129.16", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "100::1", "2001::1",
        "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254",
        "fe80::1", "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    """Private, loopback, link-local, shared, reserved and multicast addresses, and IPv6 addresses that contain such."""
    assert not is_public(address)


@given(address=st.ip_addresses())
def test_the_standard_library_agrees(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """What is public here is global for Python too, whose registries are older in older releases."""
    if is_public(str(address)):
        inner = getattr(address, "ipv4_mapped", None) or address
        assert inner.is_global
        assert not inner.is_multicast


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "10.0.0.010", "1.2.3.4.5", "x.0x"]
)
def test_numbers_that_resolvers_take_for_addresses(host: str) -> None:
    """A name whose last label is a number is no name (WHATWG URL: "ends in a number")."""
    assert is_misleading(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "example.com", "1.example", "0x.example", "a1", "::1", "dead.beef"])
def test_other_hosts_are_not_misleading(host: str) -> None:
    """Names, and addresses in their usual form."""
    assert not is_misleading(host)


@given(
    numbers=st.lists(
        st.one_of(st.integers(0, 2**33).map(str), st.integers(0, 2**33).map(hex), st.integers(0, 511).map(lambda n: f"0{n:o}")),
        min_size=1,
        max_size=5,
    )
)
def test_no_spelling_of_an_address_passes_that_the_resolver_reads_as_private(numbers: list[str]) -> None:
    """The C library's own parser (inet_aton) is asked: no text that it takes for an address that is not public is accepted."""
    host = ".".join(numbers)
    with suppress(OSError):
        meant = socket.inet_ntoa(socket.inet_aton(host))
        if not is_public(meant):
            with pytest.raises(ValueError, match="no public address"):
                Exchange.prepare("GET", f"https://{host}/", allowed=())


@pytest.mark.parametrize(
    "url",
    [
        "https://", "https:///x", "https:example.com", "//example.com/", "example.com", "ftp://example.com/",
        "file:///etc/passwd", "gopher://example.com:70/", "http://example.com/", "http://localhost/",
        "http://127.0.0.1/", "https://localhost/", "https://a.localhost/", "https://127.0.0.1/", "https://[::1]/",
        "https://[::ffff:7f00:1]/", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://0/",
        "https://127.1/", "https://0x7f000001/", "https://169.254.169.254/latest/meta-data/",
        "https://user@example.com/", "https://:pw@example.com/", "https://example.com@127.0.0.1/",
        "https://example.com#@127.0.0.1/", "https://example.com/#x", "https://example.com:0/",
        "https://example.com:99999/", "https://example.com:x/", "https://exa mple.com/",
        "https://example.com/\r\nHost: x", "https://example.com/é", "https://ⓔxample.com/", "https://exam%70le.com/",
        "https://example.com\\@127.0.0.1/", "https://[::1/", "https://[v1.x]/", "https://[127.0.0.1]/",
        "https://example.com/" + "x" * 8192,
    ],
)  # fmt: skip
def test_urls_that_are_never_requested(url: str) -> None:
    """Each is refused before any name is resolved, and the message does not repeat the URL."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the sentences differ
        Exchange.prepare("GET", url, allowed=("example.com",))
    assert url not in str(refused.value)


@given(url=st.one_of(st.text(), st.text(alphabet="htps:/[]@#?.%0123456789abcdefx\\ ").map(lambda rest: f"https://{rest}")))
def test_any_text_is_refused_or_has_a_host(url: str) -> None:
    """Only `ValueError` is raised, whatever a person writes into a form."""
    with suppress(ValueError):
        exchange = Exchange.prepare("GET", url, allowed=())
        assert exchange._host


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com", "https://example.com:8443/a?b=c", "https://8.8.8.8/", "https://[2620:fe::fe]:443/",
        "https://EXAMPLE.com/",
    ],
)  # fmt: skip
def test_urls_that_may_be_requested(url: str) -> None:
    """URLs with a name or a public address."""
    Exchange.prepare("GET", url, allowed=())


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://10.0.0.1/", "10.0.0.1"),
        ("https://localhost/", "localhost"),
        ("http://localhost:8080/", "localhost"),
        ("http://[::1]:80/", "::1"),
        ("https://[fd00::1]/", "fd00::1"),
    ],
)
def test_the_operator_can_allow_a_host(url: str, host: str) -> None:
    """A host by exactly this name."""
    with pytest.raises(ValueError, match="HANDSTAMP_OUTBOUND_ALLOW"):
        Exchange.prepare("GET", url, allowed=(f"x{host}", f"{host}x", f"{host}."))
    Exchange.prepare("GET", url, allowed=(host,))
