"""Queries and changes of sessions."""

from __future__ import annotations

from typing import Protocol

from ...domain.account import Account
from ...domain.event import Event
from ...domain.session import Session
from ...domain.sweep import Sweep

Place = tuple[int, str]
"""Where a session stands in a list: its `expires_at_ms` and its id. Neither changes, unlike the time it was last seen."""
Counted = tuple[str, int, str]
"""Where a session stands when all are counted: its subject, its `expires_at_ms` and its id."""
FIRST_COUNTED: Counted = ("", 0, "")
COMPARED = 300
"""How many sessions `list_dispensable` looks at. More would hold the event loop for too long."""


class SessionQueries(Protocol):
    """Reads sessions."""

    async def get(self, sid: str) -> tuple[Session, Account | None] | None:
        """Return a session and its subject's account, whether the session is live or not. None if there is no such session.

        The account is None if it is gone, or if the session's `epoch` is None, which means that its subject is no account.
        """

    async def list_page(self, subject: str | None, *, before: Place | None = None, now_ms: int, limit: int) -> list[Session]:
        """Return up to `limit` sessions that are neither revoked nor past `expires_at_ms`, in descending order of their places.

        `subject=None` means sessions of all subjects. The result may contain sessions that are idle or of an earlier epoch:
        `domain.session.end_reason` tells.
        """

    async def list_all_of(self, subject: str, *, after: tuple[str, str], limit: int) -> list[Session]:
        """Return up to `limit` sessions of a subject, live or not, that sort after `after` by network (of `ip`) and id."""

    async def count_unrevoked_after(self, place: Counted, *, now_ms: int, limit: int) -> tuple[int, Counted | None]:
        """Count sessions that are neither revoked nor past `expires_at_ms`, among the next `limit` after a place.

        Returns:
            How many, and the place to go on from; None if that were the last ones. The first place is `FIRST_COUNTED`.
        """

    async def has_any_from(self, subject: str, network: str) -> bool:
        """Return True if the subject has a session, live or not, that was started from that network (`domain.network`).

        "" is an unknown network, from which there are none.
        """

    async def has_any_like(self, subject: str, network: str, user_agent: str) -> bool:
        """Return True if the subject has a session, live or not, that was started from that network with that `User-Agent`."""

    async def count_unrevoked(self, subject: str, *, now_ms: int, limit: int) -> int:
        """Return how many sessions of a subject are neither revoked nor past `expires_at_ms`, at most `limit`."""

    async def list_dispensable(self, session: Session, *, now_ms: int, limit: int) -> list[Session]:
        """Return the `limit` other unrevoked sessions of a session's subject that can best be missed, in any order.

        These are first those that are idle or of another epoch, then those that were seen the longest ago. Only the `COMPARED`
        sessions that end first are looked at.
        """


class SessionTable(SessionQueries, Protocol):
    """Reads and changes sessions."""

    async def insert(self, session: Session) -> None:
        """Add a session."""

    async def update(self, session: Session) -> None:
        """Write an existing session. If it is revoked, add its revocation, and end those that an operator began in it."""

    async def end_impersonations(self, *, now_ms: int, by: str = "", within: str = "", of: str = "") -> list[Event]:
        """End living sessions in which an operator acts, with a revocation and an event for each. Return the events.

        Args:
            now_ms: Milliseconds since 1970.
            by: The operator's account.
            within: With `by`, only those that began in this session of the operator.
            of: Instead of `by`, the person in whose place an operator acts.
        """

    async def end_batch(self, sweep: Sweep, *, now_ms: int, limit: int) -> int:
        """End up to `limit` sessions of a sweep, with a revocation for each that lived. Return the number of sessions.

        All sessions end as well in which the subject acts in the place of others.

        If it is below `limit`, none is left. A session that was revoked before keeps its time and reason.
        """
