"""`handstamp audit`: export the audit trail."""

from __future__ import annotations

import datetime
import json
import sys
from typing import Annotated

import typer

from ..assemble.deployment import Deployment
from ..domain.duration import parse_duration
from ..domain.event import Event
from ..domain.history import tell_event
from ..errors import ConfigurationError
from ..service.operating.audit_trail import FOREVER_MS
from ..service.parts.caller import Caller
from .common import Database, make_group
from .operating import operate

app: typer.Typer = make_group("Export the audit trail.")


@app.callback()
def audit() -> None:
    """Export the audit trail."""


@app.command()
def export(
    after: Annotated[int, typer.Option(help="The `number` of the last line of the export before.", min=0)] = 0,
    since: Annotated[str, typer.Option(help="A duration as 7d or 12h, or a time as 2026-01-31T12:00:00Z.")] = "",
    until: Annotated[str, typer.Option(help="As --since; events of this time and later are left out.")] = "",
    database: Database = None,
) -> None:
    """Write the events of the audit trail as JSON lines to standard output, in the order of their numbers.

    To go on later, pass the number of the last line with --after: no event is missed or repeated.

    Example:  handstamp audit export --since 7d
    """

    async def write_all(deployment: Deployment, caller: Caller) -> None:
        since_ms = _parse_time(since, "--since", caller.now_ms) if since else 0
        before_ms = _parse_time(until, "--until", caller.now_ms) if until else FOREVER_MS
        async for page in deployment.audit_trail.export(after=after, since_ms=since_ms, before_ms=before_ms):
            for number, event in page:
                sys.stdout.write(json.dumps(_describe(number, event)) + "\n")
            sys.stdout.flush()

    operate(write_all, database)


def _parse_time(text: str, option: str, now_ms: int) -> int:
    try:
        return now_ms - parse_duration(text) * 1000
    except ValueError:
        pass
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{option} is a duration as 7d or 12h, or a time as 2026-01-31T12:00:00Z.") from None
    return int((at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp() * 1000)


def _describe(number: int, event: Event) -> dict[str, object]:
    at = datetime.datetime.fromtimestamp(event.at_ms / 1000, datetime.UTC)
    return {
        "number": number,
        "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "kind": event.kind,
        "subject": event.subject,
        "session": event.sid,
        "actor": event.actor,
        "ip": event.ip,
        "userAgent": event.user_agent,
        "detail": event.detail,
        "sentence": str(tell_event(event)),
    }
