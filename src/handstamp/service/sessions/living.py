"""Read sessions that have not ended."""

from __future__ import annotations

import msgspec

from ...domain.account import Account
from ...domain.assurance import is_as_strong
from ...domain.factor import Factors
from ...domain.session import FRESH_MS, Session, end_reason, is_fresh
from ...errors import Impersonated, InsufficientAuthentication, NotFound, SessionEnded
from ...storage.store import Rows, Store, Transaction
from ...storage.store.sessions import Place
from ...text import mark
from ..parts.caller import Caller

PAGE_SIZE = 200


class SessionPage(msgspec.Struct, frozen=True):
    """Some living sessions, those last seen first, and the place at which the next page begins: None after the last page."""

    sessions: list[Session]
    following: Place | None


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

    async def list_page(
        self, subject: str | None, caller: Caller, *, before: Place | None = None, limit: int = PAGE_SIZE
    ) -> SessionPage:
        """Return a page of living sessions. The first page has those that began last.

        Args:
            subject: Whose sessions, None for those of all subjects.
            caller: The time of the request.
            before: The `following` of the page before; None for the first page.
            limit: The most sessions of a page.

        Raises:
            Unavailable: If the store does not answer.
        """

        async def read(rows: Rows) -> SessionPage:
            found = await rows.sessions.list_page(subject, before=before, now_ms=caller.now_ms, limit=limit)
            accounts = {name: await rows.accounts.get(name) for name in {session.subject for session in found}}
            living = [each for each in found if end_reason(each, accounts[each.subject], caller.now_ms) is None]
            following = (found[-1].expires_at_ms, found[-1].id) if len(found) == limit else None
            return SessionPage(_sort(living), following)

        return await self._store.read(read)

    async def list_all(self, subject: str | None, caller: Caller, *, limit: int | None = None) -> tuple[list[Session], bool]:
        """Return the living sessions, those last seen first, and whether `limit` has left some out, which began earlier."""
        found: list[Session] = []
        page = SessionPage([], None)
        while limit is None or len(found) <= limit:
            page = await self.list_page(subject, caller, before=page.following)
            found += page.sessions
            if page.following is None:
                break
        found.sort(key=lambda session: session.expires_at_ms, reverse=True)
        return _sort(found[:limit]), limit is not None and len(found) > limit


def require_fresh(session: Session, now_ms: int) -> None:
    """Raise `InsufficientAuthentication` if the person of a session signed in too long ago to change who owns the account."""
    if not is_fresh(session, now_ms):
        raise InsufficientAuthentication(max_age_s=FRESH_MS // 1000)


def require_strong(session: Session, factors: Factors) -> None:
    """Raise `InsufficientAuthentication` if the account has a second factor and the session was not proved with one.

    Otherwise who knows the password could remove the factor that is to stop them.
    """
    if factors.is_any and not is_as_strong(session.acr, "mfa"):
        raise InsufficientAuthentication(max_age_s=FRESH_MS // 1000, acr="mfa")


def require_account(account: Account | None) -> Account:
    """Return the account of a session. Raises `NotFound` if its subject is not an account of this service."""
    if account is None:
        raise NotFound(mark("This session belongs to no account of this service."))
    return account


async def require_living_session(rows: Transaction, sid: str, caller: Caller) -> tuple[Session, Account]:
    """Return a session and its account as they are in this transaction.

    Raises:
        Impersonated: If an operator acts in it in the place of the person.
        SessionEnded: If the session has ended meanwhile. So whatever ends all sessions of the account stops this change, too.
    """
    session, account = await rows.sessions.get(sid) or (None, None)
    if session is None or account is None:
        raise SessionEnded("expired")
    ended = end_reason(session, account, caller.now_ms)
    if ended is not None:
        raise SessionEnded(ended)
    if session.impersonator is not None:
        raise Impersonated
    return session, account


def _sort(sessions: list[Session]) -> list[Session]:
    return sorted(sessions, key=lambda session: session.seen_at_ms, reverse=True)
