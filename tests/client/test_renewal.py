"""When tokens are renewed, and that one renewal serves everybody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from handstamp.client import Auth, MemoryTokens, StoredTokens, TokenStore
from handstamp.errors import InvalidToken, SessionEnded
from tests.client.applications import async_client_with, client_with
from tests.client.helpers import due, expired, generation, held, keep, stale, tokens_of
from tests.client.hostile import Hostile
from tests.integration.helpers import Mint
from tests.serving import Server

pytestmark = pytest.mark.anyio
PATIENCE_S = 60


@pytest.fixture(params=["over here", "over there"])
def worn(request: pytest.FixtureRequest, answer: dict[str, Any], proxy: Hostile, mint: Mint) -> StoredTokens:
    """Return tokens that must be renewed: because our clock says so, or because only the service does."""
    tokens = tokens_of(answer, proxy.url)
    return stale(tokens) if request.param == "over here" else expired(tokens, mint)


@pytest.fixture
def auth(proxy: Hostile, server: Server, store: TokenStore, worn: StoredTokens) -> Auth:
    """Return what holds the worn tokens, and renews them by way of the proxy, which counts."""
    keep(store, worn)
    return Auth(proxy.url, store, origins=[server.url], timeout_s=PATIENCE_S)


@pytest.fixture
def renewed_once(proxy: Hostile, server: Server, worn: StoredTokens) -> Iterator[None]:
    """Check at the end that one question was asked. Rotations alone would not tell: the service answers repeats alike."""
    yield
    assert proxy.refresh_tokens == [worn.refresh_token]
    assert generation(server, worn.session_id) == 1


@pytest.mark.usefixtures("renewed_once")
def test_what_is_over_is_renewed_once(server: Server, auth: Auth, store: TokenStore, worn: StoredTokens) -> None:
    """The request that finds it so is answered as any other, and the next ones use what is new."""
    with client_with(auth, base_url=server.url) as application:
        for _ in range(3):
            assert application.get("/profile").status_code == 200
    assert held(store).refresh_token != worn.refresh_token


@pytest.mark.usefixtures("renewed_once")
async def test_what_is_over_is_renewed_once_in_coroutines(server: Server, auth: Auth) -> None:
    """The same steps, driven by an event loop."""
    async with async_client_with(auth, base_url=server.url) as application:
        for _ in range(3):
            assert (await application.get("/profile")).status_code == 200


@pytest.mark.usefixtures("renewed_once")
def test_fifty_threads_share_one_renewal(server: Server, auth: Auth) -> None:
    """However many find at once that it is over, one asks."""
    start = threading.Barrier(50)
    with client_with(auth, base_url=server.url) as application, ThreadPoolExecutor(50) as pool:

        def ask(_: int) -> int:
            start.wait(PATIENCE_S)
            return application.get("/profile").status_code

        assert list(pool.map(ask, range(50), timeout=PATIENCE_S)) == [200] * 50


@pytest.mark.usefixtures("renewed_once")
@pytest.mark.parametrize("store", ["file"], indirect=True)
async def test_two_hundred_tasks_share_one_renewal(server: Server, auth: Auth) -> None:
    """The same for tasks."""
    async with async_client_with(auth, base_url=server.url) as application, asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(*(application.get("/profile") for _ in range(200)))
    assert {answer.status_code for answer in answers} == {200}


async def test_those_who_wait_have_one_thread_between_them(proxy: Hostile, answer: dict[str, Any]) -> None:
    """A hundred tasks that wait for a slow service cost one thread, and the one that asks."""
    store = MemoryTokens()
    keep(store, stale(tokens_of(answer, proxy.url)))
    before = set(threading.enumerate())
    proxy.play("hold")
    async with async_client_with(Auth(proxy.url, store, timeout_s=PATIENCE_S)) as application:
        waiting = [asyncio.create_task(application.get("/profile")) for _ in range(100)]
        assert await asyncio.to_thread(proxy.arrived.acquire, timeout=PATIENCE_S)
        ours = [thread for thread in set(threading.enumerate()) - before if thread.name == "handstamp-client"]
        proxy.release.set()
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert len(ours) == 2


@pytest.mark.usefixtures("renewed_once")
def test_threads_and_event_loops_share_one_renewal(server: Server, auth: Auth) -> None:
    """One `Auth` in ten threads and in two event loops of their own with twenty tasks each."""

    async def many() -> list[int]:
        async with async_client_with(auth, base_url=server.url) as application:
            return [answer.status_code for answer in await asyncio.gather(*(application.get("/profile") for _ in range(20)))]

    def one() -> list[int]:
        with client_with(auth, base_url=server.url) as application:
            return [application.get("/profile").status_code]

    work: list[Callable[[], list[int]]] = [*[one] * 10, *[lambda: asyncio.run(many())] * 2]
    with ThreadPoolExecutor(len(work)) as pool:
        done = [pool.submit(job) for job in work]
        assert [status for job in done for status in job.result(PATIENCE_S)] == [200] * 50


def test_what_is_nearly_over_is_renewed_in_the_background(server: Server, proxy: Hostile, answer: dict[str, Any]) -> None:
    """No request waits for it: the token still opens everything, even while the service hangs."""
    store = MemoryTokens()
    tokens = due(tokens_of(answer, proxy.url))
    keep(store, tokens)
    proxy.play("hold")
    with client_with(Auth(proxy.url, store, timeout_s=PATIENCE_S)) as application:
        for _ in range(3):
            assert application.get("/profile").status_code == 200
            assert held(store) == tokens
        proxy.release.set()
        deadline = time.monotonic() + PATIENCE_S
        while held(store) == tokens and time.monotonic() < deadline:
            time.sleep(0.01)
        assert application.get("/profile").status_code == 200
    assert held(store).refresh_token != tokens.refresh_token
    assert generation(server, tokens.session_id) == 1
    assert len(proxy.refresh_tokens) == 1


def test_what_is_fresh_is_not_renewed(server: Server, store: TokenStore, answer: dict[str, Any]) -> None:
    """No question is asked without need."""
    keep(store, tokens_of(answer, server.url))
    with client_with(Auth(server.url, store)) as application:
        for _ in range(3):
            assert application.get("/profile").status_code == 200
    assert generation(server, answer["sessionId"]) == 0


@pytest.mark.parametrize("days", [-3, 3])
def test_a_wrong_clock_does_not_matter(server: Server, store: TokenStore, answer: dict[str, Any], days: int) -> None:
    """Only differences of one clock count: nothing is renewed without need, and what is over is renewed once."""

    def wrong() -> int:
        return time.time_ns() // 1_000_000 + days * 86_400_000

    auth = Auth(server.url, store, tokens=answer, clock=wrong)
    with client_with(auth) as application:
        assert application.get("/profile").status_code == 200
        assert generation(server, answer["sessionId"]) == 0
        with store.locked(1):
            store.save(_older(held(store), 3_600_000))
    with client_with(Auth(server.url, store, clock=wrong)) as application:
        for _ in range(2):
            assert application.get("/profile").status_code == 200
    assert generation(server, answer["sessionId"]) == 1


def test_the_end_of_a_session_is_told_with_its_reason(
    client: httpx.Client, auth: Auth, store: TokenStore, worn: StoredTokens
) -> None:
    """It is the one answer after which tokens are forgotten."""
    client.post("/logout", json={"refreshToken": worn.refresh_token})
    with client_with(auth) as application, pytest.raises(SessionEnded) as ended:
        application.get("/profile")
    assert ended.value.reason == "logout"
    assert store.load() is None


async def test_everybody_who_waits_hears_of_the_end(client: httpx.Client, auth: Auth, worn: StoredTokens) -> None:
    """Each gets an error of their own."""
    await asyncio.to_thread(client.post, "/logout", json={"refreshToken": worn.refresh_token})
    async with async_client_with(auth) as application:
        ends = await asyncio.gather(*(application.get("/profile") for _ in range(20)), return_exceptions=True)
    assert all(isinstance(end, SessionEnded) and end.reason == "logout" for end in ends)
    assert len({id(end) for end in ends}) == 20


def test_every_thread_that_waits_hears_of_the_end(client: httpx.Client, proxy: Hostile, answer: dict[str, Any]) -> None:
    """Of one answer, in an error of its own: what one writes into its traceback is not another's."""
    client.post("/logout", json={"refreshToken": answer["refreshToken"]})
    store = MemoryTokens()
    keep(store, stale(tokens_of(answer, proxy.url)))
    proxy.play("hold")
    with client_with(Auth(proxy.url, store, timeout_s=PATIENCE_S)) as application, ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(application.get, "/profile") for _ in range(5)]
        assert proxy.arrived.acquire(timeout=PATIENCE_S)
        proxy.release.wait(0.3)  # until the others wait too
        proxy.release.set()
        ends = [each.exception(PATIENCE_S) for each in asked]
    assert [type(end) for end in ends] == [SessionEnded] * 5
    assert len({id(end) for end in ends}) == 5


