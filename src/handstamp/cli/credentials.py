"""`handstamp credentials`: the credentials of other services."""

from __future__ import annotations

from typing import Annotated, get_args

import msgspec
import typer

from ..domain.credential import CredentialScope
from ..errors import ConfigurationError
from ..words import format_time
from .common import TAKES_ID, AsJson, Database, make_group, print_json, print_line
from .operating import operate
from .tables import print_table

app: typer.Typer = make_group("Create, list and remove the credentials of services that verify tokens.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read (the default) or admin: what it may be used for; may be repeated.")
    ] = None,
    as_json: AsJson = False,
    database: Database = None,
) -> None:
    """Create a credential, which is shown once.

    With the scope read, a service follows the revocation feed and introspects tokens. With admin, it administers (/admin).

    Example:  handstamp credentials create orders
    """
    scopes = _parse_scopes(scope or ["read"])
    credential, secret = operate(
        lambda deployment, caller: deployment.credentials.create(name, caller, scopes=scopes), database, may_create=True
    )
    pair = f"{credential.id}:{secret}"
    if as_json:
        made = {"id": credential.id, "name": credential.name, "scopes": scopes}
        print_json(made | {"secret": secret, "credential": pair})
        return
    print_line(f"Created {credential.name}. Its credential is shown this once and is not stored:")
    print_line(f"  {pair}")
    if "read" in scopes:
        print_line("Give it to the service's verifier:  Verifier(issuer, audience=…, credential=…)")
    if "admin" in scopes:
        print_line(
            "A program with it can change every account but those of administrators. Keep it as safe as the master secret."
        )


@app.command("list")
def list_credentials(as_json: AsJson = False, database: Database = None) -> None:
    """List the services that have a credential.

    Example:  handstamp credentials list
    """
    found = operate(lambda deployment, _: deployment.credentials.list_all(), database)
    if as_json:
        print_json([{"id": one.id, "name": one.name, "scopes": one.scopes, "createdAtMs": one.created_at_ms} for one in found])
        return
    rows = [(one.name, one.id, " ".join(one.scopes), format_time(one.created_at_ms)) for one in found]
    print_table(("NAME", "ID", "SCOPES", "CREATED"), rows, empty="No credentials yet: handstamp credentials create NAME")


@app.command(context_settings=TAKES_ID)
def remove(name: Annotated[str, typer.Argument(metavar="NAME-or-ID")], database: Database = None) -> None:
    """Remove a credential. It is refused from the next request on.

    Example:  handstamp credentials remove orders
    """
    credential = operate(lambda deployment, caller: deployment.credentials.remove(name, caller), database)
    print_line(f"Removed {credential.name}. Its verifiers can no longer reach the service and answer 503 where they need it.")


def _parse_scopes(words: list[str]) -> tuple[CredentialScope, ...]:
    try:
        return tuple(dict.fromkeys(msgspec.convert(words, list[CredentialScope])))
    except msgspec.ValidationError:
        raise ConfigurationError(f"--scope is one of: {', '.join(get_args(CredentialScope))}.") from None
