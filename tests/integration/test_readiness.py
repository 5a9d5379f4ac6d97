"""`GET /readyz`: one word for strangers, the state of each part for holders of a service credential."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.domain.keyring import ROTATE_AFTER_MS
from handstamp.web.stopping import STOPPING
from tests.builders import Clock
from tests.deployment import ISSUER, caller, deployed
from tests.integration.helpers import expect_problem

pytestmark = pytest.mark.anyio
PARTS = {"process", "clock", "store", "keys", "timetable", "feed", "mail", "hashing"}


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
    async with deployed(folder, clock, **settings) as running:
        made, secret = await running.credentials.create("monitor", caller(clock))
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
