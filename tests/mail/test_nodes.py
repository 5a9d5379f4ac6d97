"""Several nodes share one outbox, and a node that is killed loses no mail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from handstamp.assemble.deployment import Deployment
from handstamp.clock import now_ms
from handstamp.service.mailing.sender import LEASE_MS
from tests.builders import Clock
from tests.deployment import deployed
from tests.mail.helpers import SENDER, add_mail, sender_of, settings_for, until, waiting_in
from tests.mail_server import MailServer
from tests.postgres import fresh_database
from tests.serving import Server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_time")]
SECRET = "one secret of all nodes, 0123456789"


@pytest.fixture(params=["sqlite", "postgres"])
async def nodes(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, server: MailServer
) -> AsyncIterator[list[Deployment]]:
    """Open a service three times on one database."""
    async with AsyncExitStack() as opened:
        database = f"sqlite:///{tmp_path}/handstamp.db"
        if request.param == "postgres":
            database = await opened.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
        settings = settings_for(server, database=database, secret=SECRET)
        yield [await opened.enter_async_context(deployed(tmp_path, clock, **settings)) for _ in range(3)]


async def test_each_mail_is_sent_by_one_node(nodes: list[Deployment], server: MailServer) -> None:
    """All nodes look at once, and share the work."""
    for number in range(20):
        await add_mail(nodes[0], nodes[0].clock, to=f"person-{number}@example.com")
    await asyncio.gather(*(sender_of(node).send_due() for node in nodes))
    assert sorted(to for received in server.received for to in received.to) == sorted(
        f"person-{number}@example.com" for number in range(20)
    )
    assert server.connections > 1
    assert await waiting_in(nodes[0]) == []


async def test_a_killed_node_loses_no_mail(tmp_path: Path, server: MailServer) -> None:
    """It is killed with `kill -9` while it sends. Another node sends the mail once the claim has expired, and only once."""
    service = Server(
        tmp_path, ISSUER="http://localhost:8000", SMTP_URL=f"smtp://127.0.0.1:{server.port}", MAIL_FROM=SENDER, SECRET=SECRET
    )
    settings = settings_for(server, issuer="http://localhost:8000", secret=SECRET)
    later = Clock(now_ms() + LEASE_MS)
    await asyncio.to_thread(service.start)
    try:
        server.stalls_at = "END"
        async with deployed(tmp_path, later, **settings) as other:
            await add_mail(other, now_ms)
            await until(lambda: server.begun)
            service.kill()
            (claimed,) = await waiting_in(other)
            assert claimed.tries == 1
            server.stalls_at = ""
            later.advance(ms=claimed.created_at_ms + LEASE_MS - later() + 60_000)
            for _ in range(2):
                await sender_of(other).send_due()
                later.advance(ms=LEASE_MS)
    finally:
        service.stop()
    assert [received.message["Message-ID"] for received in server.received] == [f"<{claimed.id}@example.com>"]
