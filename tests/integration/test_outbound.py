"""Requests of the service to other servers: bounded, checked, and only where the operator lets them go."""

from __future__ import annotations

import asyncio
import base64
import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handstamp.errors import ConfigurationError, Unavailable
from handstamp.outbound.client import MAX_REQUESTS_PER_HOST, MAX_WAITING_PER_HOST, Outbound
from handstamp.outbound.response import Response
from tests.certificates import create_certificate, serve_with
from tests.hostile import STALL, Asked, Hostile, Script, answer, drip, head, hostile, redirect
from tests.tunnels import Tunnels

LOCAL = Outbound(allow=["localhost", "127.0.0.1"])
SECRET = "s3cret-of-a-client"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a certificate for localhost, with its key in the same folder."""
    return create_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove proxies from the environment."""
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[Hostile]:
    """Run a server without TLS."""
    with hostile() as running:
        yield running


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[Hostile]:
    """Run a server with TLS."""
    with hostile(tls=serve_with(certificate)) as running:
        yield running


def send(url: str, *, outbound: Outbound = LOCAL, deadline_s: float = 20, max_bytes: int = 1000, **options: Any) -> Response:
    """Send a GET request with a secret, and return the answer."""

    async def request() -> Response:
        headers = {"Authorization": SECRET}
        return await outbound.request("GET", url, headers, deadline_s=deadline_s, max_bytes=max_bytes, **options)

    return asyncio.run(request())


def refusal(url: str, **options: Any) -> str:
    """Return the reason for which a request fails."""
    with pytest.raises(Unavailable) as refused:
        send(f"{url}?code={SECRET}", **options)
    assert SECRET not in refused.value.why
    return refused.value.why


def test_a_request_and_its_answer(server: Hostile) -> None:
    """Method, path, query, headers and body arrive. The answer comes back whatever its status is, with all its headers."""
    server.answers["/a"] = [*answer(b"\x00body", 404, x_kind="one")]

    async def post() -> Response:
        url = f"{server.url}/a?b=c%20d"
        return await LOCAL.request("POST", url, {"X-Own": "value"}, b"x=1", deadline_s=20, max_bytes=5)

    response = asyncio.run(post())
    assert (response.status, response.body, response.headers["x-kind"]) == (404, b"\x00body", "one")
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.query, asked.body) == ("POST", "/a", {"b": "c d"}, b"x=1")
    assert (asked.headers["x-own"], asked.headers["host"]) == ("value", server.url.removeprefix("http://"))
    assert "body" not in repr(response)
    assert "one" not in repr(response)


def test_a_body_in_chunks_and_repeated_headers(server: Hostile) -> None:
    """Chunks are joined, and so are several header fields of one name."""
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
    server.answers["/"] = [start, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"]
    response = send(server.url)
    assert (response.body, response.headers["x-a"]) == (b"abcde", "1, 2")


def test_an_authority_of_the_operator_is_trusted_besides_those_of_the_system(tls_server: Hostile, certificate: Path) -> None:
    """A certificate of an unknown authority is refused before anything is sent, and so is one for another name."""
    assert "certificate" in refusal(f"{tls_server.url}/")
    trusting = Outbound(allow=["localhost", "127.0.0.1"], ca_file=certificate)
    assert "certificate" in refusal(f"https://127.0.0.1:{tls_server.port}/", outbound=trusting)
    assert tls_server.asked == []
    assert send(f"{tls_server.url}/", outbound=trusting).status == 404


def test_a_file_without_authorities_is_refused(tmp_path: Path) -> None:
    """The operator learns at the start which file is wrong."""
    empty = tmp_path / "empty.pem"
    empty.touch()
    for path in (empty, tmp_path / "missing.pem"):
        with pytest.raises(ConfigurationError, match=path.name):
            Outbound(ca_file=path)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0", "2130706433", "0x7f000001"]
)
def test_no_request_reaches_this_machine_unless_it_is_allowed(host: str, tls_server: Hostile, certificate: Path) -> None:
    """Whatever its name is. The server sees nothing."""
    why = refusal(f"https://{host}:{tls_server.port}/", outbound=Outbound(ca_file=certificate))
    assert "HANDSTAMP_OUTBOUND_ALLOW" in why
    assert tls_server.asked == []


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let each look-up of a name return the next of these lists of addresses. Return the list of the names looked up."""
    names: list[str] = []
    remaining = itertools.chain(answers)

    def resolve(host: str, port: int, **_: object) -> list[Any]:
        names.append(host)
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in next(remaining)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return names


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%lo"], ["10.1.2.3"]]
)
def test_a_name_with_an_address_that_is_not_public_is_refused(
    addresses: list[str], tls_server: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One such address is enough: which of several is used would be the choice of who runs the name."""
    names = resolve_to(monkeypatch, addresses)
    assert "not public" in refusal(f"https://rebind.example:{tls_server.port}/", outbound=Outbound())
    assert names == ["rebind.example"]


