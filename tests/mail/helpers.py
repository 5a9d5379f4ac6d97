"""What tests of mail share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from handstamp.assemble.deployment import Deployment
from handstamp.domain.event import Event
from handstamp.domain.mail import AnyContent, Mail, PasswordChanged, ResetPassword
from handstamp.service.mailing.sender import Sender
from handstamp.storage.store import Rows, Transaction
from tests.builders import Clock
from tests.deployment import caller
from tests.mail_server import MailServer

ADA = "ada@example.com"
SENDER = "Example <no-reply@example.com>"
LINK = "https://auth.example.com/reset?token=hush-hush-hush"
CODE = "314159"
RESET = ResetPassword(link=LINK, code=CODE)
NOTICE = PasswordChanged()
PATIENCE_S = 60.0


def settings_for(server: MailServer, **fields: object) -> dict[str, Any]:
    """Return the settings with which a service sends to a server."""
    return {"smtp_url": f"smtp://127.0.0.1:{server.port}", "mail_from": SENDER, **fields}


async def add_mail(
    running: Deployment,
    clock: Callable[[], int],
    content: AnyContent = NOTICE,
    *,
    to: str | None = ADA,
    account: str | None = "ada-id",
) -> None:
    """Write a mail as a use case does."""
    who = caller(clock if isinstance(clock, Clock) else Clock(clock()))

    async def add(rows: Transaction) -> None:
        await running.outbox.add(rows, content, to=to, language="", caller=who, account=account)

    await running.store.transact(add)


def sender_of(running: Deployment) -> Sender:
    """Return what sends the mail of a service."""
    assert running.mailing.sender is not None
    return running.mailing.sender


async def waiting_in(running: Deployment) -> list[Mail]:
    """Return the mail that waits."""

    async def read(rows: Rows) -> list[Mail]:
        return await rows.mails.list_newest(limit=1000)

    return await running.store.read(read)


async def events_of(running: Deployment, account: str = "ada-id") -> list[Event]:
    """Return the events about an account."""
    return await running.store.read(lambda rows: rows.events.list_about(account, limit=100))


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another thread or process
            await asyncio.sleep(0.01)
