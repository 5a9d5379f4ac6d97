"""`handstamp why`: what has happened to a session, or to a person and their sessions, in sentences."""

from __future__ import annotations

from typing import Annotated

import typer

from ..domain.account import Account
from ..service.operating.history import History
from ..words import format_time
from .common import TAKES_ID, AsJson, Database, make_command, print_error, print_json, print_line
from .operating import operate

app: typer.Typer = make_command()


@app.command(context_settings=TAKES_ID)
def why(
    about: Annotated[str, typer.Argument(metavar="EMAIL-or-SESSION", help="An address, the id of a session, or a subject.")],
    as_json: AsJson = False,
    database: Database = None,
) -> None:
    """Tell in sentences what has happened to a session, or to a person: why was I signed out?

    Of a person, all sessions are told of, oldest first. It goes back as far as the audit trail does. Times are UTC.

    Example:  handstamp why ada@example.com
    """
    history = operate(lambda deployment, caller: deployment.histories.of(about, caller), database)
    if history.is_cut:
        print_error("There was more, which is left out here: see the rows of the table event, or ask about one session.")
    if as_json:
        print_json(
            {
                "subject": history.subject,
                "livingSessions": sorted(history.living),
                "entries": [
                    {"atMs": entry.at_ms, "session": entry.sid, "sentence": str(entry.sentence)} for entry in history.entries
                ],
            }
        )
        return
    print_line(_describe(history))
    several = len({entry.sid for entry in history.entries}) > 1
    for entry in history.entries:
        which = f"  [{entry.sid or 'account'}]" if several else ""
        print_line(f"{format_time(entry.at_ms)}  {entry.sentence}{which}")


def _describe(history: History) -> str:
    living = "1 session is alive" if len(history.living) == 1 else f"{len(history.living)} sessions are alive"
    return f"{_describe_person(history.subject, history.account)}; {living} of the {len(history.sessions)} told of here."


def _describe_person(subject: str, account: Account | None) -> str:
    if account is None:
        return f"Subject {subject}, without an account here"
    states = ["disabled" if account.disabled_at_ms is not None else "enabled"]
    states.append("address verified" if account.email_verified else "address not verified")
    return f"{account.email}, account {account.id}, {', '.join(states)}, since {format_time(account.created_at_ms)}"