def test_a_refresh_token_that_the_service_does_not_know_is_kept(
    server: Server, store: TokenStore, answer: dict[str, Any]
) -> None:
    """It may be the service that has been set up wrongly: not an end, and not a loss."""
    tokens = stale(tokens_of(answer | {"refreshToken": answer["accessToken"]}, server.url))
    keep(store, tokens)
    with client_with(Auth(server.url, store)) as application, pytest.raises(InvalidToken):
        application.get("/profile")
    assert held(store) == tokens


# --- what is sent again, and what is not


class Elsewhere(httpx.BaseTransport):
    """A resource server of other people's making, that refuses tokens in its own words. It takes a body as a connection does."""

    def __init__(self, challenge: dict[str, str], *, refuses: Callable[[str], bool] = lambda _: True) -> None:
        """Take the header of a refusal, and which tokens are refused."""
        self.challenge = challenge
        self.refuses = refuses
        self.seen: list[bytes] = []
        """The bodies that arrived."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        self.seen.append(b"".join(request.stream))
        if self.refuses(request.headers["authorization"].removeprefix("Bearer ")):
            return httpx.Response(401, headers=self.challenge, json={"error": "invalid_token"})
        return httpx.Response(200, content=self.seen[-1])


RFC_6750 = {"www-authenticate": 'Bearer realm="orders", error="invalid_token", error_description="The token is over"'}


def a_request_is_repeated(server: Server, answer: dict[str, Any], content: Any) -> tuple[httpx.Response, list[bytes]]:
    """Post a body to a resource server that refuses the first token; return what came and what it saw."""
    store = MemoryTokens()
    tokens = tokens_of(answer, server.url)
    keep(store, tokens)
    elsewhere = Elsewhere(RFC_6750, refuses=lambda token: token == tokens.access_token)
    auth = Auth(server.url, store, origins=["https://orders.example.com"])
    with client_with(auth, transport=elsewhere) as application:
        return application.post("https://orders.example.com/orders", content=content), elsewhere.seen


def test_a_request_with_its_body_is_sent_again(server: Server, answer: dict[str, Any]) -> None:
    """After RFC 6750's `invalid_token`, from a server that knows nothing of Handstamp."""
    came, seen = a_request_is_repeated(server, answer, b"two of these")
    assert (came.status_code, came.content, len(seen)) == (200, b"two of these", 2)
    assert generation(server, answer["sessionId"]) == 1


