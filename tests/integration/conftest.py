"""Fixtures of the integration tests: the default server, unless a module overrides `server` with other settings."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.helpers import Mint, client_of, mint_of
from tests.serving import Server


@pytest.fixture(scope="module")
def server(default_server: Server) -> Server:
    """Return the default server. Failed attempts of other files would delay the sign-ins here: all come from one address."""
    default_server.forget_failures()
    return default_server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """Yield a client of the module's server that stores no cookies."""
    with client_of(server) as client:
        yield client


@pytest.fixture(scope="module")
def mint(server: Server) -> Mint:
    """Return the keys of the module's server."""
    return mint_of(server)
