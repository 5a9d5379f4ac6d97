"""Fixtures that several kinds of test share. Everything is real: files, sockets, processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.serving import Server


@pytest.fixture
def anyio_backend() -> str:
    """Run `async` tests on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Give the URL of a real PostgreSQL server, one for all test processes."""
    with postgres.server() as url:
        yield url


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Return a function that starts `handstamp serve` in a fresh folder; all of them are stopped at the end."""
    started: list[Server] = []

    def start(*options: str, **environment: str) -> Server:
        server = Server(tmp_path, *options, **environment)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.kill()
