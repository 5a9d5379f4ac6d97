"""Accounts: register, disable, change a password."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...crypto.identifiers import new_id
from ...crypto.passwords import common_passwords
from ...domain.account import Account, find_password_problem, is_hashable_password, normalise_password
from ...domain.event import Event, EventKind
from ...domain.policy import Policy
from ...domain.reasons import RevokedWhy
from ...domain.session import Session, end_reason, start
from ...errors import AccountExists, InvalidCredentials, InvalidFields, NotFound, SessionEnded
from ...storage.store import Rows, Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.email_address import normalise_email
from ..parts.granting import Granting, combine_grants
from ..parts.hashing import Hashing
from ..parts.throttling import Counter, Throttling
from ..parts.tokens import TokenIssuer, TokenPair


class Accounts:
    """The use cases that make and change accounts. No password may be made of `service_words`."""

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
        password_min_length: int,
        service_words: Sequence[str],
    ) -> None:
        """Take what it works with."""
        self._store = store
        self._tokens = tokens
        self._granting = granting
        self._hashing = hashing
        self._throttling = throttling
        self._policy = policy
        self._audit = audit
        self._password_min_length = password_min_length
        self._service_words = tuple(service_words)

    async def register(self, email: str, password: str, caller: Caller) -> Account:
        """Make an account for a stranger. Learning that an address is taken counts as a failed attempt of that network.

        Raises `InvalidFields`, `AccountExists`, `TooManyAttempts`, `Unavailable`.
        """
        counters = self._throttling.list_counters(None, caller.ip)

        async def look(rows: Rows) -> None:
            await self._throttling.require_no_wait(rows, counters, caller.now_ms)

        await self._store.read(look)
        try:
            return await self.create(email, password, caller)
        except AccountExists:
            await self._store.transact(lambda rows: self._throttling.count_failure(rows, counters, caller.now_ms))
            raise

    async def create(self, email: str, password: str, caller: Caller, *, roles: tuple[str, ...] = ()) -> Account:
        """Make an account. Raises `InvalidFields` with every field that is wrong, `AccountExists`, `Unavailable`."""
        email, password = self._both_chosen(email, password)
        if await self._store.read(lambda rows: rows.accounts.get_by_email(email)) is not None:
            raise AccountExists
        account = Account(
            id=new_id(),
            email=email,
            password_hash=await self._hashing.hash(password),
            roles=roles,
            created_at_ms=caller.now_ms,
        )
        event = Event(at_ms=caller.now_ms, kind="account_created", subject=account.id, ip=caller.ip)

        async def add(rows: Transaction) -> None:
            if not await rows.accounts.insert(account):
                raise AccountExists
            await rows.events.insert(event)

        await self._store.transact(add)
        self._audit.log(event)
        return account

    async def change_password(self, session: Session, current: str, new: str, caller: Caller) -> TokenPair:
        """Change the password of a session's person: every session ends, and a new one in this one's place is returned.

        Raises `InvalidCredentials` where `current` is wrong, `InvalidFields`, `TooManyAttempts`, `SessionEnded`.
        """
        _, account = await self._store.session(session.id) or (None, None)
        if account is None:
            raise NotFound("This session belongs to no account of this service, so there is no password to change.")
        current = normalise_password(current)
        if not is_hashable_password(current):
            raise InvalidFields([("currentPassword", "is empty, or none that can have been chosen here")])
        new = self._chosen(new, account.email, field="newPassword")
        counters = self._throttling.list_counters(account.email, caller.ip, at_home=True)
        await self._store.read(lambda rows: self._throttling.require_no_wait(rows, counters, caller.now_ms))
        if not await self._hashing.matches(account.password_hash, current):
            await self._store.transact(lambda rows: self._throttling.count_failure(rows, counters, caller.now_ms))
            self._audit.log(Event(at_ms=caller.now_ms, kind="sign_in_failed", subject=account.id, sid=session.id, ip=caller.ip))
            raise InvalidCredentials
        fresh = await self._hashing.hash(new)
        return await self._replace_password(account, session, fresh, counters, caller)

    async def _replace_password(
        self, account: Account, session: Session, fresh: str, counters: Sequence[Counter], caller: Caller
    ) -> TokenPair:
        asked = await self._granting.ask(account.id)
        event = Event(at_ms=caller.now_ms, kind="password_changed", subject=account.id, sid=session.id, ip=caller.ip)

        async def replace(rows: Transaction) -> TokenPair:
            await self._throttling.require_no_wait(rows, counters, caller.now_ms)
            before, now = await rows.sessions.get(session.id) or (None, None)
            if before is None or now is None:
                raise SessionEnded("expired")
            over = end_reason(before, now, caller.now_ms)
            if over is not None:  # signed out while the passwords were hashed
                raise SessionEnded(over)
            changed = msgspec.structs.replace(now, password_hash=fresh, epoch=now.epoch + 1)
            successor = start(
                new_id(),
                subject=now.id,
                epoch=changed.epoch,
                delivery=before.delivery,
                amr=("pwd",),
                user_agent=caller.user_agent,
                ip=caller.ip,
                now_ms=caller.now_ms,
                policy=self._policy,
                granted=before.granted,
            )
            await rows.accounts.update(changed)
            await rows.sessions.revoke_all(now.id, "password_changed", now_ms=caller.now_ms)
            await rows.sessions.insert(successor)
            await self._throttling.forgive(rows, counters)
            await rows.events.insert(event)
            return self._tokens.mint(successor, combine_grants(successor, changed, asked), caller.now_ms)

        pair = await self._store.transact(replace)
        self._audit.log(event)
        return pair

    async def set_password(self, email: str, password: str, caller: Caller) -> None:
        """Set a password as an operator: every session of that person ends. Raises `NotFound`, `InvalidFields`."""
        email = normalise_email(email)
        fresh = await self._hashing.hash(self._chosen(password, email, field="password"))
        await self._change(email, "password_changed", "password_changed", caller, password_hash=fresh)

    async def disable(self, email: str, caller: Caller) -> None:
        """Let an account sign in no more, and end its sessions. Raises `NotFound`."""
        await self._change(normalise_email(email), "account_disabled", "disabled", caller, disabled_at_ms=caller.now_ms)

    async def enable(self, email: str, caller: Caller) -> None:
        """Let an account sign in again; sessions that were ended stay ended. Raises `NotFound`."""
        await self._change(normalise_email(email), "account_enabled", None, caller, disabled_at_ms=None)

    async def all(self, *, after: str = "", limit: int = 1000) -> list[Account]:
        """Return accounts in the order of their addresses."""
        return await self._store.read(lambda rows: rows.accounts.list_page(after=after, limit=limit))

    async def by_email(self, email: str) -> Account:
        """Return the account of an address. Raises `NotFound`."""
        email = normalise_email(email)
        account = await self._store.read(lambda rows: rows.accounts.get_by_email(email))
        if account is None:
            raise NotFound(f"There is no account with the address {email}.")
        return account

    async def _change(
        self, email: str, kind: EventKind, ends_sessions: RevokedWhy | None, caller: Caller, **changes: object
    ) -> None:
        async def change(rows: Transaction) -> Event:
            account = await rows.accounts.get_by_email(email)
            if account is None:
                raise NotFound(f"There is no account with the address {email}.")
            epoch = account.epoch if ends_sessions is None else account.epoch + 1
            await rows.accounts.update(msgspec.structs.replace(account, epoch=epoch, **changes))
            detail: dict[str, str | int | None] = {}
            if ends_sessions is not None:
                detail["sessions"] = await rows.sessions.revoke_all(account.id, ends_sessions, now_ms=caller.now_ms)
            event = Event(at_ms=caller.now_ms, kind=kind, subject=account.id, ip=caller.ip, detail=detail)
            await rows.events.insert(event)
            return event

        self._audit.log(await self._store.transact(change))

    def _both_chosen(self, email: str, password: str) -> tuple[str, str]:
        """Return both normalised, or raise `InvalidFields` with all that is wrong with them."""
        wrong: list[tuple[str, str]] = []
        try:
            email = normalise_email(email)
        except InvalidFields as problem:
            wrong += problem.fields
        try:
            password = self._chosen(password, email, field="password")
        except InvalidFields as problem:
            wrong += problem.fields
        if wrong:
            raise InvalidFields(wrong)
        return email, password

    def _chosen(self, password: str, email: str, *, field: str) -> str:
        """Return a new password normalised, or raise `InvalidFields` with what is wrong with it."""
        password = normalise_password(password)
        personal = (email, *email.split("@"), *self._service_words)
        problem = find_password_problem(
            password, min_length=self._password_min_length, common=common_passwords(), personal=personal
        )
        if problem is not None:
            raise InvalidFields([(field, problem)])
        return password
