"""`handstamp sessions`: list sessions and end them."""

from __future__ import annotations

from typing import Annotated

import typer

from ..assemble.deployment import Deployment
from ..domain.session import Session
from ..service.parts.caller import Caller
from ..service.sessions.living import PAGE_SIZE
from ..words import format_distance
from .common import TAKES_ID, AsJson, Database, make_group, print_error, print_json, print_line
from .operating import operate
from .tables import print_table

app: typer.Typer = make_group("List sessions and end them.")


@app.command("list")
def list_sessions(
    email: Annotated[str | None, typer.Argument(metavar="[EMAIL]", help="Only this person's.")] = None,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(help="The largest number of sessions to list.", min=1)] = PAGE_SIZE,
    database: Database = None,
) -> None:
    """List active sessions, last seen first. If there are more than the limit, those that began last are listed.

    Example:  handstamp sessions list ada@example.com
    """

    async def list_of(deployment: Deployment, caller: Caller) -> tuple[int, tuple[list[Session], bool]]:
        subject = None if email is None else (await deployment.accounts.get_by_email(email)).id
        return caller.now_ms, await deployment.sessions.list_all(subject, caller, limit=limit)

    now_ms, (found, is_cut) = operate(list_of, database)
    if is_cut:
        print_error(f"The list has the {limit} sessions that began last. There are more: use --limit.")
    if as_json:
        print_json(
            [
                {
                    "id": session.id,
                    "subject": session.subject,
                    "delivery": session.delivery,
                    "boundBy": session.bound_by,
                    "generation": session.generation,
                    "createdAtMs": session.created_at_ms,
                    "seenAtMs": session.seen_at_ms,
                    "expiresAtMs": session.expires_at_ms,
                    "ip": session.ip,
                    "userAgent": session.user_agent,
                    "actor": None if session.impersonator is None else session.impersonator.account_id,
                }
                for session in found
            ]
        )
        return
    rows = [
        (
            session.id,
            session.subject,
            session.delivery,
            session.bound_by or "",
            str(session.generation),
            format_distance(now_ms, session.seen_at_ms),
            format_distance(now_ms, session.expires_at_ms),
            session.ip,
            session.user_agent[:40] if session.impersonator is None else f"support: {session.impersonator.account_id}",
        )
        for session in found
    ]
    print_table(
        ("SESSION", "SUBJECT", "DELIVERY", "BOUND", "RENEWED", "SEEN", "ENDS", "IP", "USER AGENT"),
        rows,
        empty="No active sessions.",
    )


@app.command(context_settings=TAKES_ID)
def end(
    session: Annotated[str, typer.Argument(metavar="SESSION-or-EMAIL")],
    everywhere: Annotated[bool, typer.Option("--all", help="End all sessions of the person with this address.")] = False,
    database: Database = None,
) -> None:
    """End one session at once, or with --all every session of a person.

    Example:  handstamp sessions end 4mYQ0rTgq0cW6xw2JbXf3A

    Example:  handstamp sessions end --all ada@example.com
    """
    if everywhere:
        count = operate(lambda deployment, caller: _end_all(deployment, session, caller), database)
        print_line(f"All sessions of {session} have ended: {count}. All their tokens are revoked.")
        return
    operate(lambda deployment, caller: deployment.sign_out.end_by_operator(session, caller), database)
    print_line(f"Session {session} has ended. All its tokens are revoked.")


async def _end_all(deployment: Deployment, email: str, caller: Caller) -> int:
    account = await deployment.accounts.get_by_email(email)
    return await deployment.sign_out.end_all(account.id, caller, why="admin")
