"""Read sessions that have not ended."""

from __future__ import annotations

from ...domain.account import Account
from ...domain.session import Session, end_reason
from ...errors import SessionEnded
from ...storage.store import Rows, Store
from ..parts.caller import Caller

LIST_LIMIT = 200


class LivingSessions:
    """The use cases that read living sessions."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def require_living(self, sid: str, now_ms: int) -> tuple[Session, Account | None]:
        """Return a session that has not ended at `now_ms`, with its account.

        The store is asked each time, so a sign-out in any process takes effect at the next request.

        Raises:
            SessionEnded: If the session has ended or does not exist.
            Unavailable: If the store does not answer.
        """
        found = await self._store.session(sid)
        if found is None:
            raise SessionEnded("expired")
        session, account = found
        ended = end_reason(session, account, now_ms)
        if ended is not None:
            raise SessionEnded(ended)
        return session, account

    async def list_living(self, subject: str | None, caller: Caller, *, limit: int = LIST_LIMIT) -> list[Session]:
        """Return up to `limit` living sessions, last seen first. `subject=None` means those of all subjects."""

        async def list_rows(rows: Rows) -> list[Session]:
            found = await rows.sessions.list_live(subject, now_ms=caller.now_ms, limit=limit)
            accounts = {name: await rows.accounts.get(name) for name in {session.subject for session in found}}
            return [session for session in found if end_reason(session, accounts[session.subject], caller.now_ms) is None]

        return await self._store.read(list_rows)