def test_a_body_that_is_gone_is_not_sent_again(server: Server, answer: dict[str, Any]) -> None:
    """What a generator gave cannot be had twice: the refusal is handed back, and the next request has the new token."""

    def pieces() -> Iterator[bytes]:
        yield b"two "
        yield b"of these"

    came, seen = a_request_is_repeated(server, answer, pieces())
    assert (came.status_code, len(seen)) == (401, 1)
    assert generation(server, answer["sessionId"]) == 1


def test_a_second_refusal_is_handed_back(server: Server, answer: dict[str, Any]) -> None:
    """One renewal, one repetition. A token that is refused while it is new is not renewed again: that would never end."""
    store = MemoryTokens()
    keep(store, tokens_of(answer, server.url))
    elsewhere = Elsewhere(RFC_6750)
    auth = Auth(server.url, store, origins=["https://orders.example.com"])
    with client_with(auth, transport=elsewhere) as application:
        for requests in (2, 3, 4):
            assert application.get("https://orders.example.com/").status_code == 401
            assert len(elsewhere.seen) == requests
    assert generation(server, answer["sessionId"]) == 1


def test_a_refusal_of_another_kind_is_handed_back(server: Server, answer: dict[str, Any]) -> None:
    """A scope that is missing, or a password that somebody else wants, is no matter of renewal."""
    store = MemoryTokens()
    keep(store, tokens_of(answer, server.url))
    for challenge in (
        {"www-authenticate": 'Bearer error="insufficient_scope"'},
        {"www-authenticate": 'Basic realm="x", error="invalid_token"'},
        {},
    ):
        elsewhere = Elsewhere(challenge)
        with client_with(Auth(server.url, store), transport=elsewhere) as application:
            assert application.get("/").status_code == 401
        assert len(elsewhere.seen) == 1
    assert generation(server, answer["sessionId"]) == 0


