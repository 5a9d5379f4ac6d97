"""A crowd of clients on three nodes; every answer is checked against the rules of sessions. `make soak` runs it for longer."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import PATIENCE_S
from tests.crowd import Crowd
from tests.cutting import CuttingProxy
from tests.history import Operation, violations
from tests.nodes import kill_nodes, nodes_in
from tests.postgres import PostgresServer, fresh_database, own_server
from tests.serving import Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.anyio,
    pytest.mark.xdist_group("history"),
    # from the crowd's own clients, when one times out while it connects
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <(socket|function _SelectorTransport):pytest.PytestUnraisableExceptionWarning"
    ),
]
SECONDS = float(os.environ.get("HANDSTAMP_TEST_SOAK_SECONDS", "2"))
"""Minimum duration of each test, in seconds."""
GRACE_S = 10.0
RENEWALS = 100
"""How many refreshes must succeed in each test: it goes on until they have, however slow the machine is."""
NODE_KILLS, POSTGRES_ENDS, CUTS = 20, 8, 24
"""Minimum number of faults in each test: each meets some of eighteen busy devices in the middle of a change."""
Trouble = Callable[[list[Server], random.Random], Awaitable[str]]


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """Run a PostgreSQL server that a test can stop."""
    with own_server() as server:
        yield server


async def check(nodes: list[Server], trouble: Trouble, where: str, count: Callable[[str], None]) -> None:
    """Run a crowd during a fault and until it has done enough, and check its history."""
    seed = random.SystemRandom().getrandbits(32)
    crowd = Crowd([f"http://localhost:{node.port}" for node in nodes], issuer=nodes[0].settings["ISSUER"], seed=seed)

    async def go_on() -> str:
        what = await trouble(nodes, random.Random(seed))
        async with asyncio.timeout(PATIENCE_S):
            while not is_enough(crowd.history):  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.05)
        return what

    what = await crowd.run(go_on())
    count(f"{what}, {len(nodes)} nodes on {where}, seed {seed}: {crowd.counts()}")
    assert violations(crowd.history, grace_s=GRACE_S) == [], f"seed {seed}"
    for node in nodes:
        assert "Traceback" not in node.log.read_text(), "an outage is no surprise, and a line of the log says what it was"


def is_enough(history: list[Operation]) -> bool:
    """Return True if refreshes have succeeded often enough, and a device has signed out."""
    renewals = sum(operation.kind == "refresh" and operation.answer == "ok" for operation in history)
    return renewals >= RENEWALS and any(operation.reason == "logout" for operation in history)


async def quiet(_: list[Server], __: random.Random) -> str:
    """Cause no fault."""
    await asyncio.sleep(SECONDS)
    return "no trouble"


def make_killing(at_least: int) -> Trouble:
    """Return a fault that kills nodes, at least so many times."""

    async def killing(nodes: list[Server], chance: random.Random) -> str:
        return f"{await kill_nodes(nodes, chance, seconds=SECONDS, at_least=at_least)} kills of nodes"

    return killing


@pytest.mark.parametrize("trouble", [quiet, make_killing(5)], ids=["quiet", "killed"])
async def test_answers_under_concurrency_follow_the_rules_on_sqlite(
    trouble: Trouble, tmp_path: Path, count: Callable[[str], None]
) -> None:
    """On all nodes, no acknowledged rotation is lost, no chain forks, and no request succeeds after an acknowledged sign-out."""
    async with nodes_in(tmp_path, f"sqlite:///{tmp_path}/handstamp.db") as nodes:
        await check(nodes, trouble, "SQLite", count)


@pytest.mark.parametrize("trouble", [quiet, make_killing(NODE_KILLS)], ids=["quiet", "killed"])
async def test_answers_under_concurrency_follow_the_rules_on_postgresql(
    trouble: Trouble, postgres_server: str, tmp_path: Path, count: Callable[[str], None]
) -> None:
    """PostgreSQL keeps the same rules as SQLite."""
    async with fresh_database(postgres_server) as url, nodes_in(tmp_path, url) as nodes:
        await check(nodes, trouble, "PostgreSQL", count)


async def test_clocks_of_nodes_may_differ(postgres_server: str, tmp_path: Path, count: Callable[[str], None]) -> None:
    """With clocks off by ±20 s, no retry counts as theft, no ended session is accepted, and no valid token is refused."""
    async with fresh_database(postgres_server) as url, nodes_in(tmp_path, url, ahead_s=(0, 20, -20)) as nodes:
        await check(nodes, quiet, "PostgreSQL, clocks 0, +20 s and -20 s", count)


async def test_postgresql_may_be_stopped_and_killed(
    own_postgres: PostgresServer, tmp_path: Path, count: Callable[[str], None]
) -> None:
    """No acknowledged change is lost, no client that retries is signed out, and all nodes recover without a restart."""

    async def ending(_: list[Server], chance: random.Random) -> str:
        end = asyncio.get_running_loop().time() + SECONDS
        ends = [0, 0]
        while sum(ends) < POSTGRES_ENDS or asyncio.get_running_loop().time() < end:
            await asyncio.sleep(chance.uniform(0.2, 0.8))
            is_killed = sum(ends) % 2
            ends[is_killed] += 1
            await asyncio.to_thread(own_postgres.kill if is_killed else own_postgres.stop)
            await asyncio.sleep(chance.uniform(0, 0.5))
            await asyncio.to_thread(own_postgres.start)
        return f"{ends[0]} stops and {ends[1]} kills of PostgreSQL"

    async with fresh_database(own_postgres.url) as url, nodes_in(tmp_path, url) as nodes:
        await check(nodes, ending, "PostgreSQL", count)


async def test_connections_may_be_cut_in_the_middle_of_a_commit(
    postgres_server: str, tmp_path: Path, count: Callable[[str], None]
) -> None:
    """The outcome of a commit is unknown if its connection is cut before or after it. A retry is safe in both cases."""
    async with fresh_database(postgres_server) as url, CuttingProxy(url) as proxy:

        async def cutting(_: list[Server], __: random.Random) -> str:
            end = asyncio.get_running_loop().time() + SECONDS
            proxy.chance = 0.2
            while min(proxy.cuts.values()) < CUTS / 2 or asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.05)
            proxy.chance = 0.0
            return f"{proxy.cuts['before']} connections cut before a commit and {proxy.cuts['after']} after"

        async with nodes_in(tmp_path, proxy.url) as nodes:
            await check(nodes, cutting, "PostgreSQL", count)
