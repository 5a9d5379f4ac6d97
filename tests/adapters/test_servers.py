"""Adapters under real ASGI servers: how each server refuses a WebSocket, also in front of Django Channels."""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.adapters.local import COOKIE
from tests.serving import free_port, listens
from tests.verifying import SOON_S, eventually

pytestmark = pytest.mark.xdist_group("servers")
ROOT = Path(__file__).parents[2]
APPLICATION, CHANNELS = "tests.adapters.served:application", "tests.adapters.served_channels:channels"
COMMANDS = {
    "uvicorn": ("uvicorn", APPLICATION, "--log-level", "warning", "--port", "{port}"),
    "uvicorn h11": ("uvicorn", APPLICATION, "--http", "h11", "--log-level", "warning", "--port", "{port}"),
    "daphne": ("daphne", APPLICATION, "--port", "{port}"),
    "channels": ("daphne", CHANNELS, "--port", "{port}"),
}
REFUSED = {"uvicorn": 401, "uvicorn h11": 401, "daphne": 403, "channels": 403}
"""Daphne has no extension for the answer, so the socket is closed before it is accepted, which is 403 (ASGI)."""


@pytest.fixture(scope="module")
def port_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], int]]:
    """Return a function that starts `served` or `served_channels` under a server once, and returns its port."""
    with ExitStack() as running:
        yield functools.cache(lambda name: running.enter_context(started(name, tmp_path_factory.mktemp("server") / "log")))


@contextmanager
def started(name: str, log: Path) -> Iterator[int]:
    """Run a server for the length of a `with` block. It logs no error."""
    port = free_port()
    command = [sys.executable, "-m", *(part.format(port=port) for part in COMMANDS[name])]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        assert eventually(lambda: listens(port)), log.read_text()
        yield port
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


@pytest.fixture(params=COMMANDS)
def server(request: pytest.FixtureRequest, port_of: Callable[[str], int]) -> tuple[str, int]:
    """Return the name and the port of a server."""
    return request.param, port_of(request.param)


@pytest.fixture
def client(server: tuple[str, int]) -> Iterator[httpx.Client]:
    """Return a client of the server."""
    with httpx.Client(base_url=f"http://localhost:{server[1]}", trust_env=False, verify=False) as client:
        yield client


@pytest.mark.parametrize(
    ("server", "path"),
    [*itertools.product(["uvicorn", "uvicorn h11", "daphne"], ["/live", "/inner"]), ("channels", "/inner")],
    indirect=["server"],
)
def test_a_websocket_is_refused_by_every_server(server: tuple[str, int], client: httpx.Client, path: str) -> None:
    """A WebSocket needs one token, in the header or as a subprotocol; it is refused with a status.

    The cookie does not count, whatever page opens the WebSocket.
    """
    name, port = server
    url = f"ws://localhost:{port}{path}"
    token = client.get("/token").json()
    cookie = {"cookie": f"{COOKIE}={token}", "origin": f"http://localhost:{port}", "sec-fetch-site": "same-origin"}
    for headers in ({}, {"authorization": "Bearer rubbish"}, cookie):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, additional_headers=headers, proxy=None)
        assert refused.value.response.status_code == REFUSED[name]
    with connect(url, additional_headers={"authorization": f"Bearer {token}"}, proxy=None) as socket:
        assert socket.recv() == "ada"
    offered = [Subprotocol("handstamp"), Subprotocol(f"handstamp.token.{token}")]
    with connect(url, subprotocols=offered, proxy=None) as socket:
        assert socket.recv() == "ada"
        assert socket.subprotocol == "handstamp"
    with pytest.raises(InvalidStatus):
        connect(url, subprotocols=offered, additional_headers={"authorization": f"Bearer {token}"}, proxy=None)


@pytest.mark.parametrize("server", ["channels"], indirect=True)
def test_a_socket_of_channels_ends_with_its_session(server: tuple[str, int], client: httpx.Client) -> None:
    """A consumer of Channels selects its own subprotocol, and is closed after the sign-out."""
    url, token = f"ws://localhost:{server[1]}/inner", client.get("/token").json()
    offered = [Subprotocol(name) for name in ("handstamp", f"handstamp.token.{token}", "chat")]
    with connect(url, subprotocols=offered, proxy=None) as socket:
        assert (socket.subprotocol, socket.recv()) == ("chat", "ada")
        client.get("/sign-out").raise_for_status()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=SOON_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401  # Daphne leaves out the reason
    with pytest.raises(InvalidStatus):
        connect(url, subprotocols=offered, proxy=None)


@pytest.mark.parametrize("server", ["uvicorn", "uvicorn h11"], indirect=True)
def test_a_request_that_offers_an_upgrade_has_its_body(server: tuple[str, int], client: httpx.Client) -> None:
    """docs/how-to/uvicorn.md recommends h11: with httptools, the body of such a request is lost."""
    token = client.get("/token").json()
    upgrade = {"connection": "Upgrade", "upgrade": "h2c", "authorization": f"Bearer {token}"}
    answer = client.post("/length", headers=upgrade, content=b"an order")
    assert answer.text == ("8" if server[0] == "uvicorn h11" else "0")
