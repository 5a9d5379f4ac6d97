"""The `handstamp` command."""

from __future__ import annotations

import sys

import typer

from ..errors import ConfigurationError, HandstampError
from . import keys, serve, sessions, token, users
from .common import stderr

app = typer.Typer(
    name="handstamp",
    help="Sign people in once, keep them signed in, sign them out everywhere at once.",
    epilog="Start with:  handstamp serve",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("serve")(serve.serve)
app.add_typer(users.app, name="users")
app.add_typer(sessions.app, name="sessions")
app.add_typer(keys.app, name="keys")
app.add_typer(token.app, name="token")


def main() -> None:
    """Run the command: exit status 0, 1 when it did not work, 2 when it was used or configured wrongly."""
    try:
        app()
    except ConfigurationError as problem:
        for sentence in problem.problems:
            stderr.print(f"handstamp: {sentence}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except HandstampError as problem:
        why = getattr(problem, "why", "") or str(problem)
        stderr.print(f"handstamp: {why}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
