"""What a `live` check costs: its own threads, few connections, and one deadline whatever the network does."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import multiprocessing
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from handstamp import ConfigurationError, Unavailable, Verifier
from handstamp.verify import connections
from handstamp.verify.connections import MAX_IDLE, Connections
from handstamp.verify.fetch import fetch
from tests.certificates import build_command
from tests.hostile import INTROSPECT, JWKS, STALL, answer, hostile, jwks
from tests.integration.helpers import sign_in_new_user
from tests.serving import Server, free_port
from tests.verifying import CREDENTIAL, credential_for, eventually, try_token, verifier_of


class KeepAlive:
    """A server that keeps connections open and counts them. `closes` lets it close each one after its answer, unannounced."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen on loopback, with TLS if there is a context."""
        self.connections = self.requests = 0
        self.closes = False
        self.appends = b""
        """Bytes to send after each answer, which no request asked for."""
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                owner.connections += 1
                super().setup()

            def do_GET(self) -> None:
                owner.requests += 1
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok" + owner.appends)
                self.close_connection = owner.closes

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'http' if tls is None else 'https'}://localhost:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[KeepAlive]:
        """Serve for the length of a block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def get(kept: Connections, *, timeout_s: float = 30) -> bytes:
    """Send a request."""
    return fetch(kept, "/", timeout_s=timeout_s, limit=100).body


# --- connections


def test_a_hundred_checks_use_one_connection(server: Server, client: httpx.Client) -> None:
    """Live checks of one thread share a connection to the real service. The feed has another."""
    ada, credential = sign_in_new_user(client), credential_for(server, "kept")
    opened: list[socket.socket] = []
    with verifier_of(server.url, credential=credential, check="live", timeout_s=30) as verifier, _recording(opened):
        for _ in range(100):
            assert try_token(verifier, ada.access) == "ok"
        assert len(opened) <= 2


@contextmanager
def _recording(opened: list[socket.socket]) -> Iterator[None]:
    """Record the sockets that the verifier opens."""
    real = connections._open_socket

    def record(*arguments: Any) -> socket.socket:
        opened.append(real(*arguments))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "_open_socket", record)
        yield


def test_a_connection_that_the_service_has_closed_is_replaced() -> None:
    """No request fails because an idle connection was closed, whether the end has arrived yet or not."""
    with KeepAlive().running() as service:
        kept = Connections(service.url)
        assert (get(kept), get(kept), service.connections) == (b"ok", b"ok", 1)
        service.closes = True
        for number in range(2, 22):
            assert get(kept) == b"ok"
            assert service.requests == number + 1
        assert service.connections <= 21


def test_bytes_that_nobody_asked_for_are_not_the_next_answer() -> None:
    """A connection on which more arrived than the answer is closed: the rest would be read as the answer to another request."""
    with KeepAlive().running() as service:
        service.appends = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
        kept = Connections(service.url)
        for _ in range(10):
            assert get(kept) == b"ok"


def test_an_idle_connection_is_not_used_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network may have forgotten a connection that was idle for long."""
    with KeepAlive().running() as service:
        kept = Connections(service.url)
        get(kept)
        monkeypatch.setattr(connections, "_MAX_IDLE_MS", 0)
        get(kept)
    assert service.connections == 2


def test_idle_connections_are_few_and_are_closed_with_their_owner() -> None:
    """Many threads leave no more than `MAX_IDLE` connections behind, and none once the verifier is gone."""
    with KeepAlive().running() as service:
        kept = Connections(service.url)
        start = threading.Barrier(3 * MAX_IDLE)

        def ask(kept: Connections) -> None:
            start.wait()
            get(kept)

        with ThreadPoolExecutor(3 * MAX_IDLE) as pool:
            list(pool.map(ask, [kept] * 3 * MAX_IDLE))
        assert 0 < len(kept._idle) <= MAX_IDLE
        idle = [each.connection for each in kept._idle]
        del kept
        assert all(connection.sock is None for connection in idle)


def _check_in_child(verifier: Verifier, token: str, answers: Any) -> None:
    answers.put((try_token(verifier, token), len(verifier._service._connections._idle)))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_opens_its_own_connections(server: Server, client: httpx.Client) -> None:
    """Parent and child would read each other's answers from a shared connection."""
    ada, credential = sign_in_new_user(client), credential_for(server, "forked")
    context = multiprocessing.get_context("fork")
    with verifier_of(server.url, credential=credential, check="live", timeout_s=30) as verifier:
        assert try_token(verifier, ada.access) == "ok"
        answers = context.Queue()
        children = [context.Process(target=_check_in_child, args=(verifier, ada.access, answers)) for _ in range(2)]
        for child in children:
            child.start()
        assert [try_token(verifier, ada.access) for _ in range(20)] == ["ok"] * 20
        assert [answers.get(timeout=120) for _ in children] == [("ok", 1)] * 2
        for child in children:
            child.join()


# --- threads


