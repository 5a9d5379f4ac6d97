"""What has happened to a session, or to a person and all their sessions."""

from __future__ import annotations

import msgspec

from ...domain.account import Account
from ...domain.event import Event
from ...domain.history import Entry, tell
from ...domain.session import Session, end_reason
from ...errors import NotFound
from ...storage.store import Rows, Store
from ..parts.caller import Caller
from ..parts.email_address import normalise_email

MOST_EVENTS = 200
"""The last events that are told."""
MOST_SESSIONS = 50
"""The sessions of these events that are told of, latest first."""


OWN_EVENTS, OWN_SESSIONS = 60, 12
"""The same for a person's own page, which must cost little whoever loads it."""


class History(msgspec.Struct, frozen=True):
    """The history of one session, or of all sessions of a person.

    Attributes:
        subject: The person, as the tokens name them.
        account: Their account, None if they have none here.
        sessions: Those that it tells of, latest first; also ended ones, until they would have expired.
        living: The ids of those that are alive.
        entries: What has happened, oldest first.
        is_cut: Whether there was more.
    """

    subject: str
    account: Account | None
    sessions: list[Session]
    living: set[str]
    entries: list[Entry]
    is_cut: bool


class Histories:
    """The use cases that tell what has happened."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def of(self, about: str, caller: Caller) -> History:
        """Return the history of a person or of a session, for an operator.

        Args:
            about: An e-mail address, the id of a session, or a subject.
            caller: The time of the request.

        Raises:
            NotFound: If nothing is known about it.
            InvalidFields: If it has the form of an address and is none.
            Unavailable: If the store does not answer.
        """
        if "@" in about:
            email = await normalise_email(about)
            return await self._store.read(lambda rows: _read_of_email(rows, email, caller))
        return await self._store.read(lambda rows: _read(rows, about, caller))

    async def of_subject(self, subject: str, account: Account | None, caller: Caller) -> History:
        """Return the history of a person, for themselves. Raises `Unavailable`."""
        return await self._store.read(
            lambda rows: _read_of_subject(rows, subject, account, caller, events=OWN_EVENTS, sessions=OWN_SESSIONS)
        )


async def _read_of_email(rows: Rows, email: str, caller: Caller) -> History:
    account = await rows.accounts.get_by_email(email)
    if account is None:
        raise NotFound(f"There is no account with the address {email}. See: handstamp users list")
    return await _read_of_subject(rows, account.id, account, caller)


async def _read(rows: Rows, about: str, caller: Caller) -> History:
    session, account = await rows.sessions.get(about) or (None, None)
    if session is None:
        account = await rows.accounts.get(about)
        history = await _read_of_subject(rows, about, account, caller)
        if account is None and not history.entries:
            raise NotFound(f"Nothing is known about {about}: it is no session or subject that the audit trail has.")
        return history
    events = await rows.events.list_about(session.id, limit=MOST_EVENTS)
    return _make(session.subject, account, [session], events, caller, is_cut=len(events) == MOST_EVENTS)


async def _read_of_subject(
    rows: Rows, subject: str, account: Account | None, caller: Caller, *, events: int = MOST_EVENTS, sessions: int = MOST_SESSIONS
) -> History:
    found = await rows.events.list_about(subject, limit=events)
    sids = dict.fromkeys(event.sid for event in reversed(found) if event.sid is not None)
    told = [row[0] for sid in list(sids)[:sessions] if (row := await rows.sessions.get(sid)) is not None]
    is_cut = len(sids) > sessions or len(found) == events
    return _make(subject, account, told, found, caller, is_cut=is_cut)


def _make(
    subject: str, account: Account | None, sessions: list[Session], events: list[Event], caller: Caller, *, is_cut: bool
) -> History:
    living = {session.id for session in sessions if end_reason(session, account, caller.now_ms) is None}
    return History(subject, account, sessions, living, tell(sessions, account, events, caller.now_ms), is_cut)
