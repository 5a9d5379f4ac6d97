"""Open sockets and streams of another service end with their session, by the feed. All sockets are real."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
import trio
import uvicorn
from fastapi import FastAPI, WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from handstamp import AccessClaims, ConfigurationError, SessionEnded, Verifier
from handstamp.testing import LocalIssuer
from handstamp.verify import sockets
from handstamp.verify.asgi import HandstampMiddleware
from handstamp.verify.sockets import EndWithSession
from tests.serving import Server, free_port
from tests.verifying import SOON_S, credential_for, eventually, verifier_of

pytestmark = pytest.mark.xdist_group("sockets")
EVERY_S = 0.05
CLAIMS: dict[str, Any] = {
    "iss": "https://auth.example.com",
    "aud": "api",
    "sub": "ada",
    "client_id": "a",
    "iat": 0,
    "jti": "j",
    "sid": "s",
    "auth_time": 0,
}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Echo on a socket, send an endless stream, or answer at once."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message["text"] == "close":
                await send({"type": "websocket.close", "code": 1000, "reason": "asked to"})
                return
            await send({"type": "websocket.send", "text": message["text"]})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if scope["path"] == "/lines":
        await send({"type": "http.response.body", "body": b"line\n", "more_body": True})
        try:
            await asyncio.sleep(3600)
        finally:  # like an application that sends once more during its cleanup
            await send({"type": "http.response.body", "body": b"line\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"done"})


async def until_gone(scope: Any, receive: Any, send: Any) -> None:
    """Open a socket or an event stream, and wait until the client disconnects."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})
    while (await receive())["type"] not in ("websocket.disconnect", "http.disconnect"):
        pass


async def stubborn(scope: Any, receive: Any, send: Any) -> None:
    """Do the same as `until_gone`, but ignore cancellation."""
    gone = asyncio.create_task(until_gone(scope, receive, send))
    while not gone.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(gone)


polite = FastAPI()


@polite.websocket("/")
async def say_goodbye(socket: WebSocket) -> None:
    """Send a last message. If the session has ended, the socket is closed and Starlette raises its own error."""
    await socket.accept()
    try:
        await socket.receive_text()
    finally:
        await socket.send_text("goodbye")


@contextmanager
def serve_with_verifier(verifier: Verifier, application: Any = application, **options: Any) -> Iterator[str]:
    """Serve an application behind the middleware of a verifier; give its address."""
    ending = EndWithSession(application, verifier=verifier, interval_s=EVERY_S, **options)
    with serve_application(HandstampMiddleware(ending, verifier=verifier)) as address:
        yield address


@contextmanager
def serve_application(app: Any) -> Iterator[str]:
    """Serve an application; give its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert eventually(lambda: server.started)
        yield f"localhost:{port}"
    finally:
        server.should_exit = True
        thread.join(SOON_S)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service with one account. A test that kills it must start it again."""
    server = Server(tmp_path_factory.mktemp("service")).start()
    assert server.register().status_code == 201
    yield server
    server.kill()


@pytest.fixture
def verifier(service: Server, request: pytest.FixtureRequest) -> Iterator[Verifier]:
    """Open a verifier that follows the service's feed."""
    with verifier_of(service.url, credential=credential_for(service, request.node.name)) as following:
        yield following


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    """Return the header that carries an access token."""
    return {"authorization": f"Bearer {tokens['accessToken']}"}


def sign_out(service: Server, tokens: dict[str, Any]) -> None:
    """End a session at the service."""
    with service.client() as client:
        assert client.post("/logout", headers=bearer(tokens)).status_code == 204


def socket_at(address: str, tokens: dict[str, Any]) -> Any:
    """Open a WebSocket."""
    return connect(f"ws://{address}/", additional_headers=bearer(tokens), proxy=None)


