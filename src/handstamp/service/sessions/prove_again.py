"""Record that the person of a session has proved again who they are, as an application says of its own users (RFC 9470)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...domain.account import Account
from ...domain.event import Event
from ...domain.session import Session, end_reason
from ...errors import InvalidFields, SessionEnded
from ...storage.store import Store, Update
from ...text import mark
from ..parts.audit import Audit
from ..parts.caller import Caller


class ProveAgain:
    """The use case for sessions of an application's own users. People with an account prove it at `POST /login/step-up`."""

    def __init__(self, *, store: Store, audit: Audit) -> None:
        self._store = store
        self._audit = audit

    async def __call__(self, sid: str, subject: str, caller: Caller, *, amr: Sequence[str], acr: str | None) -> None:
        """Replace the proof of a session: its time, `amr` and `acr`. Nothing else of it changes; the next refresh carries it.

        Args:
            sid: The session.
            subject: The person who has proved who they are. Another one than that of the session changes nothing.
            caller: The time and place of the proof.
            amr: The methods of the proof (RFC 8176).
            acr: Its class, None if it has none.

        Raises:
            SessionEnded: If the session has ended or does not exist.
            InvalidFields: If it is the session of another person, or of an account of this service.
            Unavailable: If the store does not answer.
        """

        def renew(session: Session | None, account: Account | None) -> Update[Event | SessionEnded | InvalidFields]:
            if session is None:
                return Update(SessionEnded("expired"))
            ended = end_reason(session, account, caller.now_ms)
            if ended is not None:
                return Update(SessionEnded(ended))
            if session.subject != subject:
                return Update(InvalidFields([("subject", mark("is not the person of this session"))]))
            if account is not None:
                return Update(InvalidFields([("subject", mark("has an account, and proves it at /login/step-up"))]))
            after = msgspec.structs.replace(session, authenticated_at_ms=caller.now_ms, amr=tuple(amr), acr=acr)
            event = caller.event("stepped_up", subject=subject, sid=sid, detail={"amr": " ".join(amr)})
            return Update(event, after, (event,))

        outcome = await self._store.update_session(sid, renew)
        if not isinstance(outcome, Event):
            raise outcome
        self._audit.log(outcome)
