"""Change a password, as the person who is signed in."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from ...domain.account import Account, is_hashable_password, normalise_password
from ...domain.assurance import is_as_strong
from ...domain.mail import PasswordChanged
from ...domain.proof import Proof
from ...domain.receipt import Repeatable
from ...domain.session import Session
from ...domain.sweep import Sweep
from ...errors import InvalidCredentials, InvalidFields, Unavailable
from ...storage.store import Store, Transaction
from ...text import mark
from ..mailing.notices import Notices
from ..parts.caller import Caller
from ..parts.hashing import Hashing
from ..parts.throttling import Throttling
from ..parts.tokens import TokenIssuer, TokenPair
from ..sessions.begin import BeginSession
from ..sessions.living import require_account, require_fresh, require_living_session, require_strong
from ..sessions.sweeping import Sweeping
from .new_password import PasswordRules


class ChangePassword:
    """The use case behind `POST /password`."""

    def __init__(
        self,
        *,
        store: Store,
        tokens: TokenIssuer,
        begin_session: BeginSession,
        hashing: Hashing,
        throttling: Throttling,
        rules: PasswordRules,
        sweeping: Sweeping,
        notices: Notices,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._begin_session = begin_session
        self._hashing = hashing
        self._throttling = throttling
        self._rules = rules
        self._sweeping = sweeping
        self._notices = notices

    async def __call__(
        self,
        session: Session,
        account: Account | None,
        current: str,
        new: str,
        caller: Caller,
        *,
        request: Repeatable | None = None,
    ) -> TokenPair:
        """Change the password of a session's account. All its sessions end, and a new one begins.

        Args:
            session: The session of the person who asks.
            account: Its account, read together with it, or None if it has none.
            current: The current password as it was typed; "" if the account has none, whose person has just proved who they are.
            new: The new password as it was typed.
            caller: The time of the request and where it came from.
            request: What is repeatable, or None.

        Returns:
            The first pair of the new session, which has the delivery and the grant of `session`.

        Raises:
            NotFound: If the session belongs to no account.
            InvalidFields: If one of the passwords is invalid, or if the client has used the key of `request` for another one.
            InvalidCredentials: If the current password is wrong.
            TooManyAttempts: If too many attempts have failed.
            InsufficientAuthentication: If the account has a second factor, and the session was not proved with one; or if it has
                no password, and the person signed in too long ago.
            SessionEnded: If the session has ended, possibly while the passwords were hashed.
            Unavailable: If the store does not answer, or if too many passwords wait to be hashed.
        """
        account = require_account(account)
        repeated = await self._begin_session.repeat(account.id, request, caller)
        if repeated is not None:  # the client has the cookies of the new session already, but not the answer
            return repeated
        current = normalise_password(current)
        if account.password_hash == "" and current == "":
            require_fresh(session, caller.now_ms)
        elif not is_hashable_password(current):
            raise InvalidFields([("currentPassword", mark("is empty or contains characters that passwords cannot have"))])
        new = self._rules.normalise(new, account.email, field="newPassword")
        require_strong(session, await self._store.read(lambda rows: rows.factors.get(account.id)))
        with self._throttling.logging("change_password", caller):
            return await self._change(session, account, current, new, caller, request=request)

    async def _change(
        self, session: Session, account: Account, current: str, new: str, caller: Caller, *, request: Repeatable | None
    ) -> TokenPair:
        counters = self._throttling.of_device(account.email, caller.ip, session.id, subject=account.id)
        await self._store.read(lambda rows: self._throttling.require_no_wait(rows, counters, caller.now_ms))
        if current and not await self._hashing.matches(account.password_hash, current, ip=caller.ip, device=counters.device):
            await self._throttling.count_guess(self._store, counters, caller, sid=session.id)
            raise InvalidCredentials
        new_hash = await self._hashing.hash(new, ip=caller.ip, device=counters.device)

        async def replace(rows: Transaction) -> None:
            await self._throttling.require_no_wait(rows, counters, caller.now_ms)
            living, before = await require_living_session(rows, session.id, caller)
            require_strong(living, await rows.factors.get(before.id))
            if not current and before.password_hash:
                raise InvalidCredentials  # it was set meanwhile
            after = msgspec.structs.replace(before, password_hash=new_hash, epoch=before.epoch + 1)
            await rows.accounts.update(after)
            sweep = Sweep(subject=after.id, why="password_changed", at_ms=caller.now_ms, epoch=after.epoch)
            await self._sweeping.begin(rows, sweep)
            await self._throttling.forgive(rows, counters)
            await self._notices.tell(rows, after, PasswordChanged(), caller)

        is_strong = is_as_strong(session.acr, "mfa")
        pair = await self._begin_session(
            Proof(
                subject=account.id,
                account=msgspec.structs.replace(account, epoch=account.epoch + 1),
                amr=tuple(dict.fromkeys((*session.amr, "pwd"))),
                acr=session.acr if is_strong else "pwd",
                # A password renews no proof that was stronger: the factor that is part of it was not shown again.
                authenticated_at_ms=session.authenticated_at_ms if is_strong else caller.now_ms,
                client_id=session.client_id,
                grant=session.granted,
            ),
            delivery=session.delivery,
            caller=caller,
            confirm=replace,
            event=caller.event("password_changed", subject=account.id, sid=session.id),
            request=request,
        )
        with suppress(Unavailable):  # the new pair must not be lost; housekeeping continues the sweep
            await self._sweeping.finish(account.id)
        return pair

    async def repeat(self, token: str, request: Repeatable | None, caller: Caller) -> TokenPair | None:
        """Return the session that the same request has begun before, for a token whose session it has ended.

        Args:
            token: The token of the request, of either kind, expired or not.
            request: What is repeatable, or None.
            caller: The time of the request and where it came from.

        Returns:
            The current pair of the new session. None if the token's session did not end by a new password, or if this request
            did not change it.

        Raises:
            InvalidFields: If the client has used the key of `request` for another one.
            Unavailable: If the store, the signing key or the claims hook fails.
        """
        named = self._tokens.find_session(token)
        session, _ = (await self._store.session(named.id) if named else None) or (None, None)
        if session is None or session.revoked_why != "password_changed":
            return None
        return await self._begin_session.repeat(session.subject, request, caller)