def test_an_answer_can_be_streamed(server: Server, auth: Auth) -> None:
    """Nothing of an answer is read that is not a refusal."""
    with client_with(auth, base_url=server.url) as application, application.stream("GET", "/profile") as response:
        assert (response.status_code, response.is_stream_consumed) == (200, False)
        assert b"session" in b"".join(response.iter_raw())


# --- where the token goes


def test_the_token_goes_to_its_origins_alone(server: Server, answer: dict[str, Any]) -> None:
    """Other hosts, other ports and other schemes are asked without it."""
    seen: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    auth = Auth(server.url, tokens=answer, origins=["https://api.example.com", "https://b.example.com:8443/"])
    theirs = ["https://api.example.com/x", "https://API.example.com:443/", "https://b.example.com:8443/", f"{server.url}/profile"]
    others = [
        "http://api.example.com/",
        "https://api.example.com:8443/",
        "https://b.example.com/",
        "https://example.com/",
        "https://api.example.com.evil.example/",
        "https://api.example.com@evil.example/",
        f"http://127.0.0.1:{server.port}/",
    ]
    with httpx.Client(auth=auth, transport=httpx.MockTransport(note)) as application:
        for url in [*theirs, *others]:
            application.get(url)
    assert ["authorization" in request.headers for request in seen] == [True] * len(theirs) + [False] * len(others)


def test_the_token_does_not_follow_a_redirect_to_another_host(server: Server, answer: dict[str, Any]) -> None:
    """It is left behind, and a refusal over there renews nothing."""
    store = MemoryTokens()
    keep(store, tokens_of(answer, server.url))
    seen: list[httpx.Request] = []

    def lead_astray(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.host == "localhost":
            return httpx.Response(307, headers={"location": "https://evil.example/"})
        return httpx.Response(401, headers=RFC_6750)

    with client_with(Auth(server.url, store), transport=httpx.MockTransport(lead_astray), follow_redirects=True) as application:
        assert application.get("/profile").status_code == 401
    assert ["authorization" in request.headers for request in seen] == [True, False]
    assert generation(server, answer["sessionId"]) == 0


def _older(tokens: StoredTokens, by_ms: int) -> StoredTokens:
    return StoredTokens(
        issuer=tokens.issuer,
        session_id=tokens.session_id,
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_in_s=tokens.expires_in_s,
        obtained_at_ms=tokens.obtained_at_ms - by_ms,
    )
