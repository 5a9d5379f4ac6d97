"""A crowd over three nodes, and everything it was told checked against the rules. `make soak` lets it run for long."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.crowd import Crowd
from tests.history import violations
from tests.postgres import fresh_database
from tests.serving import Server

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("history")]
SECONDS = float(os.environ.get("HANDSTAMP_TEST_SOAK_SECONDS", "8"))
GRACE_S = 10.0
NODES = 3


@asynccontextmanager
async def nodes_in(folder: Path, database: str) -> AsyncIterator[list[Server]]:
    """Run three nodes on one database."""
    settings = {"DATABASE": database, "ISSUER": "http://localhost:8000", "SECRET": "0123456789abcdef" * 4}
    nodes = []
    try:
        for number in range(NODES):
            (home := folder / f"node-{number}").mkdir()
            node = Server(home, **settings)
            await asyncio.to_thread(node.start)
            nodes.append(node)
        yield nodes
    finally:
        for node in nodes:
            node.kill()


async def kill_now_and_then(nodes: list[Server], chance: random.Random) -> int:
    """Kill a node, start it again, and so on until cancelled."""
    kills = 0
    try:
        while True:
            await asyncio.sleep(chance.uniform(0.2, 1))
            node = chance.choice(nodes)
            node.kill(signal.SIGKILL)
            kills += 1
            await asyncio.to_thread(node.start)
    except asyncio.CancelledError:
        return kills


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Give the URL of an empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/handstamp.db"
    else:
        async with fresh_database(request.getfixturevalue("postgres_server")) as url:
            yield url


@pytest.mark.parametrize("are_killed", [False, True], ids=["quiet", "killed"])
async def test_what_a_crowd_is_told_fits_the_rules(
    are_killed: bool, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every acknowledged rotation is remembered, no chain forks, and no success follows an acknowledged end, over all nodes."""
    seed = random.SystemRandom().getrandbits(32)
    async with (
        nodes_in(tmp_path, database) as nodes,
        httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=200)) as http,
    ):
        crowd = Crowd([f"http://localhost:{node.port}" for node in nodes], seed=seed, http=http)
        killing = asyncio.create_task(kill_now_and_then(nodes, random.Random(seed))) if are_killed else None
        await crowd.run(SECONDS)
        kills = 0
        if killing is not None:
            killing.cancel()
            kills = await killing
    with capsys.disabled():
        kind = database.partition(":")[0]
        print(f"\ncrowd over {NODES} nodes on {kind}, {kills} kills, seed {seed}: {crowd.counts()}")  # noqa: T201 - it is the result
    assert violations(crowd.history, grace_s=GRACE_S) == [], f"seed {seed}"
    assert sum(operation.kind == "refresh" and operation.answer == "ok" for operation in crowd.history) > 30
