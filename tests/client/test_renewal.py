"""When the client renews tokens, and that all callers share one renewal."""

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
from tests.client.helpers import due, expire_access_token, generation, keep, load_tokens, stale, tokens_of
from tests.client.hostile import Hostile
from tests.integration.helpers import Mint
from tests.serving import Server

pytestmark = pytest.mark.anyio
PATIENCE_S = 60


@pytest.fixture(params=["over here", "over there"])
def expired_tokens(request: pytest.FixtureRequest, answer: dict[str, Any], proxy: Hostile, mint: Mint) -> StoredTokens:
    """Return tokens to renew: expired by the client's clock, or expired only for the service."""
    tokens = tokens_of(answer, proxy.url)
    return stale(tokens) if request.param == "over here" else expire_access_token(tokens, mint)


@pytest.fixture
def auth(proxy: Hostile, server: Server, store: TokenStore, expired_tokens: StoredTokens) -> Auth:
    """Return an `Auth` with the worn tokens that refreshes through the proxy, which counts requests."""
    keep(store, expired_tokens)
    return Auth(proxy.url, store, origins=[server.url], timeout_s=PATIENCE_S)


@pytest.fixture
def one_refresh(proxy: Hostile, server: Server, expired_tokens: StoredTokens) -> Iterator[None]:
    """Check after the test that one refresh was sent.

    The rotations alone do not show it, because the service answers repeats with the same tokens.
    """
    yield
    assert proxy.refresh_tokens == [expired_tokens.refresh_token]
    assert generation(server, expired_tokens.session_id) == 1


@pytest.mark.usefixtures("one_refresh")
def test_an_expired_token_is_renewed_once(server: Server, auth: Auth, store: TokenStore, expired_tokens: StoredTokens) -> None:
    """A request that finds an expired token succeeds, and later requests use the new one."""
    with client_with(auth, base_url=server.url) as application:
        for _ in range(3):
            assert application.get("/profile").status_code == 200
    assert load_tokens(store).refresh_token != expired_tokens.refresh_token


@pytest.mark.usefixtures("one_refresh")
async def test_an_expired_token_is_renewed_once_in_coroutines(server: Server, auth: Auth) -> None:
    """An asynchronous request with an expired token succeeds too."""
    async with async_client_with(auth, base_url=server.url) as application:
        for _ in range(3):
            assert (await application.get("/profile")).status_code == 200


@pytest.mark.usefixtures("one_refresh")
def test_fifty_threads_share_one_renewal(server: Server, auth: Auth) -> None:
    """Fifty threads find an expired token at once, and one of them refreshes."""
    start = threading.Barrier(50)
    with client_with(auth, base_url=server.url) as application, ThreadPoolExecutor(50) as pool:

        def ask(_: int) -> int:
            start.wait(PATIENCE_S)
            return application.get("/profile").status_code

        assert list(pool.map(ask, range(50), timeout=PATIENCE_S)) == [200] * 50


@pytest.mark.usefixtures("one_refresh")
@pytest.mark.parametrize("store", ["file"], indirect=True)
async def test_two_hundred_tasks_share_one_renewal(server: Server, auth: Auth) -> None:
    """Two hundred tasks find an expired token at once, and one of them refreshes."""
    async with async_client_with(auth, base_url=server.url) as application, asyncio.timeout(PATIENCE_S):
        answers = await asyncio.gather(*(application.get("/profile") for _ in range(200)))
    assert {answer.status_code for answer in answers} == {200}


async def test_waiting_tasks_share_one_thread(proxy: Hostile, answer: dict[str, Any]) -> None:
    """A hundred tasks that wait for one slow renewal occupy two threads: one renews, one waits for all of them."""
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


@pytest.mark.usefixtures("one_refresh")
def test_threads_and_event_loops_share_one_renewal(server: Server, auth: Auth) -> None:
    """Ten threads and two event loops with twenty tasks each share one `Auth` and one renewal."""

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


