"""`handstamp mail`: try the mail server, and see the mail that waits."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Annotated

import typer

from ..assemble.deployment import Deployment
from ..assemble.mailing import REMEDIES, MailTools
from ..clock import now_ms
from ..config.loading import load
from ..config.settings import Settings
from ..domain.mail import Mail
from ..errors import HandstampError, InvalidFields
from ..service.mailing.delivery import DeliveryFailed
from ..service.mailing.queue import WaitingMail
from ..service.parts.caller import Caller
from ..service.parts.email_address import normalise_email
from ..words import format_distance, format_time
from .common import TAKES_ID, AsJson, Database, make_group, print_error, print_json, print_line
from .operating import LOCAL_ISSUER, operate
from .tables import print_table

PAGE_SIZE = 200

app: typer.Typer = make_group("Try the mail server, and see the mail that waits.")


@app.command("test")
def send_test(address: Annotated[str, typer.Argument(metavar="ADDRESS")]) -> None:
    """Send a test mail to an address, and say what is wrong if that fails.

    Example:  handstamp mail test ada@example.com
    """
    settings = load()
    if not settings.issuer:
        settings = dataclasses.replace(settings, issuer=LOCAL_ISSUER)
    asyncio.run(_send_test(settings, address))


async def _send_test(settings: Settings, address: str) -> None:
    mail_tools = MailTools(settings)
    server = mail_tools.require_server()
    tools = await mail_tools.load()
    try:
        message = (await mail_tools.load_composer()).compose_test(await normalise_email(address), now_ms())
    except InvalidFields as wrong:
        raise HandstampError(f"{address}: {', '.join(problem for _, problem in wrong.fields)}") from None
    how = {"starttls": "with STARTTLS", "tls": "with TLS", "none": "without TLS"}[server.protection]
    try:
        connection = await tools.transport.connect()
        signed_in = f", signed in as {server.user}" if server.user else ""
        print_line(f"Connected to {server.describe()} {how}{signed_in}.")
        try:
            await connection.send(message)
        finally:
            await connection.close()
    except DeliveryFailed as failed:
        raise HandstampError(f"{server.describe()} {how}, step {failed.stage}: {failed.why}. {REMEDIES[failed.stage]}") from None
    print_line(f"The server accepted a mail from {message.sender} for {message.to}. Look for it there, also among the junk.")


@app.command("queue", context_settings=TAKES_ID)
def show_queue(
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(help="The largest number of mails to list.", min=1)] = PAGE_SIZE,
    retry: Annotated[bool, typer.Option("--retry", help="Try all mail that failed again now.")] = False,
    drop: Annotated[str | None, typer.Option("--drop", metavar="ID", help="Delete a mail.")] = None,
    database: Database = None,
) -> None:
    """List the mail that waits to be sent, newest first, with the last error of each.

    Example:  handstamp mail queue --retry
    """

    async def work(deployment: Deployment, caller: Caller) -> tuple[int, list[WaitingMail], bool]:
        queue = deployment.mailing.queue
        if drop is not None:
            await queue.drop(drop, caller)
            print_line(f"Deleted {drop}.")
        if retry:
            count = await queue.retry(caller)
            print_line(f"Mails that are tried again now: {count}.")
        return caller.now_ms, *(await queue.list_newest(limit=limit))

    now, found, is_cut = operate(work, database)
    if drop is not None or retry:
        return
    if is_cut:
        print_error(f"The list has the newest {limit} mails. There are more: use --limit.")
    if as_json:
        print_json(
            [
                {
                    "id": mail.id,
                    "kind": mail.kind,
                    "to": to,
                    "tries": mail.tries,
                    "createdAtMs": mail.created_at_ms,
                    "nextAtMs": mail.next_at_ms,
                    "error": mail.error,
                }
                for mail, to in found
            ]
        )
        return
    columns = ("ID", "KIND", "TO", "TRIES", "WRITTEN", "NEXT", "LAST ERROR")
    rows = [(*_describe(mail, to), _next(mail, now), mail.error) for mail, to in found]
    print_table(columns, rows, empty="No mail waits.")


def _describe(mail: Mail, to: str | None) -> tuple[str, ...]:
    address = "sealed elsewhere" if to is None else to or "-"
    return mail.id, mail.kind, address, str(mail.tries), format_time(mail.created_at_ms)


def _next(mail: Mail, now: int) -> str:
    if mail.next_at_ms is None:
        return "shown at /dev/mail"
    if mail.tries and not mail.error:
        return "is being sent"
    return "now" if mail.next_at_ms <= now else format_distance(now, mail.next_at_ms)
