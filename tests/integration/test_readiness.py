"""`GET /readyz`: one word for strangers, the state of each part for holders of a service credential."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.clock import now_ms
from handstamp.crypto.identifiers import new_id
from handstamp.domain.keyring import ROTATE_AFTER_MS
from handstamp.domain.policy import MINUTE_MS
from handstamp.service.operating.readiness import STUCK_MS
from handstamp.service.parts.common_clock import CommonClock
from handstamp.service.parts.hashing import Hashing
from handstamp.web.stopping import STOPPING
from tests.builders import Clock
from tests.deployment import ISSUER, caller, deployed
from tests.integration.helpers import expect_problem
from tests.postgres import fresh_database

pytestmark = pytest.mark.anyio
SECRET = "one secret of the tests, 0123456789"
PARTS = {"process", "clock", "store", "keys", "timetable", "feed", "receivers", "mail", "hashing"}


class Asked:
    """A deployment, and what it answers."""

    def __init__(self, running: Deployment, client: httpx.AsyncClient, clock: Clock, credential: tuple[str, str]) -> None:
        """Take what there is."""
        self.running = running
        self.client = client
        self.clock = clock
        self.credential = credential

    async def look(self) -> tuple[int, dict[str, Any]]:
        """Return the status, and each part that is not well. The strangers' answer has the same status and no parts."""
        told = await self.client.get("/readyz", auth=self.credential)
        bare = await self.client.get("/readyz")
        assert bare.status_code == told.status_code
        assert "parts" not in bare.json()
        parts: dict[str, str] = told.json()["parts"]
        assert parts.keys() == PARTS
        return told.status_code, {name: state for name, state in parts.items() if state != "ok"}


@asynccontextmanager
async def asking(folder: Path, **settings: object) -> AsyncIterator[Asked]:
    """Open a deployment with a credential."""
    clock = Clock()
    if "database" in settings:
        clock.now_ms = now_ms()  # a database has a clock of its own
    async with deployed(folder, clock, **settings) as running:
        made, secret = await running.credentials.create(f"monitor-{new_id()}", caller(clock))
        transport = httpx.ASGITransport(make_application(running))
        async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
            yield Asked(running, client, clock, (made.id, secret))


async def test_all_is_well(tmp_path: Path) -> None:
    """Strangers get a word, a wrong credential is refused."""
    async with asking(tmp_path) as asked:
        assert (await asked.client.get("/readyz")).json() == {"status": "ready"}
        assert await asked.look() == (200, {})
        expect_problem(await asked.client.get("/readyz", auth=(asked.credential[0], "wrong")), 401, "invalid_client")


async def test_the_store_is_away(tmp_path: Path) -> None:
    """Who has been here before is told what fails, although the credential cannot be looked up. Nobody else is."""
    async with asking(tmp_path) as asked:
        assert await asked.look() == (200, {})
        await asked.running.store.close()
        (tmp_path / "handstamp.db").rename(tmp_path / "gone")
        (tmp_path / "handstamp.db").mkdir()
        status, parts = await asked.look()
        assert (status, set(parts)) == (503, {"store"})
        for stranger in ((asked.credential[0], "wrong"), ("nobody", "")):
            problem = expect_problem(await asked.client.get("/readyz", auth=stranger), 503, "unavailable")
            assert "parts" not in problem
        (tmp_path / "handstamp.db").rmdir()
        (tmp_path / "gone").rename(tmp_path / "handstamp.db")


async def test_postgresql_is_away(tmp_path: Path, postgres_server: str) -> None:
    """The same as with a file: what fails is named to who has been here before."""
    async with fresh_database(postgres_server) as url, asking(tmp_path, database=url, secret=SECRET) as asked:
        assert await asked.look() == (200, {})
        name = urlsplit(url).path.strip("/")
        server = await asyncpg.connect(urlunsplit(urlsplit(url)._replace(path="/postgres")))
        try:
            await server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            await server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            status, parts = await asked.look()
            assert (status, set(parts)) == (503, {"store"})
        finally:
            await server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await server.close()
        assert await asked.look() == (200, {})


async def test_a_receiver_that_takes_nothing_fails_alone(tmp_path: Path) -> None:
    """Of the audit trail. After a quarter of an hour it is named; one that is not configured any more is not."""
    (tmp_path / "webhook").write_text("whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode())
    (tmp_path / "webhook").chmod(0o600)
    urls, secret = ("https://siem.example.com/hook",), str(tmp_path / "webhook")
    async with asking(tmp_path, audit_webhook_urls=urls, audit_webhook_secret_file=secret) as asked:
        assert await asked.look() == (200, {})
        asked.clock.advance(ms=STUCK_MS + MINUTE_MS)
        assert await asked.look() == (200, {"receivers": "siem.example.com has not accepted an event of 16 minutes ago"})
    async with asking(tmp_path) as asked:
        asked.clock.advance(ms=STUCK_MS + MINUTE_MS)
        assert await asked.look() == (200, {})


async def test_a_clock_that_leaps_and_a_full_queue_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one makes the process useless, the other fails alone."""
    async with asking(tmp_path) as asked:
        monkeypatch.setattr(Hashing, "is_full", True)
        assert await asked.look() == (200, {"hashing": "its queue is full"})
        monkeypatch.setattr(CommonClock, "is_in_doubt", True)
        told = await asked.client.get("/readyz", auth=asked.credential)
        parts = told.json()["parts"]
        assert (told.status_code, parts["clock"]) == (503, "it has leapt, and is not believed yet")


async def test_no_key_signs(tmp_path: Path) -> None:
    """A late timetable is told, and a missing key makes the process useless."""
    async with asking(tmp_path) as asked:
        asked.clock.advance(ms=ROTATE_AFTER_MS)
        late = {"timetable": "the next step of the signing keys is late by 66 minutes"}
        assert await asked.look() == (200, late)
        asked.running.keys._signers = ()
        assert await asked.look() == (503, late | {"keys": "no signing key is active"})


async def test_mail_and_the_feed_fail_alone(tmp_path: Path) -> None:
    """A mail server that is away takes no node out of service."""
    async with asking(tmp_path, smtp_url="smtp://127.0.0.1:9", mail_from="no-reply@example.com") as asked:
        assert asked.running.mailing.sender is not None
        asked.running.mailing.sender.problem = "connect: refused"
        asked.running.revocations.problem = "the disk is slow"
        assert await asked.look() == (200, {"mail": "connect: refused", "feed": "the disk is slow"})


async def test_a_process_that_stops_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else works, and proxies send nothing new."""
    async with asking(tmp_path) as asked:
        monkeypatch.setattr(STOPPING, "is_on", True)
        assert await asked.look() == (503, {"process": "it is stopping"})
