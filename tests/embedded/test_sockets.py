"""What stays open in another service ends too: by the feed, on real sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from handstamp import ConfigurationError, Verifier
from handstamp.verify.asgi import HandstampMiddleware
from handstamp.verify.sockets import EndWithSession
from tests.serving import Server, free_port
from tests.verifying import SOON_S, credential_for, eventually, verifier_of

pytestmark = pytest.mark.xdist_group("sockets")
EVERY_S = 0.05


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Echo on a socket; stream without an end; or answer at once."""
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
        finally:  # as an application that tidies up and tries to send once more
            await send({"type": "http.response.body", "body": b"line\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"done"})


async def until_gone(scope: Any, receive: Any, send: Any) -> None:
    """Open what stays open, and wait until the other side has gone away."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})
    while (await receive())["type"] not in ("websocket.disconnect", "http.disconnect"):
        pass


async def stubborn(scope: Any, receive: Any, send: Any) -> None:
    """Do the same, and go on whoever wants it to stop."""
    gone = asyncio.create_task(until_gone(scope, receive, send))
    while not gone.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(gone)


polite = FastAPI()


@polite.websocket("/")
async def say_goodbye(socket: WebSocket) -> None:
    """Say a last word, for which it is too late when the session has ended: Starlette raises an error of its own."""
    await socket.accept()
    try:
        await socket.receive_text()
    finally:
        await socket.send_text("goodbye")


@contextmanager
def served(verifier: Verifier, application: Any = application, **options: Any) -> Iterator[str]:
    """Serve an application behind a verifier; give its address."""
    ending = EndWithSession(application, verifier=verifier, interval_s=EVERY_S, **options)
    with listening(HandstampMiddleware(ending, verifier=verifier)) as address:
        yield address


@contextmanager
def listening(app: Any) -> Iterator[str]:
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
    """Run a service with one account; who kills it starts it again."""
    server = Server(tmp_path_factory.mktemp("service")).start()
    assert server.register().status_code == 201
    yield server
    server.kill()


@pytest.fixture
def verifier(service: Server, request: pytest.FixtureRequest) -> Iterator[Verifier]:
    """Follow the service's feed."""
    with verifier_of(service.url, credential=credential_for(service, request.node.name)) as following:
        yield following


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    """Return the header that carries an access token."""
    return {"authorization": f"Bearer {tokens['accessToken']}"}


def sign_out(service: Server, tokens: dict[str, Any]) -> None:
    """End a session where it was started."""
    with service.client() as client:
        assert client.post("/logout", headers=bearer(tokens)).status_code == 204


def socket_at(address: str, tokens: dict[str, Any]) -> Any:
    """Open a socket."""
    return connect(f"ws://{address}/", additional_headers=bearer(tokens), proxy=None)


def closed_with(socket: Any) -> tuple[int, str]:
    """Wait until a socket is closed by the other side, and return code and reason."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=SOON_S)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_a_socket_elsewhere_ends_with_its_session(service: Server, verifier: Verifier) -> None:
    """Signed out at the service, closed here; another session of the same person goes on."""
    mine, other = service.login(), service.login()
    with served(verifier) as address, socket_at(address, mine) as socket, socket_at(address, other) as others:
        for each in (socket, others):
            each.send("hello")
            assert each.recv(timeout=SOON_S) == "hello"
        sign_out(service, mine)
        assert closed_with(socket) == (4401, "session_ended")
        others.send("still here")
        assert others.recv(timeout=SOON_S) == "still here"


def test_a_socket_that_nobody_can_confirm_is_closed_after_a_while(service: Server, verifier: Verifier) -> None:
    """Not as ended, for nobody has said so: 1013, try again later."""
    with served(verifier, timeout_s=0.5) as address, socket_at(address, service.login()) as socket:
        service.kill()
        assert closed_with(socket) == (1013, "unavailable")
    service.start()


def test_a_socket_outlives_a_short_outage(service: Server, verifier: Verifier) -> None:
    """Within its patience a socket stays open, and goes on when the service is back."""
    with served(verifier, timeout_s=60) as address, socket_at(address, tokens := service.login()) as socket:
        service.kill()
        assert eventually(lambda: (verifier.status().feed_age_s or 0) > 4)
        socket.send("in the dark")
        assert socket.recv(timeout=SOON_S) == "in the dark"
        service.start()
        sign_out(service, tokens)
        assert closed_with(socket) == (4401, "session_ended")


def test_an_application_may_close_by_itself(service: Server, verifier: Verifier) -> None:
    """Its code and reason count."""
    with served(verifier) as address, socket_at(address, service.login()) as socket:
        socket.send("close")
        assert closed_with(socket) == (1000, "asked to")


def test_a_download_ends_without_an_event(service: Server, verifier: Verifier) -> None:
    """What is no event stream ends where it stood, though the application tries to send more; a quick answer is untouched."""
    tokens = service.login()
    with served(verifier) as address, httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=SOON_S) as client:
        assert client.get("/", headers=bearer(tokens)).text == "done"
        with client.stream("GET", "/lines", headers=bearer(tokens)) as answer:
            chunks = answer.iter_text()
            assert next(chunks) == "line\n"
            sign_out(service, tokens)
            assert "".join(chunks) == ""


def test_an_application_that_will_not_stop_keeps_nothing_open(service: Server, verifier: Verifier) -> None:
    """As one whose plain generator waits in its thread for the next event: its connections are closed without it."""
    tokens = service.login()
    options: dict[str, Any] = {"headers": bearer(tokens), "trust_env": False, "timeout": SOON_S}
    with (
        served(verifier, stubborn) as address,
        socket_at(address, tokens) as socket,
        httpx.stream("GET", f"http://{address}/", **options) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "data: tick"
        sign_out(service, tokens)
        assert list(lines)[-3:] == ["event: session_ended", 'data: {"code": "session_ended"}', ""]
        assert closed_with(socket) == (4401, "session_ended")


def test_what_an_application_raises_on_its_way_out_changes_no_code(service: Server, verifier: Verifier) -> None:
    """It is closed with 4401, not as a failure of the server."""
    tokens = service.login()
    with served(verifier, polite) as address, socket_at(address, tokens) as socket:
        sign_out(service, tokens)
        assert closed_with(socket) == (4401, "session_ended")


def test_claims_are_found_by_whoever_stands_outside(service: Server, verifier: Verifier) -> None:
    """Also where a framework between the two hands on a copy of the scope, and the server has put no state into it."""
    tokens = service.login()
    inside = HandstampMiddleware(application, verifier=verifier)

    async def copying(scope: Any, receive: Any, send: Any) -> None:
        await inside(dict(scope), receive, send)

    outside = EndWithSession(copying, verifier=verifier, interval_s=EVERY_S)

    async def without_state(scope: Any, receive: Any, send: Any) -> None:
        await outside({name: value for name, value in scope.items() if name != "state"}, receive, send)

    with listening(without_state) as address, socket_at(address, tokens) as socket:
        sign_out(service, tokens)
        assert closed_with(socket) == (4401, "session_ended")


def test_a_verifier_that_hears_of_nothing_is_refused() -> None:
    """It would never close anything, and nobody would notice."""
    with pytest.raises(ConfigurationError, match="give it a credential"):
        EndWithSession(application, verifier=Verifier("https://auth.example.com", audience="api", check="offline"))
