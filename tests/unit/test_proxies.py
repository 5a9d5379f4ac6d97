"""The client's address: whom the service believes, and what it does with everything else."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from handstamp.web.proxies import MAX_HOPS, PLAIN_HTTP, ClientAddress

PROXY = "10.0.0.5"


def serve(trusted: Sequence[str], peer: str | None, *headers: tuple[str, str], times: int = 1) -> Scope:
    """Return the scope that the application behind gets."""
    seen: list[Scope] = []

    async def behind(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    application = ClientAddress(behind, trusted)

    async def run() -> None:
        for _ in range(times):
            scope: dict[str, Any] = {"type": "http", "scheme": "http", "headers": fields}
            await application(scope | {"client": (peer, 1) if peer is not None else None}, _no_receive, _no_send)

    asyncio.run(run())
    return seen[0]


async def _no_receive() -> Any:
    raise AssertionError


async def _no_send(_: Any) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("trusted", "forwarded", "client"),
    [
        ([PROXY], "203.0.113.9", "203.0.113.9"),
        ([PROXY], "198.51.100.66, 203.0.113.9", "203.0.113.9"),
        (["10.0.0.0/8"], "203.0.113.9, 10.9.9.9", "203.0.113.9"),
        (["10.0.0.0/8"], "10.1.1.1, 10.9.9.9", "10.1.1.1"),
        ([PROXY], "203.0.113.9:4711", "203.0.113.9"),
        ([PROXY], "[2001:db8::1]:4711", "2001:db8::1"),
        ([PROXY], "2001:DB8:0::1", "2001:db8::1"),
        ([PROXY], "::ffff:203.0.113.9", "203.0.113.9"),
        ([PROXY], "unknown", PROXY),
        ([PROXY], "_hidden", PROXY),
        ([PROXY], "", PROXY),
        ([PROXY], "203.0.113.9,", PROXY),
        ([PROXY], "x" * 60_000, PROXY),
        ([PROXY], "<script>", PROXY),
        (["10.0.0.0/8"], "not-an-address, 10.9.9.9", PROXY),
        (["10.0.0.0/8"], ", ".join(["10.9.9.9"] * (MAX_HOPS + 1)), PROXY),
        ([], "203.0.113.9", PROXY),
        (["192.0.2.1"], "203.0.113.9", PROXY),
    ],
)
def test_the_client_is_what_a_trusted_proxy_reports_and_an_address(trusted: Sequence[str], forwarded: str, client: str) -> None:
    """Otherwise the client is the peer itself: no text of a stranger becomes a network."""
    assert serve(trusted, PROXY, ("x-forwarded-for", forwarded))["client"][0] == client


def test_several_fields_are_one_list() -> None:
    """A proxy may add a field of its own instead of appending (RFC 9110 §5.3)."""
    scope = serve([PROXY], PROXY, ("x-forwarded-for", "198.51.100.66"), ("x-forwarded-for", "203.0.113.9"))
    assert scope["client"][0] == "203.0.113.9"


def test_a_proxy_on_a_unix_socket_can_be_trusted() -> None:
    """Its peer has no address. Without `unix` the client stays unknown."""
    assert serve(["unix"], None, ("x-forwarded-for", "203.0.113.9"))["client"][0] == "203.0.113.9"
    assert serve(["unix"], "192.0.2.1", ("x-forwarded-for", "203.0.113.9"))["client"][0] == "192.0.2.1"
    assert serve([PROXY], None, ("x-forwarded-for", "203.0.113.9"))["client"] is None


def test_a_peer_that_has_reset_its_connection_is_not_unknown() -> None:
    """Its address is gone, but it is a stranger on a network: no way around the limits."""
    seen: list[Scope] = []

    async def behind(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    for server in (("127.0.0.1", 8000), ("/run/socket", None), None):
        scope: dict[str, Any] = {"type": "http", "headers": [], "client": None, "server": server}
        asyncio.run(ClientAddress(behind, [])(scope, _no_receive, _no_send))
    assert [scope["client"] for scope in seen] == [("0.0.0.0", 0), None, None]


@pytest.mark.parametrize(
    ("trusted", "proto", "is_plain"),
    [
        ([PROXY], ["http"], True),
        ([PROXY], ["HTTP"], True),
        ([PROXY], ["http, https"], True),
        ([PROXY], ["https, http"], False),
        ([PROXY], ["https"], False),
        ([PROXY], ["ftp"], False),
        ([PROXY], [], False),
        ([], ["http"], False),
    ],
)
def test_only_a_trusted_proxy_reports_plain_http(trusted: Sequence[str], proto: list[str], is_plain: bool) -> None:
    """The first value is the client's side of the chain."""
    scope = serve(trusted, PROXY, *(("x-forwarded-proto", value) for value in proto))
    assert bool(scope.get(PLAIN_HTTP)) == is_plain


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "line"),
    [
        ([], "10.0.0.5", "203.0.113.9", "untrusted_proxy .*HANDSTAMP_TRUSTED_PROXIES=10.0.0.5 "),
        ([], "203.0.113.80", "203.0.113.9", "untrusted_proxy .*HANDSTAMP_TRUSTED_PROXIES=203.0.113.80 "),
        ([], None, None, "client_address_unknown .*HANDSTAMP_TRUSTED_PROXIES=unix "),
        (["unix"], None, None, "client_address_unknown .*X-Forwarded-For"),
        ([PROXY], PROXY, "unknown", "forwarded_no_address .*X-Forwarded-For"),
    ],
)
def test_what_is_wrong_with_a_proxy_is_logged_once_with_its_remedy(
    caplog: pytest.LogCaptureFixture, trusted: Sequence[str], peer: str | None, forwarded: str | None, line: str
) -> None:
    """A proxy that is not trusted makes all people one network, and nobody would notice."""
    headers = () if forwarded is None else (("x-forwarded-for", forwarded),)
    with caplog.at_level(logging.WARNING):
        serve(trusted, peer, *headers, times=3)
    (logged,) = caplog.messages
    assert re.match(line, logged)


def test_a_server_that_has_read_the_header_is_no_forgotten_proxy(caplog: pytest.LogCaptureFixture) -> None:
    """Uvicorn's own option replaces the peer before an application that embeds the service gets the request."""
    serve([], "10.0.0.9", ("x-forwarded-for", "10.0.0.9"))
    assert caplog.messages == []


def test_a_stranger_does_not_use_up_the_line_about_the_proxy(caplog: pytest.LogCaptureFixture) -> None:
    """Anybody on the internet can send X-Forwarded-For. The operator still learns of the proxy in the own network."""

    async def behind(_scope: Scope, _receive: Receive, _send: Send) -> None:
        return

    application = ClientAddress(behind, [])
    for peer in ("8.8.8.8", "10.0.0.5"):
        scope = {"type": "http", "headers": [(b"x-forwarded-for", b"203.0.113.9")], "client": (peer, 1)}
        asyncio.run(application(scope, _no_receive, _no_send))
    assert [line.partition(" remedy")[0] for line in caplog.messages] == [
        "untrusted_proxy peer='8.8.8.8'",
        "untrusted_proxy peer='10.0.0.5'",
    ]
