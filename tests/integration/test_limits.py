"""What one network can ask of the service, and that it takes nothing from others: a real server behind a trusted proxy."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from handstamp.client import Auth, MemoryTokens
from handstamp.errors import Unavailable
from tests.commands import environment_with
from tests.integration.helpers import (
    client_of,
    create_credential,
    expect_problem,
    new_address,
    new_email,
    refresh,
    running,
    sign_in_new_user,
    sign_up,
)
from tests.serving import PASSWORD, ColdServer, Server
from tests.verifying import eventually

OFFICE = 1_000
"""The smallest network: 2 new accounts, 20 hashes and 200 requests at once."""
LIMITS = {"TRUSTED_PROXIES": "127.0.0.1", "PEOPLE_PER_NETWORK": str(OFFICE)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service with the lowest limits, where a test can come from any address."""
    with running(Server(tmp_path_factory.mktemp("limits"), **LIMITS)) as server:
        yield server


@pytest.fixture
def come_from(server: Server) -> Iterator[Callable[[str], httpx.Client]]:
    """Return a function that returns a client with an address."""
    clients: list[httpx.Client] = []

    def come(ip: str) -> httpx.Client:
        clients.append(client_of(server, headers={"x-forwarded-for": ip}))
        return clients[-1]

    yield come
    for client in clients:
        client.close()


ComeFrom = Callable[[str], httpx.Client]


def expect_limit(answer: httpx.Response) -> None:
    """Assert that an answer is a limit: 429 with a time to come back, and no cookie is touched."""
    expect_problem(answer, 429, "too_many_attempts")
    assert int(answer.headers["retry-after"]) >= 1
    assert "set-cookie" not in answer.headers


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/login", "/register"])
def test_one_address_that_floods_leaves_the_hashing_queue_to_others(tmp_path: Path, path: str) -> None:
    """Forty requests at a time from one address, none of them with a wrong password, keep nobody else from signing in (R73)."""
    with running(ColdServer(tmp_path, **LIMITS)) as server, client_of(server) as client:
        flood_beside(server, client, path)


def flood_beside(server: Server, client: httpx.Client, path: str) -> None:
    """Sign in from one address while another one floods a path."""
    flooder, other = new_address(), new_address()
    person = {"email": new_email(), "password": PASSWORD}
    assert client.post("/register", json=person, headers={"x-forwarded-for": new_address()}).status_code == 201
    stopped = threading.Event()

    def flood(client: httpx.Client) -> set[int]:
        statuses = set()
        while not stopped.is_set():
            body = person if path == "/login" else person | {"email": new_email("flood")}
            statuses.add(client.post(path, json=body, headers={"x-forwarded-for": flooder}).status_code)
        return statuses

    with client_of(server, limits=httpx.Limits(max_connections=100)) as flooding, ThreadPoolExecutor(40) as pool:
        floods = [pool.submit(flood, flooding) for _ in range(40)]
        answers = [client.post("/login", json=person, headers={"x-forwarded-for": other}).status_code for _ in range(5)]
        stopped.set()
        statuses = set().union(*(each.result() for each in floods))
    assert answers == [200] * 5
    assert statuses - {200, 201}, "the flood was never refused"
    assert statuses <= {200, 201, 429, 503}


