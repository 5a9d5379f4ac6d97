"""Tell what has happened to a person's sessions, in sentences: the answer to "why was I signed out"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import cast

import msgspec

from ..devices import name_device
from ..text import Text, mark, mark_plural
from .account import Account
from .event import EVENT_KINDS, Event
from .reasons import HOW_SESSIONS_END, EndReason
from .session import Session, end_reason, refresh_expires_at_s


class Entry(msgspec.Struct, frozen=True):
    """One sentence of a history, marked for translation.

    `at_ms` is milliseconds since 1970, UTC. `sid` is the session that it is about, None if it is about the account.
    """

    at_ms: int
    sentence: str
    sid: str | None = None


def tell(sessions: Iterable[Session], account: Account | None, events: Sequence[Event], now_ms: int) -> list[Entry]:
    """Return the history of some sessions of one person, oldest first.

    Events tell what happened once. The rows of the sessions tell the rest: how often each was renewed, and how those ended that
    ended by themselves or together with others.

    Args:
        sessions: Their rows.
        account: The account of the person, None if there is none.
        events: Those about the sessions, or all about the person.
        now_ms: Milliseconds since 1970.
    """
    told = [Entry(event.at_ms, tell_event(event), event.sid) for event in events]
    began = {event.sid for event in events if event.kind in _BEGINS}
    ended = {event.sid for event in events if event.kind in _ENDS}
    for session in sessions:
        if session.id not in began:  # its event is older than the audit trail
            told.append(Entry(session.created_at_ms, _tell_beginning(session), session.id))
        if session.generation:
            told.append(Entry(session.rotated_at_ms, _tell_renewals(session), session.id))
        if session.id not in ended:
            told += _tell_end(session, account, now_ms)
    return sorted(told, key=lambda entry: entry.at_ms)


def tell_event(event: Event) -> str:
    """Return the sentence of an event, marked for translation."""
    rule = EVENT_KINDS[event.kind]
    if event.kind == "session_ended":
        return HOW_SESSIONS_END.get(cast("EndReason", event.detail.get("why")), rule.sentence)
    if event.kind == "signed_in" and "label" in event.detail:
        return mark(_SIGNED_IN_WITH, provider=event.detail["label"], place=describe_place(event.ip, event.user_agent))
    template = rule.by_operator if event.actor == "operator" and rule.by_operator else rule.sentence
    details = {**event.detail, "place": _describe_origin(event)}
    values = {name: details.get(name, "?") for name in _PLACEHOLDER.findall(template)}  # older events have fewer details
    return Text(template % values, template, "", values)


def _describe_origin(event: Event) -> str:
    """Return where an event came from. The places of operators are not shown: people read this."""
    if event.actor == "operator":
        return Text(_SUPPORT, _SUPPORT, "", {})
    return describe_place(event.ip, event.user_agent)


def describe_place(ip: str, user_agent: str) -> str:
    """Return "203.0.113.7 (Firefox on Windows)", or as much as is known, marked for translation."""
    device = name_device(user_agent)
    if ip and device:
        return mark("%(ip)s (%(device)s)", ip=ip, device=device)
    return ip or device or Text(_UNKNOWN_PLACE, _UNKNOWN_PLACE, "", {})


_PLACEHOLDER = re.compile(r"%\((\w+)\)s")
_UNKNOWN_PLACE = mark("an unknown place")
_SUPPORT = mark("support")
_SIGNED_IN_WITH = mark("Signed in with %(provider)s from %(place)s.")
_BEGINS = {"signed_in", "password_changed", "impersonation_begun"}
_ENDS = {"session_ended", "reuse_detected"}


def _tell_beginning(session: Session) -> str:
    if session.impersonator is not None:
        return mark("Support began to look at the account as the person.")
    return mark("Signed in from %(place)s.", place=describe_place(session.ip, session.user_agent))


def _tell_renewals(session: Session) -> str:
    return mark_plural("Renewed once.", "Renewed %(count)s times; this was the last time.", count=session.generation)


def _tell_end(session: Session, account: Account | None, now_ms: int) -> list[Entry]:
    reason = end_reason(session, account, now_ms)
    if reason is None:
        return []
    at_ms = session.revoked_at_ms if reason == session.revoked_why else None
    if reason in ("idle", "expired", "unbound"):
        at_ms = refresh_expires_at_s(session) * 1000
    # Without a row of its own, a session has ended with the account: at the last event that ended all of them.
    return [Entry(now_ms if at_ms is None else at_ms, HOW_SESSIONS_END[reason], session.id)]
