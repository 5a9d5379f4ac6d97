"""Keep the number of a person's sessions within the limit."""

from __future__ import annotations

from contextlib import suppress

from ...domain.account import Account
from ...domain.event import Event
from ...domain.session import Session, end_reason, revoke
from ...errors import Unavailable
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller

MOST_ENDED = 50
"""How many sessions beyond the limit one transaction ends. There is more than one only after the limit was lowered."""


class SessionLimit:
    """Ends the sessions of a subject that were seen the longest ago, if there are too many."""

    def __init__(self, *, store: Store, most: int, audit: Audit) -> None:
        """Create it. `most` is the number of sessions that one subject can have."""
        self._store = store
        self._most = most
        self._audit = audit

    async def enforce(self, rows: Transaction, session: Session, account: Account | None, caller: Caller) -> list[Event]:
        """End up to `MOST_ENDED` sessions beyond the limit, in the transaction that begins `session`.

        Rows of idle sessions count and go first. So a person never has more unrevoked rows than the limit, and reading all of
        them is bounded.

        Returns:
            An event for each session that ended.
        """
        now_ms = caller.now_ms
        count = await rows.sessions.count_unrevoked(session.subject, now_ms=now_ms, limit=self._most + MOST_ENDED)
        if count <= self._most:
            return []
        events = []
        for other in await rows.sessions.list_dispensable(session, now_ms=now_ms, limit=count - self._most):
            await rows.sessions.update(revoke(other, "session_limit", now_ms))
            events.append(caller.session_ended(other, end_reason(other, account, now_ms) or "session_limit"))
            await rows.events.insert(events[-1])
        return events

    async def finish(self, ended: list[Event], session: Session, account: Account | None, caller: Caller) -> None:
        """Log what `enforce` has ended, after its transaction, and end the sessions that are still too many.

        If the store fails meanwhile, the next sign-in ends them: the new session must not be lost.
        """
        self._log(ended)
        with suppress(Unavailable):
            while len(ended) == MOST_ENDED:
                ended = await self._store.transact(lambda rows: self.enforce(rows, session, account, caller))
                self._log(ended)

    def _log(self, events: list[Event]) -> None:
        for event in events:
            self._audit.log(event)