def test_sign_ins_that_succeed_are_counted(come_from: ComeFrom) -> None:
    """An own account is no way to have passwords hashed without end: after the burst the network waits, others do not."""
    person = {"email": new_email(), "password": PASSWORD}
    assert come_from(new_address()).post("/register", json=person).status_code == 201
    client = come_from(new_address())
    answers = [client.post("/login", json=person) for _ in range(2 * OFFICE // 50)]
    assert [answer.status_code for answer in answers[:5]] == [200] * 5
    expect_limit(answers[-1])
    assert come_from(new_address()).post("/login", json=person).status_code == 200


def test_a_known_device_signs_in_where_its_network_is_exhausted(come_from: ComeFrom) -> None:
    """Strangers behind the same address do not lock a person out of a device where they have signed in before."""
    neighbour, person = ({"email": new_email(), "password": PASSWORD} for _ in range(2))
    for each in (neighbour, person):
        assert come_from(new_address()).post("/register", json=each).status_code == 201
    client = come_from(new_address())
    earlier = client.post("/login", json=person).json()
    while client.post("/login", json=neighbour).status_code != 429:
        pass
    while (answer := client.post("/login", json=person)).status_code == 200:  # a place comes free in two seconds
        pass
    expect_limit(answer)
    known = {"authorization": f"Bearer {earlier['accessToken']}"}
    assert client.post("/login", json=person, headers=known).status_code == 200


def test_new_accounts_are_counted_by_network(come_from: ComeFrom) -> None:
    """A network of a thousand people creates two accounts at once. The third has to wait, and another network does not."""
    client = come_from(new_address())

    def register(client: httpx.Client) -> httpx.Response:
        return client.post("/register", json={"email": new_email(), "password": PASSWORD})

    assert [register(client).status_code for _ in range(2)] == [201, 201]
    refused = register(client)
    expect_limit(refused)
    assert 60 < int(refused.headers["retry-after"]) <= 30 * 60
    assert register(come_from(new_address())).status_code == 201


def test_registering_taken_addresses_is_limited(come_from: ComeFrom) -> None:
    """Attempts to register taken addresses are limited for each network, so that accounts cannot be enumerated (R72)."""
    email, stranger = sign_up(come_from(new_address())), come_from(new_address())
    answers = [stranger.post("/register", json={"email": email, "password": PASSWORD}) for _ in range(51)]
    assert [answer.status_code for answer in answers] == [409] * 50 + [429]


def test_concurrent_registrations_are_counted_exactly(come_from: ComeFrom) -> None:
    """The count is in the transaction that creates the account."""
    client = come_from(new_address())
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post("/register", json={"email": new_email(), "password": PASSWORD}), range(4)))
    assert sorted(answer.status_code for answer in answers)[:2] == [201, 201]
    assert {answer.status_code for answer in answers} <= {201, 429, 503}
    assert sum(answer.status_code == 201 for answer in answers) == 2


