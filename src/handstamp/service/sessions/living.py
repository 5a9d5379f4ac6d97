"""Looking at sessions: is this one alive, and which others are there."""

from __future__ import annotations

from ...domain.account import Account
from ...domain.session import Session, end_reason
from ...errors import SessionEnded
from ...storage.store import Rows, Store
from ..parts.caller import Caller

LIST_LIMIT = 200


class LivingSessions:
    """The use cases that read sessions."""

    def __init__(self, *, store: Store) -> None:
        """Take the store."""
        self._store = store

    async def require_living(self, sid: str, now_ms: int) -> tuple[Session, Account | None]:
        """Return a session with its account; raise `SessionEnded` if it is over at `now_ms`.

        This asks the store each time, so a sign-out in any process holds for the very next request here.
        """
        found = await self._store.session(sid)
        if found is None:
            raise SessionEnded("expired")
        session, account = found
        over = end_reason(session, account, now_ms)
        if over is not None:
            raise SessionEnded(over)
        return session, account

    async def list_living(self, subject: str | None, caller: Caller, *, limit: int = LIST_LIMIT) -> list[Session]:
        """Return the living sessions of a subject, or of everybody, last seen first."""

        async def look(rows: Rows) -> list[Session]:
            found = await rows.sessions.list_live(subject, now_ms=caller.now_ms, limit=limit)
            accounts = {name: await rows.accounts.get(name) for name in {session.subject for session in found}}
            return [session for session in found if end_reason(session, accounts[session.subject], caller.now_ms) is None]

        return await self._store.read(look)
