"""The `handstamp` command."""

from __future__ import annotations

import sys

import typer

from ..errors import ConfigurationError, HandstampError
from . import clients, demo, keys, migrate, serve, sessions, token, users
from .common import failed

app = typer.Typer(
    name="handstamp",
    help="Sign people in once, keep them signed in, sign them out everywhere at once.",
    epilog="Start with  handstamp demo,  and then  handstamp serve",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("serve")(serve.serve)
app.command("migrate")(migrate.migrate)
app.add_typer(users.app, name="users")
app.add_typer(sessions.app, name="sessions")
app.add_typer(clients.app, name="clients")
app.add_typer(keys.app, name="keys")
app.add_typer(token.app, name="token")


def main() -> None:
    """Run the command: exit status 0, 1 when it did not work, 2 when it was used or configured wrongly."""
    try:
        _refuse_what_is_no_text(sys.argv)
        app()
    except ConfigurationError as problem:
        for sentence in problem.problems:
            failed(sentence)
        sys.exit(2)
    except HandstampError as problem:
        failed(getattr(problem, "why", "") or str(problem))
        sys.exit(1)


def _refuse_what_is_no_text(arguments: list[str]) -> None:
    if any("\ud800" <= character <= "\udfff" for argument in arguments for character in argument):
        raise ConfigurationError("An argument is not UTF-8 text.")