@pytest.mark.parametrize("path", ["/refresh", "/token", "/sign-in", "/account"])
def test_a_flood_of_requests_waits_and_ends_no_session(come_from: ComeFrom, path: str) -> None:
    """After the burst the network gets 429. Nobody is signed out, others notice nothing, and signing out still works."""
    client, elsewhere = come_from(new_address()), come_from(new_address())
    signed_in, other = sign_in_new_user(client), sign_in_new_user(elsewhere)
    methods = {"/sign-in": "GET", "/account": "GET"}
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    options: dict[str, dict[str, object]] = {"/refresh": {"json": {"refreshToken": "x"}}, "/token": {"data": form}}

    def ask() -> int:
        return client.request(methods.get(path, "POST"), path, **options.get(path, {})).status_code  # type: ignore[arg-type]

    assert ask() != 429
    assert any(ask() == 429 for _ in range(3 * OFFICE // 5))
    assert client.get("/profile", headers=signed_in.bearer).status_code == 200
    assert refresh(elsewhere, other).status_code == 200
    assert client.post("/logout", headers=signed_in.bearer).status_code == 204
    assert client.get("/profile", headers=signed_in.bearer).json()["code"] == "session_ended"


def test_a_limit_is_told_in_the_words_of_each_face(come_from: ComeFrom) -> None:
    """JSON, OAuth and pages answer 429 with Retry-After, and a page says so to people."""
    client = come_from(new_address())
    body = {"refreshToken": "x"}
    expect_limit(next(answer for _ in range(OFFICE) if (answer := client.post("/refresh", json=body)).status_code == 429))
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    oauth = next(answer for _ in range(OFFICE) if (answer := client.post("/token", data=form)).status_code == 429)
    assert oauth.json()["error"] == "temporarily_unavailable"
    assert int(oauth.headers["retry-after"]) >= 1
    page = next(answer for _ in range(OFFICE) if (answer := client.get("/sign-in")).status_code == 429)
    assert page.headers["content-type"].startswith("text/html")
    assert "Too many attempts" in page.text
    assert int(page.headers["retry-after"]) >= 1


def test_the_python_client_takes_a_limit_for_try_later(server: Server) -> None:
    """While its network has to wait, the client neither drops its tokens nor claims that it has signed out."""
    person, store = {"email": new_email(), "password": PASSWORD}, MemoryTokens()
    stopped = threading.Event()

    def flood() -> None:
        with client_of(server) as neighbour:  # without the header, so from the address of the client below
            while not stopped.is_set():
                neighbour.post("/logout")

    with client_of(server) as client, ThreadPoolExecutor(4) as pool:
        assert client.post("/register", json=person).status_code == 201
        floods = [pool.submit(flood) for _ in range(4)]
        auth, refused, kept = Auth(server.url, store), None, None
        try:
            while refused is None:  # the bucket gets ten a second, and the client may be given one of them
                if store.load() is None:
                    auth.sign_in(person["email"], PASSWORD)
                kept = store.load()
                try:
                    auth.sign_out()
                except Unavailable as limit:
                    refused = limit
        finally:
            stopped.set()
    assert [each.exception() for each in floods] == [None] * 4
    assert refused.retry_after_s >= 1
    assert kept is not None
    assert store.load() == kept


def test_wrong_service_credentials_are_counted_and_right_ones_pass(come_from: ComeFrom, server: Server) -> None:
    """After fifty wrong secrets a network gets 429 instead of 401. A right credential from there still works."""
    credential = create_credential(server)
    client = come_from(new_address())
    wrong = [client.post("/introspect", data={"token": "x"}, auth=(credential.id, "wrong")) for _ in range(60)]
    assert [answer.status_code for answer in wrong[:50]] == [401] * 50
    refused = next(answer for answer in wrong if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    for answer in (
        client.post("/introspect", data={"token": "x"}, auth=credential.basic),
        client.get("/revocations", auth=credential.basic),
    ):
        assert answer.status_code == 200
    assert come_from(new_address()).post("/introspect", data={"token": "x"}, auth=(credential.id, "wrong")).status_code == 401


def test_a_credential_is_not_counted_as_a_network(come_from: ComeFrom, server: Server) -> None:
    """A service asks about its people's tokens far more often than one person renews."""
    credential = create_credential(server)
    client = come_from(new_address())
    statuses = {client.post("/introspect", data={"token": "x"}, auth=credential.basic).status_code for _ in range(OFFICE // 4)}
    assert statuses == {200}


@contextmanager
def on_unix_socket(folder: Path, **settings: str) -> Iterator[httpx.Client]:
    """Run the application under a server of the operator's, on a Unix socket. Its log is `log` in the folder."""
    path = folder / "socket"
    command = [sys.executable, "-m", "uvicorn", "--factory", "handstamp.assemble.application:application", "--uds", str(path)]
    environment = environment_with({"ISSUER": "http://localhost:1", "PEOPLE_PER_NETWORK": str(OFFICE), **settings})
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
        httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost:1", timeout=30) as client,
    ):
        try:
            assert eventually(lambda: path.exists() and client.get("/readyz").is_success, within_s=60), (
                folder / "log"
            ).read_text()
            yield client
        finally:
            process.terminate()


def test_peers_without_an_address_are_not_one_network(tmp_path: Path) -> None:
    """On a Unix socket nobody is counted for a network, because there is none. One line says which setting mends that."""
    with on_unix_socket(tmp_path) as client:
        statuses = {client.post("/refresh", json={"refreshToken": "x"}).status_code for _ in range(2 * OFFICE // 5)}
    assert statuses == {401}
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if "client_address_unknown" in line]
    assert len(lines) == 1
    assert "HANDSTAMP_TRUSTED_PROXIES=unix" in lines[0]


def test_a_proxy_on_a_unix_socket_is_believed(tmp_path: Path) -> None:
    """With `unix`, people behind the proxy are counted for their own networks."""
    with on_unix_socket(tmp_path, TRUSTED_PROXIES="unix") as client:

        def ask(ip: str) -> int:
            return client.post("/refresh", json={"refreshToken": "x"}, headers={"x-forwarded-for": ip}).status_code

        assert 429 in {ask("203.0.113.9") for _ in range(2 * OFFICE // 5)}
        assert ask("203.0.113.10") == 401
