"""`handstamp keys`: the keys that sign access tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ..assemble.deployment import Deployment
from ..domain.keyring import LATE_AFTER_MS, PUBLISH_AHEAD_MS, KeyTimes, LateStep, find_late_steps, find_next_publication
from ..service.parts.caller import Caller
from ..words import format_distance, format_time
from .common import TAKES_ID, AsJson, Database, make_group, print_error, print_json, print_line
from .operating import operate
from .tables import print_table

app: typer.Typer = make_group("List, rotate and retire the signing keys.")
_LATE: dict[LateStep, str] = {
    "publish": "The next key should have been published",
    "remove": "A key that has retired should have been removed",
}


@app.command("list")
def list_keys(as_json: AsJson = False, database: Database = None) -> None:
    """List the signing keys with their state.

    Example:  handstamp keys list
    """
    found = operate(lambda deployment, caller: deployment.keys.list_all(caller.now_ms), database)
    if as_json:
        print_json(
            [
                {"kid": key.kid, "algorithm": key.algorithm, "state": state, "activeFromMs": key.active_from_ms}
                for key, state in found
            ]
        )
        return
    rows = [(key.kid, key.algorithm, state, format_time(key.active_from_ms)) for key, state in found]
    print_table(("KEY", "ALGORITHM", "STATE", "ACTIVE FROM"), rows, empty="No keys yet: handstamp serve")


@app.command()
def timetable(as_json: AsJson = False, database: Database = None) -> None:
    """Show when each key is published, signs, retires and is removed. The exit status is 1 if a step is late.

    Example:  handstamp keys timetable
    """
    keys, now_ms = operate(_read_timetable, database)
    late = [(step, ms) for step, ms in find_late_steps(keys, now_ms).items() if ms > LATE_AFTER_MS]
    if as_json:
        print_json(
            {
                "keys": [_describe(key) for key in keys],
                "nextPublishedMs": find_next_publication(keys) if keys else None,
                "late": [{"step": step, "lateMs": ms} for step, ms in late],
            }
        )
    else:
        rows = [(format_time(at_ms), format_distance(now_ms, at_ms), *what) for at_ms, *what in _list_steps(keys)]
        print_table(("WHEN (UTC)", "", "KEY", ""), rows, empty="No keys yet: handstamp serve")
    for step, ms in late:
        print_error(
            f"{_LATE[step]} {format_distance(0, -ms)}. 'handstamp serve' does it: is it running, and what does its log say?"
        )
    if late:
        raise typer.Exit(1)


async def _read_timetable(deployment: Deployment, caller: Caller) -> tuple[list[KeyTimes], int]:
    return await deployment.keys.read_timetable(caller.now_ms), caller.now_ms


def _describe(key: KeyTimes) -> dict[str, str | int]:
    return {
        "kid": key.kid,
        "algorithm": key.algorithm,
        "state": key.state,
        "publishedMs": key.published_ms,
        "signsMs": key.signs_ms,
        "retiresMs": key.retires_ms,
        "removedMs": key.removed_ms,
    }


def _list_steps(keys: Sequence[KeyTimes]) -> list[tuple[int, str, str]]:
    """Return when which key takes which step, in the order of time. What has no successor yet is planned."""
    steps = [(find_next_publication(keys), "the next key", "is published")] if keys else []
    for key in keys:
        steps.append((key.published_ms, key.kid, "is published"))
        steps.append((key.signs_ms, key.kid, "signs"))
        steps.append((key.retires_ms, key.kid, "retires: its successor signs"))
        steps.append((key.removed_ms, key.kid, "is removed"))
    return sorted(steps, key=lambda step: step[0])


@app.command()
def rotate(database: Database = None) -> None:
    """Publish a new signing key now. It becomes active when every verifier has had time to fetch it.

    Example:  handstamp keys rotate
    """
    record = operate(lambda deployment, caller: deployment.keys.rotate(caller), database)
    minutes = PUBLISH_AHEAD_MS // 60_000
    print_line(
        f"Published {record.kid}. It signs from {format_time(record.active_from_ms)}, in {minutes} minutes. No session ends."
    )


@app.command(context_settings=TAKES_ID)
def retire(
    kid: Annotated[str, typer.Argument(metavar="KID")],
    now: Annotated[bool, typer.Option("--now", help="The key has leaked: revoke everything it signed at once.")] = False,
    database: Database = None,
) -> None:
    """Stop signing with a key as soon as its successor has been published long enough. With --now, void a leaked key at once.

    Example:  handstamp keys retire 3Jq7cVYpMv1cX8oD7lq2mTtH4bq9m0oQkYw0S1r2e5E --now
    """
    if now:
        operate(lambda deployment, caller: deployment.keys.void(kid, caller), database)
        print_line(f"Voided {kid}, here and at every verifier that follows the feed.")
        print_line("Clients refresh their access tokens automatically. No session ends.")
        return
    match operate(lambda deployment, caller: deployment.keys.retire(kid, caller), database):
        case "published":
            print_line(f"Removed {kid}, which had signed nothing yet.")
        case "active":
            print_line(f"Another key replaces {kid} in at most {PUBLISH_AHEAD_MS // 60_000} minutes. No session ends.")
        case _:
            print_line(f"{kid} signs nothing more. It stays published until the last token that it signed has expired.")


@app.command()
def reseal(database: Database = None) -> None:
    """Seal the signing keys, the secrets of authenticator apps and the tokens of providers with the current master secret.

    Only those that a previous one sealed change. Afterwards it can be forgotten.

    Example:  handstamp keys reseal
    """
    keys, apps, tokens = operate(_reseal, database)
    print_line(f"Sealed {keys} keys again." if keys else "Every key is sealed with the current secret already.")
    if apps:
        print_line(f"Sealed the secrets of {apps} authenticator apps again.")
    if tokens:
        print_line(f"Sealed the tokens of {tokens} identities again.")


async def _reseal(deployment: Deployment, caller: Caller) -> tuple[int, int, int]:
    keys = await deployment.keys.reseal(caller)
    return keys, await deployment.reseal_apps(caller), await deployment.reseal_tokens(caller)
