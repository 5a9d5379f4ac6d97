"""All connections to PostgreSQL are in use or wait for a locked table: 503 in bounded time, and never "signed out"."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.faults.outage import Nodes, ask_everything, patient_client
from tests.nodes import nodes_in
from tests.postgres import fresh_database

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.xdist_group("pool")]
TRIALS = 3
_MANY = 30


async def test_an_exhausted_pool_ends_no_session(postgres_server: str, tmp_path: Path, count: Callable[[str], None]) -> None:
    """All connections of two nodes wait for a table that another program has locked, while many requests arrive."""
    async with (
        fresh_database(postgres_server) as url,
        nodes_in(tmp_path, url, ahead_s=(0, 0), settings={"DATABASE_CONNECTIONS": "2"}) as servers,
        patient_client() as http,
    ):
        servers[0].register()
        nodes = Nodes(http, [f"http://localhost:{server.port}" for server in servers])
        staying = [await nodes.sign_in() for _ in range(4)]
        holder = await asyncpg.connect(url)
        for _ in range(TRIALS):
            leaving, gone = await nodes.sign_in(), await nodes.sign_in()
            await gone.sign_out_with_retries()
            held = holder.transaction()
            await held.start()
            await holder.execute("LOCK TABLE session")
            asked = await asyncio.gather(
                ask_everything(nodes, staying[0], leaving),
                *(device.renew() for device in staying[1:] for _ in range(_MANY // 3)),
                *(gone.profile() for _ in range(_MANY)),
            )
            assert {answer.status_code for answer in asked[1:] if isinstance(answer, httpx.Response)} == {503}
            await held.rollback()
            for device in staying:
                await device.require_active()
            await leaving.sign_out_with_retries()
            await leaving.require_ended()
            await gone.require_ended()
        await holder.close()
    count(f"{TRIALS} times a table was held and two connections a node used up: {nodes.counts()}")