def wait_for_close(socket: Any) -> tuple[int, str]:
    """Wait until the server closes a socket; return the code and the reason."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=SOON_S)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_a_socket_elsewhere_ends_with_its_session(service: Server, verifier: Verifier) -> None:
    """A sign-out at the service closes the socket in another process. Another session of the same person stays open."""
    mine, other = service.login(), service.login()
    with serve_with_verifier(verifier) as address, socket_at(address, mine) as socket, socket_at(address, other) as others:
        for each in (socket, others):
            each.send("hello")
            assert each.recv(timeout=SOON_S) == "hello"
        sign_out(service, mine)
        assert wait_for_close(socket) == (4401, "session_ended")
        others.send("still here")
        assert others.recv(timeout=SOON_S) == "still here"


def test_an_unconfirmed_socket_is_closed_after_max_staleness(service: Server, verifier: Verifier) -> None:
    """If the verifier cannot check the session, the socket is closed with 1013 (try again later), not as revoked."""
    with serve_with_verifier(verifier, timeout_s=0.5) as address, socket_at(address, service.login()) as socket:
        service.kill()
        assert wait_for_close(socket) == (1013, "unavailable")
    service.start()


@pytest.mark.slow
def test_a_socket_outlives_a_short_outage(service: Server, verifier: Verifier) -> None:
    """A socket stays open during an outage that is shorter than its limit, and works afterwards."""
    with serve_with_verifier(verifier, timeout_s=60) as address, socket_at(address, tokens := service.login()) as socket:
        service.kill()
        assert eventually(lambda: (verifier.status().feed_age_s or 0) > 4)
        socket.send("in the dark")
        assert socket.recv(timeout=SOON_S) == "in the dark"
        service.start()
        sign_out(service, tokens)
        assert wait_for_close(socket) == (4401, "session_ended")


def test_an_application_may_close_its_socket(service: Server, verifier: Verifier) -> None:
    """The client gets the application's own code and reason."""
    with serve_with_verifier(verifier) as address, socket_at(address, service.login()) as socket:
        socket.send("close")
        assert wait_for_close(socket) == (1000, "asked to")


def test_a_download_ends_without_an_event(service: Server, verifier: Verifier) -> None:
    """A download is cut off when its session ends, even if the application sends more. A short answer is complete."""
    tokens = service.login()
    with (
        serve_with_verifier(verifier) as address,
        httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=SOON_S) as client,
    ):
        assert client.get("/", headers=bearer(tokens)).text == "done"
        with client.stream("GET", "/lines", headers=bearer(tokens)) as answer:
            chunks = answer.iter_text()
            assert next(chunks) == "line\n"
            sign_out(service, tokens)
            assert "".join(chunks) == ""


