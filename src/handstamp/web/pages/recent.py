"""The page of recent events, on which administrators read the audit trail backwards."""

from __future__ import annotations

import asyncio
import datetime
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from ...domain.event import EVENT_KINDS, Event, EventKind
from ...domain.history import tell_event
from ...errors import InvalidFields, NotFound
from ...service.operating.audit_trail import FOREVER_MS
from ...text import mark
from ..edge import Call
from ..operation import UseCases
from .admitting import MAX_ID
from .times import describe_time
from .writer import PageWriter

PAGE_SIZE = 30
_NUMBER = re.compile("[0-9]{1,15}", re.ASCII)
_KINDS = tuple(kind for kind, rule in EVENT_KINDS.items() if rule.level != "debug")


class Filter(msgspec.Struct):
    """The query of the page, as it was typed. Times are UTC, as `<input type="datetime-local">` writes them."""

    kind: str = ""
    person: str = ""
    since: str = ""
    until: str = ""
    before: str = ""


@dataclass(frozen=True, slots=True)
class RecentPages:
    """The handler of the page. It runs behind `for_administrators`."""

    use: UseCases
    writer: PageWriter

    async def show_recent(self, call: Call) -> Response:
        """Return the newest events that fit the query, with a link to older ones."""
        query = msgspec.convert(dict(call.request.query_params), Filter)
        if "@" in query.person:
            try:
                query.person = (await self.use.accounts.get(query.person)).id
            except (InvalidFields, NotFound):
                wrong = InvalidFields([("person", mark("No account has such an address."))])
                return self.writer.write_form_again("recent.html", wrong, call, **_values(query))
        try:
            events, following = await self.use.audit_trail.look_back(**_read(query), limit=PAGE_SIZE)
        except InvalidFields as error:
            return self.writer.write_form_again("recent.html", error, call, **_values(query))
        await asyncio.sleep(0)  # the page is written in a turn of the event loop of its own
        names = await self.use.accounts.name_all(_list_accounts([event for _, event in events]))
        values = _values(query) | {
            "events": [_describe(event, names, call) for _, event in events],
            "older": "" if following is None else urlencode(_keep(query) | {"before": str(following)}),
            "is_short": following is not None and len(events) < PAGE_SIZE,
        }
        return self.writer.write_page("recent.html", call, **values)


def _read(query: Filter) -> dict[str, Any]:
    """Return what a query asks for. Raises `InvalidFields` if that is nothing that there can be."""
    if query.kind and query.kind not in EVENT_KINDS:
        raise InvalidFields([("kind", mark("is no kind of event"))])
    if not query.person.isprintable() or len(query.person) > MAX_ID:
        raise InvalidFields([("person", mark("No account has such an address."))])
    return {
        "before": int(query.before) if _NUMBER.fullmatch(query.before) else None,
        "kind": query.kind or None,
        "subject": query.person or None,
        "since_ms": _read_time("since", query.since, 0),
        "until_ms": _read_time("until", query.until, FOREVER_MS),
    }


def _read_time(name: str, text: str, otherwise: int) -> int:
    if not text:
        return otherwise
    try:
        at = datetime.datetime.fromisoformat(text[:32]).replace(tzinfo=datetime.UTC)
    except ValueError:
        raise InvalidFields([(name, mark("must be a date and a time, as 2026-01-31T12:00"))]) from None
    return int(at.timestamp() * 1000)


def _keep(query: Filter) -> dict[str, str]:
    """Return the fields of a query that are not empty, without its place in the list."""
    return {name: value for name, value in msgspec.to_builtins(query).items() if value and name != "before"}


def _values(query: Filter) -> dict[str, Any]:
    return {"query": query, "kinds": _KINDS, "events": [], "older": "", "is_short": False}


def _list_accounts(events: list[Event]) -> list[str]:
    ids = {event.subject for event in events if event.subject}
    ids |= {event.operator.removeprefix("account:") for event in events if event.operator}
    return sorted(ids)


def _describe(event: Event, names: dict[str, str], call: Call) -> dict[str, Any]:
    kind: EventKind = event.kind
    operator = (event.operator or "").removeprefix("account:")
    return {
        "kind": kind,
        "is_warning": EVENT_KINDS[kind].level == "warning",
        "sentence": call.language.translate(tell_event(event)),
        "time": describe_time(event.at_ms, call),
        "subject": event.subject or "",
        "person": names.get(event.subject or "", ""),
        "session": event.sid or "",
        "operator": names.get(operator, operator),
    }
