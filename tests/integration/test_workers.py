"""Tests of several worker processes on one database: a change made by one takes effect in all, and all stop cleanly."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.integration.helpers import (
    SignedIn,
    client_of,
    expect_ended,
    new_address,
    profile,
    refresh,
    run_server,
    session_row,
    sign_in,
    sign_in_new_user,
    sign_up,
)
from tests.serving import PASSWORD, Server, listens
from tests.verifying import eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workers")]
WORKERS = 2
CONNECTIONS = 40
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with two workers."""
    with run_server(tmp_path_factory.mktemp("workers"), "--workers", str(WORKERS)) as server:
        yield server


def workers_of(server: Server) -> set[int]:
    """Return the ids of the worker processes, which are children of `handstamp serve`."""
    assert server.process is not None
    parent = server.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return {int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()}


def sockets_of(pid: int) -> set[str]:
    """Return the sockets that a process has open."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return {name for name in found if name.startswith("socket:")}


@contextlib.contextmanager
def many_connections(server: Server) -> Iterator[list[httpx.Client]]:
    """Open connections until every worker serves at least one, and keep them open."""
    before = {pid: len(sockets_of(pid)) for pid in workers_of(server)}
    with contextlib.ExitStack() as stack:
        clients: list[httpx.Client] = []
        serving: list[int] = []
        for _ in range(10 * CONNECTIONS):
            client = stack.enter_context(client_of(server))
            assert client.get("/healthz").status_code == 200
            clients.append(client)
            serving = [pid for pid, sockets in before.items() if len(sockets_of(pid)) > sockets]
            if len(clients) >= CONNECTIONS and len(serving) == WORKERS:
                break
        assert len(serving) == WORKERS, "one process serves all clients"
        yield clients


linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at processes through /proc")


@linux
def test_the_number_of_processes_is_as_configured(server: Server) -> None:
    """`--workers 2` starts two processes, and both of them serve requests."""
    assert len(workers_of(server)) == WORKERS
    with many_connections(server) as clients:
        assert len(clients) >= CONNECTIONS


@linux
@pytest.mark.parametrize("way", ["logout", "logout-everywhere", "password", "delete"])
def test_a_sign_out_takes_effect_in_every_process(server: Server, way: str) -> None:
    """A sign-out at one worker takes effect before the next request at any worker (R25, R47, R87)."""
    with many_connections(server) as clients:
        teller = clients[0]
        email = sign_up(teller)
        ended, other = sign_in(teller, email), sign_in(teller, email)
        assert all(profile(client, ended).status_code == 200 for client in clients)
        match way:
            case "logout":
                answer = teller.post("/logout", headers=ended.bearer)
            case "logout-everywhere":
                answer = teller.post("/logout-everywhere", headers=other.bearer)
            case "delete":
                answer = teller.delete(f"/sessions/{ended.sid}", headers=other.bearer)
            case _:
                body = {"currentPassword": PASSWORD, "newPassword": "another kelp lantern rivet of the tests"}
                answer = teller.post("/password", json=body, headers=other.bearer)
        assert answer.status_code in (200, 204)
        reason = {"logout-everywhere": "logout_everywhere", "password": "password_changed"}.get(way, "logout")
        for client in clients:
            expect_ended(profile(client, ended), reason)
        for client in clients:
            expect_ended(refresh(client, ended), reason)
        for _ in range(5):
            with client_of(server) as fresh:
                expect_ended(profile(fresh, ended), reason)


@linux
def test_ten_refreshes_over_both_processes_get_one_refresh_token(server: Server) -> None:
    """Ten concurrent refreshes, spread over the workers, rotate once (R38, T4)."""
    with many_connections(server) as clients, ThreadPoolExecutor(10) as pool:
        signed_in = sign_in_new_user(clients[0])
        tenth = clients[:: len(clients) // 10]
        for generation in range(1, 6):
            tabs = [signed_in.after(answer) for answer in pool.map(partial(refresh, signed_in=signed_in), tenth)]
            assert len({tab.refresh for tab in tabs}) == 1
            assert session_row(server, signed_in.sid)["generation"] == generation
            signed_in = tabs[0]


@linux
def test_a_retry_at_another_process_is_a_repeat(server: Server) -> None:
    """Forty retries of one refresh, spread over the workers, get the same refresh token (T1)."""
    with many_connections(server) as clients:
        before = sign_in_new_user(clients[0])
        assert len({before.after(refresh(client, before)).refresh for client in clients}) == 1


@linux
def test_an_ancestor_at_another_process_is_reuse(server: Server) -> None:
    """Reuse detected by one worker ends the session in all workers (R37)."""
    with many_connections(server) as clients:
        chain = [sign_in_new_user(clients[0])]
        for client in clients[:3]:
            chain.append(chain[-1].after(refresh(client, chain[-1])))
        expect_ended(refresh(clients[5], chain[0]), "reuse")
        for client in clients:
            expect_ended(profile(client, chain[-1]), "reuse")


@linux
def test_failures_count_in_every_process(server: Server) -> None:
    """Five failed sign-ins, spread over the workers, throttle the sixth at any worker (R71)."""
    with many_connections(server) as clients:
        email = sign_up(clients[0])
        wrong = {"email": email, "password": "a sentence that ada never said"}
        assert [client.post("/login", json=wrong).status_code for client in clients[:5]] == [401] * 5
        assert {client.post("/login", json=wrong).status_code for client in clients[5:25]} == {429}


@linux
def test_keys_of_every_process_are_the_same(server: Server) -> None:
    """Workers that start together in an empty folder publish the same keys."""
    with many_connections(server) as clients:
        assert len({client.get("/.well-known/jwks.json").content for client in clients}) == 1


# --- stopping


@linux
@pytest.mark.parametrize("workers", [1, WORKERS])
def test_a_stop_answers_requests_in_progress(tmp_path_factory: pytest.TempPathFactory, workers: int) -> None:
    """After SIGTERM, sign-ins and refreshes in progress are answered in full; then the processes exit cleanly."""
    folder, behind_proxy = tmp_path_factory.mktemp("stop"), {"TRUSTED_PROXIES": "127.0.0.1"}
    with run_server(folder, "--workers", str(workers), **behind_proxy) as server, contextlib.ExitStack() as stack:
        addresses = [{"x-forwarded-for": new_address()} for _ in range(16)]  # one network has a part of the queue alone
        clients = [stack.enter_context(client_of(server, headers=headers)) for headers in addresses]
        email = sign_up(clients[0])
        sessions = [sign_in(clients[0], email) for _ in range(4)]
        for client in clients:
            assert client.get("/healthz").status_code == 200  # opens the connection
        under_way = threading.Barrier(len(clients) + 1)
        answers: list[httpx.Response | Exception] = []

        def ask(number: int) -> None:
            under_way.wait()
            try:
                if number < len(sessions):
                    answers.append(refresh(clients[number], sessions[number]))
                else:
                    answers.append(clients[number].post("/login", json={"email": email, "password": PASSWORD}))
            except httpx.HTTPError as problem:
                answers.append(problem)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(clients))]
        for thread in threads:
            thread.start()
        under_way.wait()
        time.sleep(0.05)  # twelve sign-ins hash for about 200 ms, so they are in progress now
        processes = workers_of(server)
        status = server.kill(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert [answer.status_code if isinstance(answer, httpx.Response) else answer for answer in answers] == [200] * 16
        # A single uvicorn process raises the signal again after its shutdown; the supervisor of several processes returns.
        assert status == (-signal.SIGTERM if workers == 1 else 0)
        assert "Traceback" not in server.log.read_text()
        with pytest.raises(httpx.ConnectError), client_of(server) as client:
            client.get("/healthz")
        assert [pid for pid in processes if Path(f"/proc/{pid}").exists()] == []


def test_a_stop_answers_connections_that_have_just_been_made(tmp_path: Path) -> None:
    """A proxy that has opened one sends its request there, and cannot know that the service stops."""
    server = Server(tmp_path)
    server.first += "from handstamp.web import protocol; protocol.FIRST_REQUEST_S = 60.0; "
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        process = server.start().process
        assert process is not None
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 60)) for _ in range(3)]
        with client_of(server) as client:
            assert client.get("/healthz").status_code == 200  # so the connections before it are accepted, too
        process.send_signal(signal.SIGTERM)
        assert eventually(lambda: not listens(server.port))
        for connection in connections:
            connection.sendall(HEALTH)
            assert connection.recv(64).startswith(b"HTTP/1.1 200 ")
            connection.close()
        assert process.wait(60) == -signal.SIGTERM


def test_a_stop_takes_no_connection_that_nobody_answers(tmp_path: Path) -> None:
    """While a worker finishes a request, new connections are refused: the supervisor does not hold the socket open."""
    server = Server(tmp_path, "--workers", str(WORKERS))
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        process = server.start().process
        assert process is not None
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 60))
        connection.sendall(
            b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
        )
        process.send_signal(signal.SIGTERM)
        assert eventually(lambda: not listens(server.port))
        assert process.poll() is None
        connection.sendall(b"}")
        assert connection.recv(64).startswith(b"HTTP/1.1 422 ")
        assert process.wait(60) == 0


def test_sessions_outlive_a_stop(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A restart ends no session; the same tokens stay valid (R54)."""
    folder = tmp_path_factory.mktemp("restart")
    with run_server(folder) as server, client_of(server) as client:
        signed_in: SignedIn = sign_in_new_user(client)
        server.kill(signal.SIGTERM)
    with run_server(folder, ISSUER=server.url) as again, client_of(again) as client:
        assert profile(client, signed_in).status_code == 200
        assert refresh(client, signed_in).status_code == 200
