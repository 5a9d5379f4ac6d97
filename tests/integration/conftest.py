"""One server a module, shared by its tests: each makes its own account. A module that needs other settings overrides `server`."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.helpers import Mint, client_of, mint_of, running
from tests.serving import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve with default settings for the length of a module."""
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """Return a client of the module's server that keeps no cookies."""
    with client_of(server) as client:
        yield client


@pytest.fixture(scope="module")
def mint(server: Server) -> Mint:
    """Return the keys of the module's server."""
    return mint_of(server)
