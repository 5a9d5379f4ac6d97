"""`handstamp users`: accounts, for whoever runs the service."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..errors import ConfigurationError
from ..words import format_time
from .common import AsJson, Database, on_service, print_json, print_rows, said

app = typer.Typer(help="Make, list, disable and enable accounts; set passwords.", no_args_is_help=True, rich_markup_mode=None)
Email = Annotated[str, typer.Argument(metavar="EMAIL")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@app.command()
def create(
    email: Email,
    password_stdin: FromStdin = False,
    role: Annotated[list[str] | None, typer.Option(help="A role to put into the access tokens; may be repeated.")] = None,
    database: Database = None,
) -> None:
    """Make an account.

    Example:  handstamp users create ada@example.com --role admin
    """
    password = _password(password_stdin)
    account = on_service(
        lambda service, caller: service.create_account(email, password, caller, roles=tuple(role or ())),
        database,
        may_create=True,
    )
    said(f"Made {account.email}, id {account.id}. Sign in with POST /login.")


@app.command("list")
def list_accounts(as_json: AsJson = False, database: Database = None) -> None:
    """List the accounts.

    Example:  handstamp users list --json
    """
    accounts = on_service(lambda service, _: service.accounts.list_page(), database)
    if as_json:
        print_json(
            [
                {
                    "id": account.id,
                    "email": account.email,
                    "roles": account.roles,
                    "createdAtMs": account.created_at_ms,
                    "disabledAtMs": account.disabled_at_ms,
                }
                for account in accounts
            ]
        )
        return
    rows = [
        (
            account.email,
            account.id,
            " ".join(account.roles) or "-",
            format_time(account.created_at_ms),
            "enabled" if account.disabled_at_ms is None else f"disabled {format_time(account.disabled_at_ms)}",
        )
        for account in accounts
    ]
    print_rows(("EMAIL", "ID", "ROLES", "CREATED", "STATE"), rows, nothing="No accounts yet: handstamp users create EMAIL")


@app.command()
def disable(email: Email, database: Database = None) -> None:
    """Let somebody sign in no more, and end all their sessions at once.

    Example:  handstamp users disable ada@example.com
    """
    on_service(lambda service, caller: service.accounts.disable(email, caller), database)
    said(f"{email} is disabled and signed out everywhere. Undo: handstamp users enable {email}")


@app.command()
def enable(email: Email, database: Database = None) -> None:
    """Let somebody sign in again. Sessions that were ended stay ended.

    Example:  handstamp users enable ada@example.com
    """
    on_service(lambda service, caller: service.accounts.enable(email, caller), database)
    said(f"{email} is enabled and can sign in.")


@app.command("set-password")
def set_password(email: Email, password_stdin: FromStdin = False, database: Database = None) -> None:
    """Set somebody's password, and end all their sessions.

    Example:  handstamp users set-password ada@example.com
    """
    password = _password(password_stdin)
    on_service(lambda service, caller: service.accounts.set_password(email, password, caller), database)
    said(f"The password of {email} is set; their sessions have ended.")


def _password(from_stdin: bool) -> str:
    """Return the password, typed twice at a prompt or as the one line of standard input."""
    if from_stdin:
        try:
            return sys.stdin.readline().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ConfigurationError("The password on standard input is not UTF-8 text.") from None
    if not sys.stdin.isatty():
        raise ConfigurationError("There is no terminal to ask for the password on: use --password-stdin.")
    typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return typed
