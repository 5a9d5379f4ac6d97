"""A forgotten password, over a real mail server: one that is away, and a service that is killed in between."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from tests.builders import HOUR_MS, MINUTE_MS, Clock
from tests.deployment import ISSUER, caller, crash, deployed, settings_in
from tests.mail.helpers import ADA, sender_of, settings_for, waiting_in
from tests.mail_server import MailServer, Received, mail_server
from tests.serving import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_time")]
PASSWORD, NEW = "kelp lantern rivet 41 of the tests", "another sentence, hers alone"


def client_of(running: Deployment) -> httpx.AsyncClient:
    """Return a client of a service in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(make_application(running)), base_url=ISSUER)


def token_in(received: Received) -> str:
    """Return the token of the link in a message."""
    found = re.search(r"/reset\?token=([A-Za-z0-9_-]+)", received.part("plain"))
    assert found is not None
    return found[1]


async def test_a_reset_is_accepted_while_the_mail_server_is_away(tmp_path: Path, clock: Clock) -> None:
    """The answer does not wait for it. The mail arrives when it is back, and its link works until its hour has passed."""
    port = free_port()
    async with deployed(tmp_path, clock, **settings_for(MailServer(port=port))) as running, client_of(running) as client:
        await running.create_account(ADA, PASSWORD, caller(clock))
        assert (await client.post("/password/reset", json={"email": ADA})).status_code == 202
        await sender_of(running).send_due()
        (waiting,) = await waiting_in(running)
        assert waiting.error
        clock.advance(ms=10 * MINUTE_MS)
        with mail_server(port=port) as server:
            await sender_of(running).send_due()
            token = token_in(server.received[0])
            body = {"token": token, "newPassword": NEW}
            assert (await client.post("/password/reset/confirm", json=body)).status_code == 204
            await sender_of(running).send_due()
            assert [received.message["Subject"] for received in server.received[1:]] == [
                "Your password for auth.example.com has changed"
            ]
        assert (await client.post("/login", json={"email": ADA, "password": NEW})).status_code == 200


async def test_a_killed_service_keeps_its_promise(tmp_path: Path, clock: Clock, server: MailServer) -> None:
    """What was answered 202 is sent by the next process, and what was answered 204 stays: the link is used, the mail goes out."""
    killed = Deployment(settings_in(tmp_path, **settings_for(server)), clock=clock)
    await killed.store.open()
    await killed.keys.maintain(clock())
    await killed.create_account(ADA, PASSWORD, caller(clock))
    async with client_of(killed) as client:
        assert (await client.post("/password/reset", json={"email": ADA})).status_code == 202
    crash(killed)

    killed = Deployment(settings_in(tmp_path, **settings_for(server)), clock=clock)
    await killed.store.open()
    await killed.keys.load(clock())
    await sender_of(killed).send_due()
    body = {"token": token_in(server.received[0]), "newPassword": NEW}
    async with client_of(killed) as client:
        assert (await client.post("/password/reset/confirm", json=body)).status_code == 204
    crash(killed)

    async with deployed(tmp_path, clock, **settings_for(server)) as running, client_of(running) as client:
        assert (await client.post("/password/reset/confirm", json=body)).status_code == 422
        assert (await client.post("/login", json={"email": ADA, "password": NEW})).status_code == 200
        await sender_of(running).send_due()
        assert len(server.received) == 2


async def test_a_link_that_was_late_is_refused(tmp_path: Path, clock: Clock, server: MailServer) -> None:
    """A mail that waited for longer than its link is valid is not sent at all."""
    async with deployed(tmp_path, clock, **settings_for(server)) as running, client_of(running) as client:
        await running.create_account(ADA, PASSWORD, caller(clock))
        await client.post("/password/reset", json={"email": ADA})
        clock.advance(ms=HOUR_MS)
        await sender_of(running).send_due()
        assert server.received == []
