"""`/dev/mail`: there on loopback without a mail server, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.domain.mail import KEPT_MS
from tests.builders import Clock
from tests.deployment import deployed
from tests.mail.helpers import CODE, LINK, NOTICE, RESET, add_mail, settings_for, waiting_in
from tests.mail_server import mail_server

pytestmark = pytest.mark.anyio
LOCAL = "http://localhost:8000"


@asynccontextmanager
async def visited(
    folder: Path, clock: Clock, *, issuer: str = LOCAL, client: str = "127.0.0.1", **settings: object
) -> AsyncIterator[tuple[Deployment, httpx.AsyncClient]]:
    """Yield a service and a client at that address."""
    async with deployed(folder, clock, issuer=issuer, **settings) as running:
        transport = httpx.ASGITransport(make_application(running), client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url=issuer) as visitor:
            yield running, visitor


async def test_mail_is_shown_and_not_sent(tmp_path: Path, clock: Clock) -> None:
    """The list, the text with links, and the HTML in a frame that runs nothing."""
    async with visited(tmp_path, clock) as (running, visitor):
        assert "No mail yet" in (await visitor.get("/dev/mail")).text
        await add_mail(running, clock, NOTICE)
        clock.advance(seconds=90)
        await add_mail(running, clock, RESET)
        await add_mail(running, clock, RESET, to=None)
        listed = await visitor.get("/dev/mail")
        assert listed.text.index("Choose a new password") < listed.text.index("has changed")
        assert listed.text.count("<li>") == 2
        assert "1 minute ago" in listed.text or "90 seconds ago" in listed.text
        reset = max(await waiting_in(running), key=lambda mail: len(mail.sealed))
        page = await visitor.get(f"/dev/mail/{reset.id}")
        assert f'<a href="{LINK}">{LINK}</a>' in page.text
        assert CODE in page.text
        assert "frame-src 'self'" in page.headers["content-security-policy"]
        assert "script-src 'self'" in page.headers["content-security-policy"]
        framed = await visitor.get(f"/dev/mail/{reset.id}/html")
        assert f'href="{LINK}"' in framed.text
        assert '<base target="_top">' in framed.text
        policy = framed.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "sandbox allow-top-navigation-by-user-activation" in policy
        assert "allow-scripts" not in policy
        for answer in (listed, page, framed):
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "no-store"
        assert (await visitor.get("/dev/mail/none")).status_code == 404
        assert running.mailing.sender is None


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("192.0.2.7", {}),
        ("::ffff:192.0.2.7", {}),
        ("127.0.0.1", {"host": "evil.example"}),
        ("127.0.0.1", {"host": "localhost.evil.example:8000"}),
        ("127.0.0.1", {"host": ""}),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}),
        ("127.0.0.1", {"forwarded": "for=192.0.2.7"}),
        ("127.0.0.1", {"via": "1.1 proxy"}),
    ],
)
async def test_requests_from_elsewhere_find_nothing(tmp_path: Path, clock: Clock, client: str, headers: dict[str, str]) -> None:
    """Another machine, a name that was rebound to this one, or a proxy on it."""
    async with visited(tmp_path, clock, client=client) as (running, visitor):
        await add_mail(running, clock, RESET)
        (mail,) = await waiting_in(running)
        for path in ("/dev/mail", f"/dev/mail/{mail.id}", f"/dev/mail/{mail.id}/html"):
            answer = await visitor.get(path, headers=headers)
            assert answer.status_code == 404
            assert "hush" not in answer.text


@pytest.mark.parametrize("settings", [{"issuer": "https://auth.example.com"}, {"host": "0.0.0.0", "issuer": "https://localhost"}])
async def test_there_is_none_off_loopback(tmp_path: Path, clock: Clock, settings: dict[str, str]) -> None:
    """Nothing is written then, so nothing could be shown."""
    async with visited(tmp_path, clock, **settings) as (running, visitor):
        await add_mail(running, clock, RESET)
        assert await waiting_in(running) == []
        assert (await visitor.get("/dev/mail", headers={"host": "localhost"})).status_code == 404


async def test_there_is_none_with_a_mail_server(tmp_path: Path, clock: Clock) -> None:
    """Mail that was shown before is never sent: its addresses were made up."""
    async with visited(tmp_path, clock) as (running, _):
        await add_mail(running, clock, RESET)
    with mail_server() as server:
        async with visited(tmp_path, clock, **settings_for(server)) as (running, visitor):
            assert (await visitor.get("/dev/mail")).status_code == 404
            assert running.mailing.sender is not None
            await running.mailing.sender.send_due()
            assert server.received == []
            clock.advance(ms=KEPT_MS)
            await running.housekeeping.run_once()
            assert await waiting_in(running) == []