def test_a_token_near_expiry_is_renewed_in_the_background(server: Server, proxy: Hostile, answer: dict[str, Any]) -> None:
    """A token that is due is renewed in the background. Requests use the old token meanwhile, even if the service hangs."""
    store = MemoryTokens()
    tokens = due(tokens_of(answer, proxy.url))
    keep(store, tokens)
    proxy.play("hold")
    with client_with(Auth(proxy.url, store, timeout_s=PATIENCE_S)) as application:
        for _ in range(3):
            assert application.get("/profile").status_code == 200
            assert load_tokens(store) == tokens
        proxy.release.set()
        deadline = time.monotonic() + PATIENCE_S
        while load_tokens(store) == tokens and time.monotonic() < deadline:
            time.sleep(0.01)
        assert application.get("/profile").status_code == 200
    assert load_tokens(store).refresh_token != tokens.refresh_token
    assert generation(server, tokens.session_id) == 1
    assert len(proxy.refresh_tokens) == 1


def test_a_fresh_token_is_not_renewed(server: Server, store: TokenStore, answer: dict[str, Any]) -> None:
    """A fresh token causes no refresh."""
    keep(store, tokens_of(answer, server.url))
    with client_with(Auth(server.url, store)) as application:
        for _ in range(3):
            assert application.get("/profile").status_code == 200
    assert generation(server, answer["sessionId"]) == 0


@pytest.mark.parametrize("days", [-3, 3])
def test_a_wrong_clock_does_not_matter(server: Server, store: TokenStore, answer: dict[str, Any], days: int) -> None:
    """The client works with a wrong wall clock: fresh tokens are not renewed, and an expired one is renewed once."""

    def wrong() -> int:
        return time.time_ns() // 1_000_000 + days * 86_400_000

    auth = Auth(server.url, store, tokens=answer, clock=wrong)
    with client_with(auth) as application:
        assert application.get("/profile").status_code == 200
        assert generation(server, answer["sessionId"]) == 0
        with store.locked(1):
            store.save(_older(load_tokens(store), 3_600_000))
    with client_with(Auth(server.url, store, clock=wrong)) as application:
        for _ in range(2):
            assert application.get("/profile").status_code == 200
    assert generation(server, answer["sessionId"]) == 1


def test_an_ended_session_is_reported_with_its_reason(
    client: httpx.Client, auth: Auth, store: TokenStore, expired_tokens: StoredTokens
) -> None:
    """`SessionEnded` carries the reason. Only this response makes the client delete the tokens."""
    client.post("/logout", json={"refreshToken": expired_tokens.refresh_token})
    with client_with(auth) as application, pytest.raises(SessionEnded) as ended:
        application.get("/profile")
    assert ended.value.reason == "logout"
    assert store.load() is None


async def test_every_waiting_task_gets_the_end(client: httpx.Client, auth: Auth, expired_tokens: StoredTokens) -> None:
    """Every waiting task gets its own error object."""
    await asyncio.to_thread(client.post, "/logout", json={"refreshToken": expired_tokens.refresh_token})
    async with async_client_with(auth) as application:
        ends = await asyncio.gather(*(application.get("/profile") for _ in range(20)), return_exceptions=True)
    assert all(isinstance(end, SessionEnded) and end.reason == "logout" for end in ends)
    assert len({id(end) for end in ends}) == 20


def test_every_waiting_thread_gets_the_end(client: httpx.Client, proxy: Hostile, answer: dict[str, Any]) -> None:
    """Every waiting thread gets its own error object for one response, so tracebacks are not shared."""
    client.post("/logout", json={"refreshToken": answer["refreshToken"]})
    store = MemoryTokens()
    keep(store, stale(tokens_of(answer, proxy.url)))
    proxy.play("hold")
    with client_with(Auth(proxy.url, store, timeout_s=PATIENCE_S)) as application, ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(application.get, "/profile") for _ in range(5)]
        assert proxy.arrived.acquire(timeout=PATIENCE_S)
        proxy.release.wait(0.3)  # let the other threads start waiting
        proxy.release.set()
        ends = [each.exception(PATIENCE_S) for each in asked]
    assert [type(end) for end in ends] == [SessionEnded] * 5
    assert len({id(end) for end in ends}) == 5