def test_an_application_that_ignores_the_end_is_disconnected(service: Server, verifier: Verifier) -> None:
    """Connections are closed even if the application ignores cancellation, like a generator that waits in a thread."""
    tokens = service.login()
    options: dict[str, Any] = {"headers": bearer(tokens), "trust_env": False, "timeout": SOON_S}
    with (
        serve_with_verifier(verifier, stubborn) as address,
        socket_at(address, tokens) as socket,
        httpx.stream("GET", f"http://{address}/", **options) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "data: tick"
        sign_out(service, tokens)
        assert list(lines)[-3:] == ["event: session_ended", 'data: {"code": "session_ended"}', ""]
        assert wait_for_close(socket) == (4401, "session_ended")


def test_an_exception_while_closing_keeps_the_close_code(service: Server, verifier: Verifier) -> None:
    """An error that the application raises after the end does not change the close code 4401."""
    tokens = service.login()
    with serve_with_verifier(verifier, polite) as address, socket_at(address, tokens) as socket:
        sign_out(service, tokens)
        assert wait_for_close(socket) == (4401, "session_ended")


def test_claims_are_visible_to_outer_middleware(service: Server, verifier: Verifier) -> None:
    """Outer middleware finds the claims, even if a framework copies the scope or the server sets no state in it."""
    tokens = service.login()
    inside = HandstampMiddleware(application, verifier=verifier)

    async def copying(scope: Any, receive: Any, send: Any) -> None:
        await inside(dict(scope), receive, send)

    outside = EndWithSession(copying, verifier=verifier, interval_s=EVERY_S)

    async def without_state(scope: Any, receive: Any, send: Any) -> None:
        await outside({name: value for name, value in scope.items() if name != "state"}, receive, send)

    with serve_application(without_state) as address, socket_at(address, tokens) as socket:
        sign_out(service, tokens)
        assert wait_for_close(socket) == (4401, "session_ended")


class Waking:
    """A verifier that confirms every session. The machine is suspended for an hour at each look."""

    issuer, check, follows_feed, max_staleness_s = "https://auth.example.com", "feed", True, 30.0

    def __init__(self) -> None:
        """Start to count the time."""
        self.now_ms = 0

    async def confirm(self, _: object) -> None:
        """Confirm."""
        self.now_ms += 3600_000


def open_socket(verifier: Any, claims: Any, **options: Any) -> list[tuple[int | None, str | None]]:
    """Open a socket without a network, and return code and reason of each message until it is closed."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.sleep(0 if not sent else 3600)
        return {"type": "websocket.connect"}

    app = EndWithSession(until_gone, verifier=verifier, interval_s=0.001, **options)
    asyncio.run(app({"type": "websocket", "state": {"claims": claims}}, receive, send))
    return [(message.get("code"), message.get("reason")) for message in sent]


def test_a_socket_is_closed_if_the_end_of_its_session_may_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed reports an end for an hour. After a longer pause, a feed that is up to date says nothing about old ends."""
    waking = Waking()
    monkeypatch.setattr(sockets, "monotonic_ms", lambda: waking.now_ms)
    assert open_socket(waking, "those of a session") == [(None, None), (1013, "unavailable")]


class Ticking:
    """A verifier for which a second passes at each look. The session ends at the tenth."""

    issuer, check, follows_feed, max_staleness_s = "https://auth.example.com", "feed", True, 30.0

    def __init__(self) -> None:
        """Start to count the time."""
        self.looks = 0

    def now_ms(self) -> int:
        """Return the time."""
        return self.looks * 1000

    async def confirm(self, _: object) -> None:
        """Confirm, nine times."""
        self.looks += 1
        if self.looks == 10:
            raise SessionEnded


@pytest.mark.parametrize(("outlives_token", "reason", "looks"), [(True, "session_ended", 10), (False, "expired_token", 3)])
def test_a_socket_ends_with_its_token_if_the_application_says_so(outlives_token: bool, reason: str, looks: int) -> None:
    """Otherwise a copied token of a session that is bound to its browser opens one that lasts as long as the session."""
    ticking, claims = Ticking(), AccessClaims(**CLAIMS, exp=3)
    assert open_socket(ticking, claims, outlives_token=outlives_token) == [(None, None), (4401, reason)]
    assert ticking.looks == looks


@pytest.mark.parametrize("timeout_s", [3571, 10**6])
def test_a_timeout_longer_than_the_feeds_memory_is_refused(timeout_s: float) -> None:
    """An end during such an outage would never be learnt. The verifier's own staleness counts, too."""
    with pytest.raises(ConfigurationError, match="an hour"):
        EndWithSession(application, verifier=LocalIssuer().verifier, timeout_s=timeout_s)
    EndWithSession(application, verifier=LocalIssuer().verifier, timeout_s=3570)


def test_another_event_loop_is_refused_with_words() -> None:
    """Under trio it fails at the first message, which is that of the start, and not when a session ends."""
    app = EndWithSession(application, verifier=LocalIssuer().verifier)
    with pytest.raises(ConfigurationError, match="needs asyncio"):
        trio.run(app, {"type": "lifespan"}, None, None)  # type: ignore[arg-type]  # they are not used


def test_an_offline_verifier_is_refused() -> None:
    """A verifier without a feed would never close a socket, so it is refused."""
    with pytest.raises(ConfigurationError, match="give it a credential"):
        EndWithSession(application, verifier=Verifier("https://auth.example.com", audience="api", check="offline"))
