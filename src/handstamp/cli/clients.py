"""`handstamp clients`: the credentials of other services."""

from __future__ import annotations

from typing import Annotated

import typer

from ..words import format_time
from .common import TAKES_ID, AsJson, Database, on_service, print_json, print_rows, said

app = typer.Typer(
    help="Make, list and remove the credentials of services that verify tokens.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def create(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: AsJson = False, database: Database = None) -> None:
    """Make a credential, with which a service may follow the revocations and introspect tokens. It is shown once.

    Example:  handstamp clients create orders
    """
    client, secret = on_service(lambda service, caller: service.credentials.create(name, caller), database, may_create=True)
    if as_json:
        print_json({"id": client.id, "name": client.name, "secret": secret, "credential": f"{client.id}:{secret}"})
        return
    said(f"Made {client.name}. Its credential, which is shown this once and stored nowhere:")
    said(f"  {client.id}:{secret}")
    said("Give it to the service's verifier:  Verifier(issuer, audience=…, credential=…)")


@app.command("list")
def list_clients(as_json: AsJson = False, database: Database = None) -> None:
    """List the services that have a credential.

    Example:  handstamp clients list
    """
    found = on_service(lambda service, _: service.credentials.list_all(), database)
    if as_json:
        print_json([{"id": client.id, "name": client.name, "createdAtMs": client.created_at_ms} for client in found])
        return
    rows = [(client.name, client.id, format_time(client.created_at_ms)) for client in found]
    print_rows(("NAME", "ID", "CREATED"), rows, nothing="No clients yet: handstamp clients create NAME")


@app.command(context_settings=TAKES_ID)
def remove(name: Annotated[str, typer.Argument(metavar="NAME-or-ID")], database: Database = None) -> None:
    """Remove a credential. It is refused from the next request on.

    Example:  handstamp clients remove orders
    """
    client = on_service(lambda service, caller: service.credentials.remove(name, caller), database)
    said(f"Removed {client.name}. Its verifiers ask in vain from now on, and refuse with 503 where they must ask.")
