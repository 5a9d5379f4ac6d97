"""A fail-over that loses the last commits: sessions continue, no session is lost, and stored revocations stay effective."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.outage import Nodes, patient_client
from tests.nodes import nodes_in
from tests.postgres import PostgresServer, fresh_database, own_server

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.xdist_group("fail-over")]
TRIALS = 5
_LOST_RENEWALS = 3


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL server that a test can replace with an older copy."""
    with own_server() as started:
        yield started


def copy_files(server: PostgresServer) -> Path:
    """Copy the server's files, like a replica that has lost its connection."""
    server.stop()
    copy = server.folder / "copy"
    shutil.copytree(server.data, copy, copy_function=_with_owner)
    shutil.copystat(server.data, copy)
    server.start()
    return copy


def fail_over(server: PostgresServer, copy: Path) -> None:
    """Replace the server with the copy."""
    server.kill()
    status = server.data.stat()
    shutil.rmtree(server.data)
    copy.rename(server.data)
    for path in (server.data, *server.data.rglob("*")):
        shutil.chown(path, status.st_uid, status.st_gid)
    server.start()


def _with_owner(source: str, target: str) -> str:
    return str(shutil.copy2(source, target))


async def test_the_last_commits_may_be_lost(server: PostgresServer, tmp_path: Path, count: Callable[[str], None]) -> None:
    """Clients are up to three refreshes ahead of the restored database. The nodes keep running."""
    async with (
        fresh_database(server.url) as url,
        nodes_in(tmp_path, url, ahead_s=(0, 0)) as servers,
        patient_client() as http,
    ):
        servers[0].register()
        nodes = Nodes(http, [f"http://localhost:{one.port}" for one in servers])
        staying = [await nodes.sign_in() for _ in range(6)]
        for _ in range(TRIALS):
            gone, forgotten = await nodes.sign_in(), await nodes.sign_in()
            await gone.sign_out_with_retries()
            copy = await asyncio.to_thread(copy_files, server)
            for ahead, device in enumerate(staying):
                for _ in range(ahead % (_LOST_RENEWALS + 1)):
                    await nodes.until_answered(device.renew)
            await forgotten.sign_out_with_retries()
            await asyncio.to_thread(fail_over, server, copy)
            for device in staying:
                await device.require_active()
                await device.require_active()
            await gone.require_ended()
            # The fail-over lost this sign-out. A second sign-out revokes the session permanently.
            await forgotten.sign_out_with_retries()
            await forgotten.require_ended()
    count(f"{TRIALS} fail-overs that lost the last commits, {len(staying)} sessions: {nodes.counts()}")
