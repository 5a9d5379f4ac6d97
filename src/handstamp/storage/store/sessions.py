"""Queries and changes of sessions."""

from __future__ import annotations

from typing import Protocol

from ...domain.account import Account
from ...domain.reasons import RevokedWhy
from ...domain.session import Session


class SessionQueries(Protocol):
    """Reads sessions."""

    async def get(self, sid: str) -> tuple[Session, Account | None] | None:
        """Return a session and its subject's account, whether the session is live or not. None if there is no such session.

        The account is None if it is gone, or if the session's `epoch` is None, which means that its subject is no account.
        """

    async def list_live(self, subject: str | None, *, now_ms: int, limit: int) -> list[Session]:
        """Return up to `limit` sessions that are neither revoked nor past `expires_at_ms`, last seen first.

        `subject=None` means sessions of all subjects. The result may contain sessions that are idle or of an earlier epoch:
        `domain.session.end_reason` tells.
        """

    async def has_any_from(self, subject: str, network: str) -> bool:
        """Return True if the subject has a session, live or not, that was started from that network (`domain.network`).

        "" is an unknown network, from which nobody has any.
        """


class SessionTable(SessionQueries, Protocol):
    """Reads and changes sessions."""

    async def insert(self, session: Session) -> None:
        """Add a session."""

    async def update(self, session: Session) -> None:
        """Write an existing session. If it is revoked, add its revocation."""

    async def revoke_all(self, subject: str, why: RevokedWhy, *, now_ms: int) -> int:
        """Revoke every live session of a subject, with a revocation for each. Return the number of sessions.

        A session that was revoked before keeps its time and reason.
        """
