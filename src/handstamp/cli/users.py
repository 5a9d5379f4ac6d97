"""`handstamp users`: accounts of the people who sign in."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..assemble.deployment import Deployment
from ..domain.account import Account
from ..errors import ConfigurationError
from ..service.parts.caller import Caller
from ..words import format_time
from .common import AsJson, Database, make_group, print_json, print_line
from .operating import operate
from .tables import print_table

app: typer.Typer = make_group("Create, list, disable, enable and unlock accounts; set passwords.")
Email = Annotated[str, typer.Argument(metavar="EMAIL")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@app.command()
def create(
    email: Email,
    password_stdin: FromStdin = False,
    role: Annotated[list[str] | None, typer.Option(help="A role to put into the access tokens; may be repeated.")] = None,
    database: Database = None,
) -> None:
    """Create an account.

    Example:  handstamp users create ada@example.com --role admin
    """
    password = _read_password(password_stdin)
    account = operate(
        lambda deployment, caller: deployment.create_account(email, password, caller, roles=tuple(role or ())),
        database,
        may_create=True,
    )
    print_line(f"Created {account.email}, id {account.id}. Sign in with POST /login.")


@app.command("list")
def list_accounts(as_json: AsJson = False, database: Database = None) -> None:
    """List the accounts.

    Example:  handstamp users list --json
    """

    async def list_all(deployment: Deployment, _: Caller) -> list[Account]:
        found: list[Account] = []
        while page := await deployment.accounts.list_page(after=found[-1].email if found else ""):
            found += page
        return found

    accounts = operate(list_all, database)
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
    print_table(("EMAIL", "ID", "ROLES", "CREATED", "STATE"), rows, empty="No accounts yet: handstamp users create EMAIL")


@app.command()
def disable(email: Email, database: Database = None) -> None:
    """Disable an account, and end all its sessions at once.

    Example:  handstamp users disable ada@example.com
    """
    operate(lambda deployment, caller: deployment.accounts.disable(email, caller), database)
    print_line(f"{email} is disabled and signed out everywhere. Undo: handstamp users enable {email}")


@app.command()
def enable(email: Email, database: Database = None) -> None:
    """Enable a disabled account, and unlock it. Sessions that have ended stay ended.

    Example:  handstamp users enable ada@example.com
    """
    operate(lambda deployment, caller: deployment.accounts.enable(email, caller), database)
    print_line(f"{email} is enabled and can sign in.")


@app.command()
def unlock(email: Email, database: Database = None) -> None:
    """Forget the failed sign-ins of an account, so that its person can sign in at once.

    Example:  handstamp users unlock ada@example.com
    """
    operate(lambda deployment, caller: deployment.accounts.unlock(email, caller), database)
    print_line(f"{email} is unlocked: its failed sign-ins are forgotten.")


@app.command("set-password")
def set_password(email: Email, password_stdin: FromStdin = False, database: Database = None) -> None:
    """Set the password of an account, unlock it, and end all its sessions.

    Example:  handstamp users set-password ada@example.com
    """
    password = _read_password(password_stdin)
    operate(lambda deployment, caller: deployment.accounts.set_password(email, password, caller), database)
    print_line(f"The password of {email} is set. All their sessions have ended.")


def _read_password(from_stdin: bool) -> str:
    """Return the password from a prompt, where it is typed twice, or from the first line of standard input."""
    if from_stdin:
        try:
            return sys.stdin.readline().removeprefix("\ufeff").rstrip("\r\n")
        except UnicodeDecodeError:
            raise ConfigurationError("The password on standard input is not UTF-8 text.") from None
    if not sys.stdin.isatty():
        raise ConfigurationError("There is no terminal for the password prompt: use --password-stdin.")
    typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return typed
