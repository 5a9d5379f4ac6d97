"""`handstamp keys`: the keys that sign access tokens."""

from __future__ import annotations

from typing import Annotated

import typer

from ..domain.keyring import PUBLISH_AHEAD_MS, KeyRecord, KeyState
from ..words import format_time
from .common import TAKES_ID, AsJson, Database, on_service, print_json, print_rows, said

app = typer.Typer(help="List, rotate and retire the signing keys.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_keys(as_json: AsJson = False, database: Database = None) -> None:
    """List the signing keys with their state.

    Example:  handstamp keys list
    """
    found: list[tuple[KeyRecord, KeyState]] = on_service(lambda service, caller: service.keys.list_all(caller.now_ms), database)
    if as_json:
        print_json(
            [
                {"kid": key.kid, "algorithm": key.algorithm, "state": state, "activeFromMs": key.active_from_ms}
                for key, state in found
            ]
        )
        return
    rows = [(key.kid, key.algorithm, state, format_time(key.active_from_ms)) for key, state in found]
    print_rows(("KEY", "ALGORITHM", "STATE", "ACTIVE FROM"), rows, nothing="No keys yet: handstamp serve")


@app.command()
def rotate(database: Database = None) -> None:
    """Publish a new signing key now. It takes over by itself once every verifier has had time to fetch it.

    Example:  handstamp keys rotate
    """
    record = on_service(lambda service, caller: service.keys.rotate(caller.now_ms), database)
    minutes = PUBLISH_AHEAD_MS // 60_000
    said(
        f"Published {record.kid}. It signs from {format_time(record.active_from_ms)}, in {minutes} minutes. Nobody is signed out."
    )


@app.command(context_settings=TAKES_ID)
def retire(
    kid: Annotated[str, typer.Argument(metavar="KID")],
    now: Annotated[bool, typer.Option("--now", help="It has leaked: everything that it signed is void at once.")] = False,
    database: Database = None,
) -> None:
    """Let a key stop signing, once its successor has been published long enough; with --now, void a leaked key at once.

    Example:  handstamp keys retire 3Jq7cVYpMv1cX8oD7lq2mTtH4bq9m0oQkYw0S1r2e5E --now
    """
    if now:
        on_service(lambda service, caller: service.keys.void(kid, caller.now_ms), database)
        said(f"Voided {kid}, here and at every verifier that follows the feed.")
        said("Clients renew their access tokens by themselves; nobody is signed out.")
        return
    match on_service(lambda service, caller: service.keys.retire(kid, caller.now_ms), database):
        case "published":
            said(f"Removed {kid}, which had signed nothing yet.")
        case "active":
            said(f"Another key takes over from {kid} in at most {PUBLISH_AHEAD_MS // 60_000} minutes; nobody is signed out.")
        case _:
            said(f"{kid} signs no more; it stays published until the last token that it signed is over.")


@app.command()
def reseal(database: Database = None) -> None:
    """Seal the signing keys with the current master secret, if a previous one sealed them.

    Example:  handstamp keys reseal
    """
    count = on_service(lambda service, caller: service.keys.reseal(caller.now_ms), database)
    said(f"Sealed {count} keys again." if count else "Every key is sealed with the current secret already.")
