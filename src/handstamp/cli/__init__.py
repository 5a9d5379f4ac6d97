"""The `handstamp` command. The module of a command is imported when the command is used, so that each loads what it needs."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from ..errors import ConfigurationError, HandstampError
from .common import print_error

COMMANDS = {
    "demo": "Show the life of both tokens with a real service that is deleted afterwards.",
    "serve": "Run the service.",
    "migrate": "Bring the database's schema up to date.",
    "backup": "Copy the database while it is served.",
    "restore": "Put a backup in the place of the database.",
    "users": "Create, list, change, unlock, delete, import and export accounts; set passwords and roles.",
    "sessions": "List sessions and end them.",
    "why": "Tell in sentences what has happened to a session, or to a person: why was I signed out?",
    "statistics": "Count accounts, sessions, sign-ins, mail, keys and revocations.",
    "audit": "Export the audit trail, and see how far its receivers are.",
    "credentials": "Create, list and remove the credentials of services that verify tokens.",
    "mail": "Try the mail server, and see the mail that waits.",
    "doctor": "Find what is wrong with the deployment, and say which setting mends it.",
    "keys": "List, rotate and retire the signing keys.",
    "token": "Inspect tokens.",
}
"""Each command and group, which is the module of that name, with its line in `handstamp --help`."""
_ALIASES = {"clients": "credentials"}
"""Former names. They work and are not listed."""
_UNLISTED = frozenset({"healthcheck"})
"""Commands for programs."""


class LazyGroup(TyperGroup):
    """A group that imports the module of a command when the command is used. `--help` imports none."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return a command, None if there is no such command."""
        name = _ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS and name not in _UNLISTED:
            return None
        return typer.main.get_command(importlib.import_module(f".{name}", __package__).app)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app: typer.Typer = typer.Typer(
    name="handstamp",
    cls=LazyGroup,
    help="Sign people in once, keep them signed in, sign them out everywhere at once.",
    epilog="Start with  handstamp demo,  and then  handstamp serve",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def handstamp() -> None:
    """Make Typer build a group."""


def main() -> None:
    """Run the command. The exit status is 0, 1 if it did not work, or 2 if it was used or configured wrongly."""
    try:
        _require_text(sys.argv)
        app()
    except ConfigurationError as error:
        for sentence in error.problems:
            print_error(sentence)
        sys.exit(2)
    except HandstampError as error:
        print_error(getattr(error, "why", "") or str(error))
        sys.exit(1)


def _require_text(arguments: list[str]) -> None:
    if any("\ud800" <= character <= "\udfff" for argument in arguments for character in argument):
        raise ConfigurationError("An argument is not UTF-8 text.")
