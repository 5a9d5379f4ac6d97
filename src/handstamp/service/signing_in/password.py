"""Sign in with an e-mail address and a password."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ...crypto.identifiers import new_id
from ...domain.account import Account, is_hashable_password, normalise_password
from ...domain.delivery import Delivery
from ...domain.event import Event, session_ended
from ...domain.policy import Policy
from ...domain.session import end_reason, revoke, start
from ...errors import InvalidCredentials, InvalidFields, TooManyAttempts, Unavailable
from ...storage.store import Rows, Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.email_address import normalise_email
from ..parts.granting import Granting, combine_grants
from ..parts.hashing import Hashing
from ..parts.throttling import Counter, Throttling
from ..parts.tokens import TokenIssuer, TokenPair


class PasswordSignIn:
    """The use case behind `POST /login`."""

    def __init__(
        self,
        *,
        store: Store,
        tokens: TokenIssuer,
        granting: Granting,
        hashing: Hashing,
        throttling: Throttling,
        policy: Policy,
        audit: Audit,
    ) -> None:
        """Take what it works with."""
        self._store = store
        self._tokens = tokens
        self._granting = granting
        self._hashing = hashing
        self._throttling = throttling
        self._policy = policy
        self._audit = audit

    async def __call__(
        self, email: str, password: str, *, delivery: Delivery, caller: Caller, presented: Iterable[str] = ()
    ) -> TokenPair:
        """Start a session and return its first pair. Sessions of the `presented` tokens are ended (T15).

        An unknown address, a wrong password and a disabled account take the same steps and raise the same
        `InvalidCredentials`. Raises `InvalidFields`, `TooManyAttempts`, `Unavailable` too.
        """
        email = normalise_email(email)
        password = normalise_password(password)
        if not is_hashable_password(password):
            raise InvalidFields([("password", "is empty, or none that can have been chosen here")])
        try:
            return await self._attempt(email, password, delivery, caller, presented)
        except TooManyAttempts as refused:
            detail: dict[str, str | int | None] = {"retry_after_s": refused.retry_after_s}
            self._audit.log(Event(at_ms=caller.now_ms, kind="sign_in_throttled", ip=caller.ip, detail=detail))
            raise

    async def _attempt(
        self, email: str, password: str, delivery: Delivery, caller: Caller, presented: Iterable[str]
    ) -> TokenPair:
        account, counters = await self._look_up(email, caller)
        right = await self._hashing.matches(account.password_hash if account else None, password)
        if account is None or not right or account.disabled_at_ms is not None:
            await self._refuse(account, counters, caller)
        else:
            pair = await self._start(account, counters, delivery, caller, presented)
            await self._rehash_if_outdated(account, password)
            return pair
        raise InvalidCredentials

    async def _look_up(self, email: str, caller: Caller) -> tuple[Account | None, Sequence[Counter]]:
        async def look(rows: Rows) -> tuple[Account | None, Sequence[Counter]]:
            account = await rows.accounts.get_by_email(email)
            at_home = await rows.sessions.has_any_from(account.id if account else "", caller.ip)
            counters = self._throttling.list_counters(email, caller.ip, at_home=at_home)
            await self._throttling.require_no_wait(rows, counters, caller.now_ms)
            return account, counters

        return await self._store.read(look)

    async def _refuse(self, account: Account | None, counters: Sequence[Counter], caller: Caller) -> None:
        await self._store.transact(lambda rows: self._throttling.count_failure(rows, counters, caller.now_ms))
        subject = account.id if account else None
        self._audit.log(Event(at_ms=caller.now_ms, kind="sign_in_failed", subject=subject, ip=caller.ip))

    async def _start(
        self,
        account: Account,
        counters: Sequence[Counter],
        delivery: Delivery,
        caller: Caller,
        presented: Iterable[str],
    ) -> TokenPair:
        asked = await self._granting.ask(account.id)
        ended = {self._tokens.find_session_id(token) for token in presented} - {None}
        session = start(
            new_id(),
            subject=account.id,
            epoch=account.epoch,
            delivery=delivery,
            amr=("pwd",),
            user_agent=caller.user_agent,
            ip=caller.ip,
            now_ms=caller.now_ms,
            policy=self._policy,
        )
        event = Event(
            at_ms=caller.now_ms,
            kind="signed_in",
            subject=account.id,
            sid=session.id,
            ip=caller.ip,
            detail={"delivery": delivery},
        )

        async def begin(rows: Transaction) -> TokenPair:
            # While the password was hashed, others may have used up the attempts, or changed the password.
            await self._throttling.require_no_wait(rows, counters, caller.now_ms)
            now = await rows.accounts.get(account.id)
            if now is None or now.disabled_at_ms is not None or now.epoch != account.epoch:
                raise InvalidCredentials
            for sid in ended:
                before, owner = await rows.sessions.get(sid or "") or (None, None)
                if before is not None and end_reason(before, owner, caller.now_ms) is None:
                    await rows.sessions.update(revoke(before, "logout", caller.now_ms))
                    await rows.events.insert(session_ended(before, "logout", caller.now_ms, caller.ip))
            await rows.sessions.insert(session)
            await self._throttling.forgive(rows, counters)
            await rows.events.insert(event)
            return self._tokens.mint(session, combine_grants(session, now, asked), caller.now_ms)

        pair = await self._store.transact(begin)
        self._audit.log(event)
        return pair

    async def _rehash_if_outdated(self, account: Account, password: str) -> None:
        """Keep the password under today's parameters. It is no change of password: the epoch stays, and so do the sessions."""
        if not self._hashing.is_outdated(account.password_hash):
            return

        async def save(rows: Transaction) -> None:
            now = await rows.accounts.get(account.id)
            if now is not None and now.password_hash == account.password_hash:
                await rows.accounts.update(msgspec.structs.replace(now, password_hash=fresh))

        try:
            fresh = await self._hashing.hash(password)
            await self._store.transact(save)
        except Unavailable:
            return  # the next sign-in will do it