def test_a_refresh_token_that_the_service_does_not_know_is_kept(
    server: Server, store: TokenStore, answer: dict[str, Any]
) -> None:
    """An unknown refresh token is kept and raises `InvalidToken`, because the service may be misconfigured."""
    tokens = stale(tokens_of(answer | {"refreshToken": answer["accessToken"]}, server.url))
    keep(store, tokens)
    with client_with(Auth(server.url, store)) as application, pytest.raises(InvalidToken):
        application.get("/profile")
    assert load_tokens(store) == tokens


# --- which requests are repeated


class Elsewhere(httpx.BaseTransport):
    """A resource server without Handstamp that refuses tokens in its own form. It reads a request body as a connection does."""

    def __init__(self, challenge: dict[str, str], *, refuses: Callable[[str], bool] = lambda _: True) -> None:
        """Refuse with the headers `challenge` the tokens for which `refuses` returns True."""
        self.challenge = challenge
        self.refuses = refuses
        self.seen: list[bytes] = []
        """The bodies of the requests, in order."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        self.seen.append(b"".join(request.stream))
        if self.refuses(request.headers["authorization"].removeprefix("Bearer ")):
            return httpx.Response(401, headers=self.challenge, json={"error": "invalid_token"})
        return httpx.Response(200, content=self.seen[-1])


RFC_6750 = {"www-authenticate": 'Bearer realm="orders", error="invalid_token", error_description="The token is over"'}


def post_with_refused_token(server: Server, answer: dict[str, Any], content: Any) -> tuple[httpx.Response, list[bytes]]:
    """Post a body to a resource server that refuses the first token; return the response and the bodies it received."""
    store = MemoryTokens()
    tokens = tokens_of(answer, server.url)
    keep(store, tokens)
    elsewhere = Elsewhere(RFC_6750, refuses=lambda token: token == tokens.access_token)
    auth = Auth(server.url, store, origins=["https://orders.example.com"])
    with client_with(auth, transport=elsewhere) as application:
        return application.post("https://orders.example.com/orders", content=content), elsewhere.seen


def test_a_request_with_its_body_is_sent_again(server: Server, answer: dict[str, Any]) -> None:
    """A request is sent again after RFC 6750's `invalid_token`, even from a server without Handstamp."""
    came, seen = post_with_refused_token(server, answer, b"two of these")
    assert (came.status_code, came.content, len(seen)) == (200, b"two of these", 2)
    assert generation(server, answer["sessionId"]) == 1


def test_a_consumed_body_is_not_sent_again(server: Server, answer: dict[str, Any]) -> None:
    """A generator's body cannot be sent twice: the refusal is returned, and the next request uses the new token."""

    def pieces() -> Iterator[bytes]:
        yield b"two "
        yield b"of these"

    came, seen = post_with_refused_token(server, answer, pieces())
    assert (came.status_code, len(seen)) == (401, 1)
    assert generation(server, answer["sessionId"]) == 1


def test_a_second_refusal_is_returned(server: Server, answer: dict[str, Any]) -> None:
    """A request is repeated once. A new token that is refused is not renewed again, or the client would loop."""
    store = MemoryTokens()
    keep(store, tokens_of(answer, server.url))
    elsewhere = Elsewhere(RFC_6750)
    auth = Auth(server.url, store, origins=["https://orders.example.com"])
    with client_with(auth, transport=elsewhere) as application:
        for requests in (2, 3, 4):
            assert application.get("https://orders.example.com/").status_code == 401
            assert len(elsewhere.seen) == requests
    assert generation(server, answer["sessionId"]) == 1


def test_other_refusals_are_returned(server: Server, answer: dict[str, Any]) -> None:
    """A missing scope or a challenge of another scheme causes no renewal."""
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
    """The client does not read the body of a response that is no refusal."""
    with client_with(auth, base_url=server.url) as application, application.stream("GET", "/profile") as response:
        assert (response.status_code, response.is_stream_consumed) == (200, False)
        assert b"session" in b"".join(response.iter_raw())


# --- which requests carry the token


def test_the_token_is_sent_to_its_origins_only(server: Server, answer: dict[str, Any]) -> None:
    """Requests to other hosts, ports or schemes carry no token."""
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
    """A redirect to another host carries no token, and a refusal from there causes no renewal."""
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
