"""`handstamp keys`: the keys that sign access tokens."""

from __future__ import annotations

import typer

from ..domain.keyring import PUBLISH_AHEAD_MS, KeyRecord, State
from .common import AsJson, Database, on_service, print_json, print_rows, said, stamp

app = typer.Typer(help="List and rotate the signing keys.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_keys(as_json: AsJson = False, database: Database = None) -> None:
    """List the signing keys with their state.

    Example:  handstamp keys list
    """
    found: list[tuple[KeyRecord, State]] = on_service(lambda service, caller: service.keys.all(caller.now_ms), database)
    if as_json:
        print_json(
            [
                {"kid": key.kid, "algorithm": key.algorithm, "state": state, "activeFromMs": key.active_from_ms}
                for key, state in found
            ]
        )
        return
    rows = [(key.kid, key.algorithm, state, stamp(key.active_from_ms)) for key, state in found]
    print_rows(("KEY", "ALGORITHM", "STATE", "ACTIVE FROM"), rows, nothing="No keys yet: handstamp serve")


@app.command()
def rotate(database: Database = None) -> None:
    """Publish a new signing key now. It takes over by itself once every verifier has had time to fetch it.

    Example:  handstamp keys rotate
    """
    record = on_service(lambda service, caller: service.keys.rotate(caller.now_ms), database)
    minutes = PUBLISH_AHEAD_MS // 60_000
    said(f"Published {record.kid}. It signs from {stamp(record.active_from_ms)} on, in {minutes} minutes; nobody is signed out.")
