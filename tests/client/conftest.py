"""One service for all of these tests, and a hostile proxy before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.client import FileTokens, MemoryTokens, TokenStore
from tests.client.helpers import somebodys_answer
from tests.client.hostile import Hostile
from tests.integration.helpers import Mint, client_of, mint_of
from tests.serving import Server


@pytest.fixture(autouse=True)
def nothing_hangs(in_time: None) -> None:
    """Nothing may wait for ever here: not for a lock, not for a service, not for a disk."""


@pytest.fixture(scope="package")
def server(default_server: Server) -> Server:
    """Return the default server."""
    return default_server


@pytest.fixture(scope="package")
def mint(server: Server) -> Mint:
    """Return the keys of the service."""
    return mint_of(server)


@pytest.fixture(scope="package")
def client(server: Server) -> Iterator[httpx.Client]:
    """Return a client of the service that keeps no cookies."""
    with client_of(server) as client:
        yield client


@pytest.fixture
def proxy(server: Server) -> Iterator[Hostile]:
    """Return a proxy with nothing up its sleeve, and which nobody has asked who was given up in an earlier test."""
    with Hostile(server.port).running() as proxy:
        yield proxy


@pytest.fixture
def answer(client: httpx.Client) -> dict[str, Any]:
    """Return the token answer of somebody who has just signed in."""
    return somebodys_answer(client)


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TokenStore:
    """Return an empty store of each kind."""
    return MemoryTokens() if request.param == "memory" else FileTokens(tmp_path / "tokens.json")