def test_a_name_with_public_addresses_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only up to the connection, because no test goes to the internet."""
    resolve_to(monkeypatch, ["8.8.8.8", "2620:fe::fe"])
    tried: list[str] = []

    def stop(found: list[Any], _: int) -> socket.socket:
        tried.extend(place[0] for *_, place in found)
        raise OSError(None, "the test ends here")

    monkeypatch.setattr("handstamp.outbound.exchange.open_socket", stop)
    assert refusal("https://id.example/", outbound=Outbound()) == "id.example did not answer: the test ends here"
    assert tried == ["8.8.8.8", "2620:fe::fe"]


def test_the_connection_goes_to_the_address_that_was_checked(server: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is resolved once for a request, so a second answer (DNS rebinding) is never asked for."""
    names = resolve_to(monkeypatch, ["127.0.0.1"])  # a second look-up would raise StopIteration
    assert send(f"http://a.localhost:{server.port}/", outbound=Outbound(allow=["a.localhost"])).status == 404
    assert names == ["a.localhost"]


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_the_proxy_of_the_environment_is_used(
    scheme: str, tls_server: Hostile, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy, which may have any address, gets its login and the name of the host; TLS goes through it."""
    trusting = Outbound(allow=["localhost"], ca_file=certificate)
    with Tunnels(tls_server.port) as tunnels:
        monkeypatch.setenv("HTTPS_PROXY", scheme + tunnels.address)
        assert send(f"{tls_server.url}/", outbound=trusting).status == 404
        (request,) = tunnels.requests
        assert request.startswith(f"CONNECT localhost:{tls_server.port} HTTP/1.")
        assert base64.b64encode(b"ada:p@ss").decode() in request
        assert SECRET not in request
        assert "HANDSTAMP_OUTBOUND_ALLOW" in refusal("https://169.254.169.254/", outbound=Outbound())
        monkeypatch.setenv("NO_PROXY", "localhost")
        assert send(f"{tls_server.url}/", outbound=trusting).status == 404
        assert len(tunnels.requests) == 1
        tunnels.shutdown()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "https://127.0.0.1:1", "http://"])
def test_a_proxy_that_cannot_be_used_is_no_way_around_it(
    proxy: str, tls_server: Hostile, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request fails instead of going directly. The reason does not show the proxy's password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert "proxy" in refusal(f"{tls_server.url}/", outbound=Outbound(allow=["localhost"], ca_file=certificate))
    assert tls_server.asked == []


def test_redirects_are_not_followed(server: Hostile) -> None:
    """The redirect itself is the answer."""
    server.answers["/"] = redirect(f"{server.url}/elsewhere")
    assert send(server.url).status == 302
    assert [asked.path for asked in server.asked] == ["/"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([*answer(b"x" * 1001)], "more than 1000 bytes"),
        ([head(content_length="1000000000"), b"x" * 2000], "more than 1000 bytes"),
        ([b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 100] * 11], "more than 1000 bytes"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 6000 + b"0\r\n\r\n"], "1000 bytes"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 40_000 + b"\r\n"], "too large"),
        ([b"HTTP/1.1 200 OK\r\n" + b"X-Much: " + b"x" * 40_000 + b"\r\n\r\n"], "too large"),
        ([b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(200)) + b"\r\n"], "HTTPException"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" * 5000], "too large"),
        ([head(content_length="900"), b"x" * 10], "incomplete"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"], "IncompleteRead"),
        ([head(content_encoding="gzip", content_length="1"), b"x"], "compresses"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "BadStatusLine"),
        ([], "RemoteDisconnected|closed connection"),
        ([head(content_length="-5")], ""),
        ([head(content_length="x")], ""),
    ],
)  # fmt: skip
def test_an_answer_that_is_large_or_broken_is_none(script: Script, reason: str, server: Hostile) -> None:
    """Each ends after a bounded number of bytes with a reason for the log, or is an answer without a body."""
    server.answers["/"] = script
    if not reason:
        assert send(server.url).body == b""
        return
    why = refusal(server.url)
    assert any(part in why for part in reason.split("|")), why


@pytest.mark.parametrize(
    "script", [[STALL], [head(), STALL], [head(content_length="100"), b"x", STALL], drip(answer(b"x" * 100), 0.05)]
)
def test_an_answer_that_is_late_is_none(script: Script, server: Hostile) -> None:
    """The deadline is for the whole answer: a server that sends a byte now and then gains no time."""
    server.answers["/"] = script
    why = refusal(server.url, deadline_s=0.3)
    assert "time" in why


def test_a_host_without_a_server_is_named(server: Hostile) -> None:
    """The reason names the host and what happened."""
    server.close()
    assert refusal(server.url) == "127.0.0.1 did not answer: Connection refused"


def test_the_loop_goes_on_while_servers_are_slow(server: Hostile) -> None:
    """Requests to one host wait for each other beyond eight, and others are refused beyond a hundred. The loop never blocks."""
    reached, released = threading.Barrier(MAX_REQUESTS_PER_HOST + 1), threading.Event()

    def wait(_: Asked) -> Script:
        reached.wait(20)
        released.wait(20)
        return answer(b"done")

    server.answers["/"] = wait

    async def flood() -> None:
        outbound = Outbound(allow=["127.0.0.1", "localhost"])

        async def request() -> bytes:
            return (await outbound.request("GET", f"{server.url}/", {}, deadline_s=30, max_bytes=9)).body

        requests = [asyncio.create_task(request()) for _ in range(MAX_REQUESTS_PER_HOST + MAX_WAITING_PER_HOST)]
        await asyncio.to_thread(reached.wait, 20)
        assert len(server.asked) == MAX_REQUESTS_PER_HOST
        with pytest.raises(Unavailable) as refused:
            await request()
        assert "too many" in refused.value.why
        other = await outbound.request("GET", f"http://localhost:{server.port}/other", {}, deadline_s=20, max_bytes=999)
        assert other.status == 404
        for task in requests[MAX_REQUESTS_PER_HOST:]:
            task.cancel()
        await asyncio.gather(*requests[MAX_REQUESTS_PER_HOST:], return_exceptions=True)
        released.set()
        assert await asyncio.gather(*requests[:MAX_REQUESTS_PER_HOST]) == [b"done"] * MAX_REQUESTS_PER_HOST
        assert not outbound._hosts

    asyncio.run(flood())


def test_a_caller_that_gives_up_frees_no_slot_that_is_in_use(server: Hostile) -> None:
    """A request whose caller was cancelled goes on in its thread, and its slot is free when it ends."""
    arrived, released = threading.Semaphore(0), threading.Event()

    def wait(_: Asked) -> Script:
        arrived.release()
        released.wait(20)
        return answer(b"done")

    server.answers["/"] = wait

    async def give_up() -> None:
        outbound = Outbound(allow=["127.0.0.1"])

        def request() -> asyncio.Task[Response]:
            return asyncio.create_task(outbound.request("GET", f"{server.url}/", {}, deadline_s=30, max_bytes=9))

        impatient = [request() for _ in range(MAX_REQUESTS_PER_HOST)]
        for _ in impatient:
            assert await asyncio.to_thread(arrived.acquire, timeout=20)
        for task in impatient:
            task.cancel()
        await asyncio.gather(*impatient, return_exceptions=True)
        patient = request()
        await asyncio.sleep(0)
        assert outbound._hosts["127.0.0.1"].running.locked()
        released.set()
        assert (await patient).body == b"done"

    asyncio.run(give_up())


def test_an_answer_is_read_in_the_thread(server: Hostile) -> None:
    """`exchange` parses outside the event loop, and raises what the parser raises."""
    server.answers["/"] = answer(b"5")

    async def exchange() -> tuple[int, int]:
        def read(response: Response) -> tuple[int, int]:
            return int(response.body), threading.get_ident()

        return await LOCAL.exchange("GET", f"{server.url}/", {}, deadline_s=20, max_bytes=9, read=read)

    number, thread = asyncio.run(exchange())
    assert number == 5
    assert thread != threading.get_ident()
    server.answers["/"] = answer(b"five")
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(exchange())
