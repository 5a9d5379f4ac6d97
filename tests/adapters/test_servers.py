"""Adapters under real ASGI servers: how each server refuses a WebSocket, also in front of Django Channels."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.adapters.local import COOKIE
from tests.serving import free_port
from tests.verifying import SOON_S

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "uvicorn": ("-m", "uvicorn", "--log-level", "warning", "--port", "{port}"),
    "uvicorn h11": ("-m", "uvicorn", "--http", "h11", "--log-level", "warning", "--port", "{port}"),
    "daphne": ("-m", "daphne", "--port", "{port}"),
}
START_PATIENCE_S = 120
REFUSED = {"uvicorn": 401, "uvicorn h11": 401, "daphne": 403}
"""Daphne has no extension for the answer, so the socket is closed before it is accepted, which is 403 (ASGI)."""


@contextmanager
def serving(server: str, application: str, folder: Path) -> Iterator[int]:
    """Run an application of `served` or `served_channels` under a server; yield the port."""
    port = free_port()
    module = "served_channels" if application == "channels" else "served"
    command = [sys.executable, *(part.format(port=port) for part in COMMANDS[server]), f"tests.adapters.{module}:{application}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_PATIENCE_S
        while time.monotonic() < deadline:
            try:
                assert httpx.get(f"http://localhost:{port}/healthz", trust_env=False).status_code == 200
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                break
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("server", "application"), [*product(COMMANDS, ["fastapi", "asgi"]), ("daphne", "channels")])
def test_a_websocket_is_refused_by_every_server(server: str, application: str, tmp_path: Path) -> None:
    """A WebSocket needs one token, in the header or as a subprotocol; it is refused with a status. The server logs no error.

    The cookie does not count, whatever page opens the WebSocket.
    """
    with serving(server, application, tmp_path) as port:
        url = f"ws://localhost:{port}/{'live' if application == 'fastapi' else 'inner'}"
        token = httpx.get(f"http://localhost:{port}/token", trust_env=False).json()
        cookie = {"cookie": f"{COOKIE}={token}", "origin": f"http://localhost:{port}", "sec-fetch-site": "same-origin"}
        for headers in ({}, {"authorization": "Bearer rubbish"}, cookie):
            with pytest.raises(InvalidStatus) as refused:
                connect(url, additional_headers=headers, proxy=None)
            assert refused.value.response.status_code == REFUSED[server]
        with connect(url, additional_headers={"authorization": f"Bearer {token}"}, proxy=None) as socket:
            assert socket.recv() == "ada"
        offered = [Subprotocol("handstamp"), Subprotocol(f"handstamp.token.{token}")]
        with connect(url, subprotocols=offered, proxy=None) as socket:
            assert socket.recv() == "ada"
            assert socket.subprotocol == "handstamp"
        with pytest.raises(InvalidStatus):
            connect(url, subprotocols=offered, additional_headers={"authorization": f"Bearer {token}"}, proxy=None)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_socket_of_channels_ends_with_its_session(tmp_path: Path) -> None:
    """A consumer of Channels selects its own subprotocol, and is closed after the sign-out."""
    with serving("daphne", "channels", tmp_path) as port:
        url, site = f"ws://localhost:{port}/inner", f"http://localhost:{port}"
        token = httpx.get(f"{site}/token", trust_env=False).json()
        offered = [Subprotocol(name) for name in ("handstamp", f"handstamp.token.{token}", "chat")]
        with connect(url, subprotocols=offered, proxy=None) as socket:
            assert (socket.subprotocol, socket.recv()) == ("chat", "ada")
            httpx.get(f"{site}/sign-out", trust_env=False).raise_for_status()
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=SOON_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401  # Daphne leaves out the reason
        with pytest.raises(InvalidStatus):
            connect(url, subprotocols=offered, proxy=None)
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("server", ["uvicorn", "uvicorn h11"])
def test_a_request_that_offers_an_upgrade_has_its_body(server: str, tmp_path: Path) -> None:
    """docs/how-to/uvicorn.md recommends h11: with httptools, the body of such a request is lost."""
    with serving(server, "fastapi", tmp_path) as port:
        token = httpx.get(f"http://localhost:{port}/token", trust_env=False).json()
        upgrade = {"connection": "Upgrade", "upgrade": "h2c", "authorization": f"Bearer {token}"}
        answer = httpx.post(f"http://localhost:{port}/length", headers=upgrade, content=b"an order", trust_env=False)
        assert answer.text == ("8" if server == "uvicorn h11" else "0")
