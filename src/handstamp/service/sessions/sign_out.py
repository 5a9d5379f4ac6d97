"""Sign out: end one session, or all sessions of a person."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ...domain.account import Account
from ...domain.event import Event
from ...domain.reasons import RevokedWhy
from ...domain.session import Session, end_reason, revoke
from ...domain.sweep import Sweep
from ...errors import NotFound
from ...storage.store import Store, Transaction, Update
from ...text import mark
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.receipts import Receipts, request_repeated
from ..parts.tokens import TokenIssuer
from .sweeping import Sweeping


class SignOut:
    """The use cases that end sessions. When they return, the end is durable and no token of the session is valid."""

    def __init__(self, *, store: Store, tokens: TokenIssuer, sweeping: Sweeping, receipts: Receipts, audit: Audit) -> None:
        self._store = store
        self._receipts = receipts
        self._tokens = tokens
        self._sweeping = sweeping
        self._audit = audit

    async def end_by_tokens(self, presented: Iterable[str], caller: Caller) -> None:
        """End the sessions of these tokens: valid, expired or already rotated. Unknown ones are ignored (RFC 7009 §2.2)."""
        for sid in sorted({named.id for token in presented if (named := self._tokens.find_session(token))}):
            await self._end(sid, None, caller)

    async def end_own(self, subject: str, sid: str, caller: Caller) -> None:
        """End a session of `subject`, unless it has ended already.

        Raises:
            NotFound: If the session does not exist or belongs to another subject.
        """
        if not await self._end(sid, "logout", caller, of=subject):
            session, _ = await self._store.session(sid) or (None, None)
            if session is None or session.subject != subject:
                raise NotFound(mark("You have no such session."))

    async def end_by_operator(self, sid: str, caller: Caller) -> None:
        """End any living session, as an operator.

        Raises:
            NotFound: If the session does not exist or has ended.
        """
        if not await self._end(sid, "admin", caller):
            raise NotFound(f"There is no living session {sid}. See: handstamp sessions list")

    async def end_one(self, sid: str, caller: Caller) -> bool:
        """End a session for the embedding application. Return False if it had ended before or does not exist."""
        return await self._end(sid, "logout", caller)

    async def end_all(self, subject: str, caller: Caller, *, why: RevokedWhy = "logout_everywhere") -> int:
        """End every session of a subject, and make any sign-in already in progress fail.

        Returns:
            The number of sessions that were alive; for an operator's request that is sent again, when it was sent first.

        Raises:
            Unavailable: If the store does not answer. The service may have ended the sessions then; verifiers elsewhere learn
                of it when the store answers again.
        """

        async def end_sessions(rows: Transaction) -> tuple[Event, int]:
            ended_before = await self._receipts.find_of(rows, caller)
            if ended_before is not None:
                return request_repeated(subject, None, caller), int(ended_before)
            account = await rows.accounts.get(subject)
            epoch = None if account is None else account.epoch + 1
            if account is not None:
                await rows.accounts.update(msgspec.structs.replace(account, epoch=epoch))
            sweep = Sweep(subject=subject, why=why, at_ms=caller.now_ms, epoch=epoch)
            count = await self._sweeping.begin(rows, sweep)
            event = caller.event("logged_out_everywhere", subject=subject, detail={"why": why, "sessions": count})
            await rows.events.insert(event)
            await self._receipts.save_of(rows, caller, str(count))
            return event, count

        event, count = await self._store.transact(end_sessions)
        self._audit.log(event)
        others = await self._sweeping.finish(subject)
        if others and caller.request is not None:
            await self._store.transact(lambda rows: self._receipts.save_of(rows, caller, str(count + others)))
        return count + others

    async def _end(self, sid: str, why: RevokedWhy | None, caller: Caller, *, of: str | None = None) -> bool:
        """End a living session; with `of`, only if it belongs to that subject. Return True if it was ended.

        `why` is None if it is left with its own tokens.
        """

        def end(session: Session | None, account: Account | None) -> Update[Event | None]:
            if session is None or end_reason(session, account, caller.now_ms) is not None:
                return Update(None)
            if of is not None and session.subject != of:
                return Update(None)
            reason, event = caller.session_left(session) if why is None else (why, caller.session_ended(session, why))
            return Update(event, revoke(session, reason, caller.now_ms), (event,))

        event = await self._store.update_session(sid, end)
        if event is not None:
            self._audit.log(event)
        return event is not None
