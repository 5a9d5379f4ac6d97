"""What happened, in the words of the audit trail.

An event is kept in the store with the write that it describes, in the same transaction. What writes nothing (a repeat, a failed
sign-in) and what is routine (a refresh, whose row is its own record) goes to the audit log alone.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .session import RevokedWhy, Session

EventKind = Literal[
    "account_created",
    "account_disabled",
    "account_enabled",
    "caught_up",
    "credential_added",
    "credential_removed",
    "key_added",
    "key_removed",
    "key_resealed",
    "key_voided",
    "logged_out_everywhere",
    "password_changed",
    "recovered",
    "refreshed",
    "repeated",
    "reuse_detected",
    "session_ended",
    "sign_in_failed",
    "sign_in_throttled",
    "signed_in",
]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the audit trail. It never holds a password, a token, a cookie or an address typed by a stranger."""

    at_ms: int
    kind: EventKind
    subject: str | None = None
    sid: str | None = None
    ip: str = ""
    detail: dict[str, str | int | None] = {}


def session_ended(session: Session, why: RevokedWhy, now_ms: int, ip: str) -> Event:
    """Return the record of one session's end."""
    return Event(at_ms=now_ms, kind="session_ended", subject=session.subject, sid=session.id, ip=ip, detail={"why": why})