@pytest.mark.anyio
async def test_hanging_checks_do_not_hold_up_the_loops_other_work() -> None:
    """Forty checks that hang leave the event loop's own threads free, for example for name look-ups."""
    with hostile() as service:
        service.answers[INTROSPECT] = [STALL]
        with verifier_of(service.url, check="live", timeout_s=30, wait=False) as verifier:
            tokens = [service.token() for _ in range(40)]
            verifier.wait_until_ready(30)
            checks = [asyncio.create_task(verifier.verify_async(token)) for token in tokens]
            assert await asyncio.to_thread(eventually, lambda: service.count(INTROSPECT) == MAX_IDLE)
            loop = asyncio.get_running_loop()
            assert await loop.getaddrinfo("localhost", 80)
            assert await asyncio.to_thread(int, "7") == 7
            assert not any(check.done() for check in checks)
            for check in checks:
                check.cancel()
            await asyncio.gather(*checks, return_exceptions=True)


def test_checks_run_under_trio(server: Server, client: httpx.Client) -> None:
    """`verify_async` works in each event loop, and raises the same errors."""
    ada, credential = sign_in_new_user(client), credential_for(server, "trio")
    with verifier_of(server.url, credential=credential, check="live", timeout_s=30) as verifier:

        async def in_loop() -> str:
            return (await verifier.verify_async(ada.access)).sid

        assert trio.run(in_loop) == ada.sid
        client.post("/logout", headers=ada.bearer)
        with pytest.raises(Exception, match="has ended"):
            trio.run(in_loop)


# --- the deadline


class Addresses:
    """Replaces the look-up of names: `api.test` has these addresses, in this order."""

    def __init__(self, *places: tuple[str, int]) -> None:
        """Answer with these places."""
        self._places = places

    def __call__(self, *_: Any, **__: Any) -> list[Any]:
        """Return them as `socket.getaddrinfo` does."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in self._places]


@contextmanager
def full_backlog() -> Iterator[tuple[str, int]]:
    """Yield an address that neither accepts nor refuses connections: the queue of its listener is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()


def test_several_addresses_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address gets a part of the time: all together take no longer than one, and a good one after bad ones is reached."""
    given: list[float] = []

    class Socket(socket.socket):
        def connect(self, place: Any) -> None:
            given.append(self.gettimeout() or 0)
            super().connect(place)

    monkeypatch.setattr(socket, "socket", Socket)
    with full_backlog() as silent, KeepAlive().running() as service:
        good = ("127.0.0.1", int(service.url.rpartition(":")[2]))
        monkeypatch.setattr(socket, "getaddrinfo", Addresses(silent, silent, good))
        assert get(Connections("http://localhost:1"), timeout_s=3) == b"ok"
        assert sum(given[:2]) <= 3
        given.clear()
        monkeypatch.setattr(socket, "getaddrinfo", Addresses(*[silent] * 5))
        with pytest.raises(Unavailable):
            get(Connections("http://localhost:1"), timeout_s=0.5)
        assert sum(given) <= 0.5 + 0.001
        refusing = ("127.0.0.1", free_port())
        monkeypatch.setattr(socket, "getaddrinfo", Addresses(refusing, good))
        assert get(Connections("http://localhost:1"), timeout_s=30) == b"ok"


# --- a CA file


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `cert.pem` and `key.pem` for localhost, which no system trusts."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(build_command(folder / "cert.pem", folder / "key.pem"), check=True, capture_output=True)
    return folder


def context_of(certificate: Path) -> ssl.SSLContext:
    """Return the context of a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


def test_a_ca_file_is_an_argument(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service with a certificate of a private authority is reached without changes to the environment, and by nobody else."""
    with hostile(tls=context_of(certificate)) as service:
        token = service.token()
        options: dict[str, Any] = {"audience": service.url, "credential": CREDENTIAL, "check": "live", "timeout_s": 10}
        for path in (certificate / "cert.pem", str(certificate / "cert.pem")):
            with Verifier(service.url, ca_file=path, **options) as verifier:
                assert try_token(verifier, token) == "ok"
        monkeypatch.setenv("HOME", str(certificate))
        with Verifier(service.url, ca_file="~/cert.pem", **options) as verifier:
            assert try_token(verifier, token) == "ok"
        with Verifier(service.url, **options) as verifier:
            assert try_token(verifier, token) == "unavailable"


def test_connections_with_tls_are_kept_open(certificate: Path) -> None:
    """A handshake costs more than a request."""
    with KeepAlive(context_of(certificate)).running() as service:
        kept = Connections(service.url, ca_file=certificate / "cert.pem")
        for _ in range(10):
            assert get(kept) == b"ok"
        assert service.connections == 1
        service.closes = True
        for _ in range(5):
            assert get(kept) == b"ok"


@pytest.mark.parametrize("name", ["", ".", "missing.pem", "key.pem", "empty.pem"])
def test_a_ca_file_without_certificates_is_refused_at_once(certificate: Path, name: str) -> None:
    """A wrong file is a mistake of the configuration, and not an outage of the service."""
    (certificate / "empty.pem").touch()
    with pytest.raises(ConfigurationError, match="ca_file"):
        Verifier("https://auth.example.com", audience="api", check="offline", ca_file=name and str(certificate / name))


def test_keys_are_fetched_with_the_ca_file_too(certificate: Path) -> None:
    """An offline verifier needs no credential, and trusts the same authority."""
    with hostile(tls=context_of(certificate)) as service:
        service.answers[JWKS] = answer(jwks(service.key))
        verifier = Verifier(service.url, audience=service.url, check="offline", ca_file=certificate / "cert.pem", timeout_s=10)
        assert try_token(verifier, service.token()) == "ok"
