"""The caller of a use case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from ...domain.binding import DeviceKey
from ...domain.event import Actor, Event, EventKind
from ...domain.reasons import EndReason, RevokedWhy
from ...domain.receipt import Repeatable
from ...domain.session import Session
from ...errors import NewProofRequired

MAX_USER_AGENT = 200
"""Characters of a `User-Agent` that an event keeps."""


class Operator(NamedTuple):
    """Who administers over the network: a person's account, or a service credential."""

    kind: Literal["account", "credential"]
    id: str

    def __str__(self) -> str:
        """Return the name in the audit trail."""
        return f"{self.kind}:{self.id}"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the use cases see it.

    Attributes:
        now_ms: The time of the request, in milliseconds since 1970.
        ip: The address of the client, "" if unknown.
        user_agent: The `User-Agent` header, "" if there was none.
        actor: Who acts.
        operator_sid: The session of the operator, "" for a credential and at the command line.
        operator: The operator, if one acts over the network. None for an operator at the command line.
        key: The key that the request has proved, to which a session that begins is bound; None if there is none.
        lacks_proof: True for an operator whose session is bound to a device, if this request has not proved the device's key.
        request: The request of an operator that may be sent again, None if it has no idempotency key.
        browser: The secret of the browser, to which codes and challenges are bound; "" if it has none, or is not asked for it.
    """

    now_ms: int
    ip: str = ""
    user_agent: str = ""
    actor: Actor = "person"
    operator: Operator | None = None
    operator_sid: str = ""
    browser: str = ""
    key: DeviceKey | None = None
    lacks_proof: bool = False
    request: Repeatable | None = None

    def __repr__(self) -> str:
        """Return a text without the secret."""
        return f"Caller(now_ms={self.now_ms}, ip={self.ip!r}, actor={self.actor!r})"

    def require_proof(self) -> None:
        """Raise `NewProofRequired` if the operator's session is bound to a device whose key this request has not proved.

        Use cases after which another person can sign in or administer call it. Otherwise a thief with a copy of an
        administrator's tokens could make access for themselves that lasts longer than the copy.
        """
        if self.lacks_proof:
            raise NewProofRequired

    def acting_in(self, session: Session) -> Caller:
        """Return who acts with the tokens of a session: the operator who began it in the place of the person, or this caller."""
        by = session.impersonator
        if by is None:
            return self
        return msgspec.structs.replace(self, actor="operator", operator=Operator("account", by.account_id))

    def event(
        self,
        kind: EventKind,
        *,
        subject: str | None = None,
        sid: str | None = None,
        actor: Actor | None = None,
        detail: Mapping[str, str | int | None] | None = None,
    ) -> Event:
        """Return the event of what this caller does to a subject or a session. `actor` is another one than the caller's."""
        return Event(
            at_ms=self.now_ms,
            kind=kind,
            subject=subject,
            sid=sid,
            ip=self.ip,
            user_agent=self.user_agent[:MAX_USER_AGENT],
            actor=actor or self.actor,
            operator=None if self.operator is None else str(self.operator),
            detail=dict(detail or {}),
        )

    def session_left(self, session: Session) -> tuple[RevokedWhy, Event]:
        """Return why a session ends that is left with its own tokens, and the event."""
        why: RevokedWhy = "logout" if session.impersonator is None else "impersonation_ended"
        return why, self.acting_in(session).session_ended(session, why)

    def session_ended(self, session: Session, why: EndReason, *, actor: Actor | None = None) -> Event:
        """Return the event of one session's end. `actor` is as for `event`."""
        return self.event("session_ended", subject=session.subject, sid=session.id, actor=actor, detail={"why": why})
