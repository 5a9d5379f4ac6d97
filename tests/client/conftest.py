"""Fixtures: one service for all tests of the client, and a hostile proxy in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.client import FileTokens, MemoryTokens, TokenStore
from tests.client.helpers import Do, do_asyncio, do_sync, do_trio, sign_in_new_account
from tests.client.hostile import Hostile
from tests.integration.helpers import Mint, client_of, mint_of
from tests.serving import Server


@pytest.fixture(autouse=True)
def time_limit(in_time: None) -> None:
    """Fail a test that waits too long for a lock, the service or a disk."""


@pytest.fixture(scope="package")
def server(default_server: Server) -> Server:
    """Return the default server. Failed attempts of other files would delay the sign-ins here: all come from one address."""
    default_server.forget_failures()
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
    """Return a new proxy that passes everything on.

    It has its own port, so the client remembers no failure of an earlier test for it.
    """
    with Hostile(server.port).running() as proxy:
        yield proxy


@pytest.fixture
def answer(client: httpx.Client) -> dict[str, Any]:
    """Return the token response of a new sign-in."""
    return sign_in_new_account(client)


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TokenStore:
    """Return an empty store of each kind."""
    return MemoryTokens() if request.param == "memory" else FileTokens(tmp_path / "tokens.json")


@pytest.fixture(params=[do_sync, do_asyncio, do_trio], ids=["sync", "asyncio", "trio"])
def do(request: pytest.FixtureRequest) -> Do:
    """Return each way to call a method of `Auth.accounts`."""
    way: Do = request.param
    return way
