"""A fail-over that loses the last commits: sessions catch up, nobody is signed out, and ends that survived still hold."""

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
    """Run a PostgreSQL server that may be replaced by an older one."""
    with own_server() as started:
        yield started


def copied(server: PostgresServer) -> Path:
    """Copy the server's files, as a replica has them that then hears no more."""
    server.stop()
    copy = server.folder / "copy"
    shutil.copytree(server.data, copy, copy_function=_with_owner)
    shutil.copystat(server.data, copy)
    server.start()
    return copy


def fail_over(server: PostgresServer, copy: Path) -> None:
    """Let the copy take over."""
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
    """Clients are ahead of the database by up to three renewals, and the nodes go on running."""
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
            await gone.leaves()
            copy = await asyncio.to_thread(copied, server)
            for ahead, device in enumerate(staying):
                for _ in range(ahead % (_LOST_RENEWALS + 1)):
                    await nodes.until_answered(device.renew)
            await forgotten.leaves()
            await asyncio.to_thread(fail_over, server, copy)
            for device in staying:
                await device.goes_on()
                await device.goes_on()
            await gone.is_out()
            # Its end is lost with the commit that held it, and asking again ends it for good.
            await forgotten.leaves()
            await forgotten.is_out()
    count(f"{TRIALS} fail-overs that lost the last commits, {len(staying)} sessions: {nodes.counts()}")
