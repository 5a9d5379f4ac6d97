"""`handstamp audit`: export the audit trail."""

from __future__ import annotations

import datetime
import json
import sys
from typing import Annotated

import typer

from ..assemble.deployment import Deployment
from ..domain.duration import parse_duration
from ..errors import ConfigurationError, Unavailable
from ..service.operating.audit_receivers import ReceiverStatus
from ..service.operating.audit_trail import FOREVER_MS, describe_event
from ..service.operating.audit_webhook import Target
from ..service.parts.caller import Caller
from ..words import format_distance, format_time
from .common import AsJson, Database, make_group, print_json
from .operating import operate
from .tables import print_table

_ACCEPTED = "accepted"
_NO_RECEIVER = "HANDSTAMP_AUDIT_WEBHOOK_URLS names no receiver."

app: typer.Typer = make_group("Export the audit trail, and see how far its receivers are.")


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
                sys.stdout.write(json.dumps(describe_event(number, event)) + "\n")
            sys.stdout.flush()

    operate(write_all, database)


@app.command()
def webhook(
    test: Annotated[bool, typer.Option("--test", help="Send a signed message without events to each receiver.")] = False,
    as_json: AsJson = False,
    database: Database = None,
) -> None:
    """Show how far the receivers of HANDSTAMP_AUDIT_WEBHOOK_URLS are. The service sends, not this command.

    Example:  handstamp audit webhook --test
    """

    async def send_tests(deployment: Deployment, _: Caller) -> list[tuple[str, str]]:
        return [(target.name, await _send_test(deployment, target)) for target in deployment.auditing.targets]

    async def read(deployment: Deployment, caller: Caller) -> tuple[int, list[ReceiverStatus]]:
        return caller.now_ms, await deployment.auditing.read_receivers()

    if test:
        results = operate(send_tests, database)
        print_table(("RECEIVER", "ANSWER"), results, empty=_NO_RECEIVER)
        if any(answer != _ACCEPTED for _, answer in results):
            raise typer.Exit(1)
        return
    now, found = operate(read, database)
    if as_json:
        print_json([_describe(status) for status in found])
        return
    columns = ("RECEIVER", "SENT TO", "LAST SENT", "WAITING SINCE", "TRIES", "NEXT", "LOST", "LAST ERROR")
    print_table(columns, [_show(status, now) for status in found], empty=_NO_RECEIVER)


async def _send_test(deployment: Deployment, target: Target) -> str:
    try:
        status = await deployment.auditing.send_test(target)
    except Unavailable as problem:
        return problem.why
    return _ACCEPTED if 200 <= status < 300 else f"it answered {status}"


def _describe(status: ReceiverStatus) -> dict[str, object]:
    receiver = status.receiver
    return {
        "receiver": receiver.name,
        "configured": status.is_configured,
        "sentTo": receiver.sent_to,
        "sentAtMs": receiver.sent_at_ms,
        "waitingSinceMs": status.waiting_since_ms,
        "tries": receiver.tries,
        "nextAtMs": receiver.next_at_ms or None,
        "lost": receiver.lost,
        "error": receiver.error,
    }


def _show(status: ReceiverStatus, now: int) -> tuple[str, ...]:
    receiver, since_ms = status.receiver, status.waiting_since_ms
    is_due = receiver.next_at_ms <= now
    return (
        receiver.name if status.is_configured else f"{receiver.name} (not configured)",
        str(receiver.sent_to),
        "-" if receiver.sent_at_ms is None else format_time(receiver.sent_at_ms),
        "-" if since_ms is None else format_distance(now, since_ms),
        str(receiver.tries),
        "-" if since_ms is None else "now" if is_due else format_distance(now, receiver.next_at_ms),
        str(receiver.lost),
        receiver.error or "-",
    )


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
