"""Fixtures: one service and all examples, for modules that only send requests."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.adapters import django_project  # noqa: F401 - configures Django before any module uses it
from tests.adapters.examples import COMMANDS, Applications, all_examples
from tests.integration.helpers import Mint, client_of, mint_of
from tests.serving import Server


@pytest.fixture(scope="package")
def server(default_server: Server) -> Server:
    """Return the default server. Failed attempts of other files would delay the sign-ins here: all come from one address."""
    default_server.forget_failures()
    return default_server


@pytest.fixture(scope="package")
def client(server: Server) -> Iterator[httpx.Client]:
    """Return a client of the service that keeps no cookies."""
    with client_of(server) as client:
        yield client


@pytest.fixture(scope="package")
def mint(server: Server) -> Mint:
    """Return the keys of the service."""
    return mint_of(server)


@pytest.fixture(scope="package")
def applications(server: Server) -> Iterator[Applications]:
    """Run every example."""
    with all_examples(server) as applications:
        yield applications


@pytest.fixture(params=COMMANDS)
def application(request: pytest.FixtureRequest, applications: Applications) -> httpx.Client:
    """Return a client of each example in turn."""
    return applications[request.param]
