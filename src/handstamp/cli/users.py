"""`handstamp users`: accounts of the people who sign in."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ..assemble.deployment import Deployment
from ..config.loading import load
from ..domain.account import Account
from ..domain.passkey import UNNAMED
from ..errors import ConfigurationError, HandstampError
from ..service.parts.caller import Caller
from ..words import format_time
from .common import AsJson, Database, make_group, print_json, print_line, sanitise_text
from .operating import operate
from .tables import print_table
from .users_export import export_accounts
from .users_import import import_accounts

app: typer.Typer = make_group("Create, list, change, unlock, delete, import and export accounts; set passwords and roles.")
Email = Annotated[str, typer.Argument(metavar="EMAIL")]
Role = Annotated[str, typer.Argument(metavar="ROLE")]
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

    async def list_all(deployment: Deployment, caller: Caller) -> tuple[list[Account], set[str]]:
        found: list[Account] = []
        locked: set[str] = set()
        while page := await deployment.accounts.list_page(after=found[-1].email if found else ""):
            found += page
            locked |= await deployment.accounts.find_locked(page, caller)
        return found, locked

    accounts, locked = operate(list_all, database)
    if as_json:
        print_json(
            [
                {
                    "id": account.id,
                    "email": account.email,
                    "roles": account.roles,
                    "createdAtMs": account.created_at_ms,
                    "disabledAtMs": account.disabled_at_ms,
                    "locked": account.email in locked,
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
            _describe_state(account, is_locked=account.email in locked),
        )
        for account in accounts
    ]
    print_table(("EMAIL", "ID", "ROLES", "CREATED", "STATE"), rows, empty="No accounts yet: handstamp users create EMAIL")


def _describe_state(account: Account, *, is_locked: bool) -> str:
    if account.disabled_at_ms is not None:
        return f"disabled {format_time(account.disabled_at_ms)}"
    return "locked" if is_locked else "enabled"


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


@app.command("reset-mail")
def send_reset_mail(email: Email, database: Database = None) -> None:
    """Send a person the mail with which they choose a new password. Until they use its link, nothing changes.

    Example:  handstamp users reset-mail ada@example.com
    """

    async def send(deployment: Deployment, caller: Caller) -> bool:
        if not deployment.outbox.is_on:
            raise ConfigurationError("This service sends no mail: set HANDSTAMP_SMTP_URL, or use 'handstamp users set-password'.")
        account = await deployment.accounts.get_by_email(email)
        return await deployment.reset_password.send(account.id, caller)

    if not load(database=database).issuer:
        raise ConfigurationError("Set HANDSTAMP_ISSUER as the service has it: the link in the mail begins with it.")
    if not operate(send, database):
        raise HandstampError(
            f"No mail was sent to {email}: the account is disabled, or has got several in the last hour, of which the last works."
        )
    print_line(f"A mail to {email} is on its way, as soon as the service runs. Its link works once, for one hour.")


@app.command()
def grant(email: Email, role: Role, database: Database = None) -> None:
    """Give an account a role. Its access tokens contain it from the next refresh on.

    If HANDSTAMP_SECOND_FACTOR requires a second factor for the role, only those of sessions that were proved with one.

    Example:  handstamp users grant ada@example.com admin
    """
    account = operate(lambda deployment, caller: deployment.accounts.grant_role(email, role, caller), database)
    print_line(
        f"{account.email} has the roles {', '.join(account.roles)}. Access tokens contain them from their next refresh on."
    )


@app.command()
def revoke(email: Email, role: Role, database: Database = None) -> None:
    """Take a role from an account. Access tokens that contain it are valid until they expire.

    Example:  handstamp users revoke ada@example.com admin
    """
    account = operate(lambda deployment, caller: deployment.accounts.revoke_role(email, role, caller), database)
    print_line(f"{account.email} does not have the role {role} any more. Access tokens contain it until their next refresh.")
    print_line(f"To end their sessions now: handstamp sessions end --all {account.email}")


@app.command()
def rename(
    email: Email, new: Annotated[str, typer.Argument(metavar="NEW", help="The new address.")], database: Database = None
) -> None:
    """Give an account another address. Its password, its id and its sessions stay.

    Example:  handstamp users rename ada@example.com ada@example.org
    """
    account = operate(lambda deployment, caller: deployment.accounts.rename(email, new, caller), database)
    print_line(f"The address of the account {account.id} is {account.email}. Its sessions go on.")


@app.command()
def delete(
    email: Email,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    database: Database = None,
) -> None:
    """Delete an account and its sessions for good. The audit trail keeps the account's id and no address.

    Example:  handstamp users delete ada@example.com --yes
    """
    if not yes:
        _confirm(f"Delete the account {email} and sign it out everywhere? This cannot be undone.")
    account = operate(lambda deployment, caller: deployment.accounts.delete(email, caller), database)
    print_line(f"Deleted {account.email}, id {account.id}. All its sessions have ended.")


@app.command()
def factors(email: Email, as_json: AsJson = False, database: Database = None) -> None:
    """Show how a person signs in: password, factors, codes and other services, and whether guesses have locked it.

    Example:  handstamp users factors ada@example.com
    """
    account, found, passkeys, identities, wrong_codes, is_locked = operate(
        lambda deployment, caller: deployment.accounts.list_factors(email, caller), database
    )
    if as_json:
        print_json(
            {
                "email": account.email,
                "hasPassword": account.password_hash != "",
                "hasTotp": found.has_totp,
                "passkeys": [
                    {"name": key.name or UNNAMED, "usedAtMs": key.used_at_ms, "backedUp": key.is_backed_up} for key in passkeys
                ],
                "recoveryCodes": found.recovery_codes,
                "wrongCodes": wrong_codes,
                "locked": is_locked,
                "identities": [
                    {"provider": one.provider, "issuer": one.issuer, "subject": one.subject, "email": one.email}
                    | {"createdAtMs": one.created_at_ms, "usedAtMs": one.used_at_ms}
                    for one in identities
                ],
            }
        )
        return
    print_line(f"password            {'yes' if account.password_hash else 'no'}")
    print_line(f"authenticator app   {'yes' if found.has_totp else 'no'}")
    print_line(f"recovery codes      {found.recovery_codes} left")
    for key in passkeys:
        print_line(f"passkey             {key.name or UNNAMED}, last used {format_time(key.used_at_ms)}")
    if not passkeys:
        print_line("passkeys            none")
    if wrong_codes:
        print_line(f"wrong codes         {wrong_codes} in a row, on devices that are not known")
    if is_locked:
        print_line(f"locked              codes of the app are refused there until: handstamp users unlock {account.email}")
    for one in identities:
        print_line(f"other service       {one.provider}: {one.email or one.subject}, last used {format_time(one.used_at_ms)}")


@app.command("reset-factors")
def reset_factors(
    email: Email,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    database: Database = None,
) -> None:
    """Remove all second factors and recovery codes of a person who has lost them. They are told by mail.

    Sign-ins that have begun end, and sessions go on. Make sure that it is the person who asks: with the password alone they
    sign in afterwards.

    Example:  handstamp users reset-factors ada@example.com --yes
    """
    if not yes:
        _confirm(f"Remove the authenticator app, the passkeys and the recovery codes of {email}? They are told by mail.")
    account = operate(lambda deployment, caller: deployment.accounts.reset_factors(email, caller), database)
    print_line(
        f"{account.email} has no second factor any more. To end their sessions too: handstamp sessions end --all {account.email}"
    )


app.command("import")(import_accounts)
app.command("export")(export_accounts)


def _confirm(question: str) -> None:
    """Ask on the terminal. Exit with status 1 unless the answer is yes."""
    if not sys.stdin.isatty():
        raise ConfigurationError("There is no terminal to confirm this on: use --yes.")
    if not typer.confirm(sanitise_text(question)):
        print_line("Nothing was changed.")
        raise typer.Exit(1)


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
