"""Administer accounts, as an operator."""

from __future__ import annotations

import msgspec

from ...domain.account import Account
from ...domain.event import Event, EventKind
from ...domain.reasons import RevokedWhy
from ...errors import NotFound
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.email_address import normalise_email
from ..parts.hashing import Hashing
from ..parts.throttling import Throttling
from .new_password import PasswordRules


class AdministerAccounts:
    """The use cases of operators about existing accounts."""

    def __init__(self, *, store: Store, hashing: Hashing, throttling: Throttling, rules: PasswordRules, audit: Audit) -> None:
        self._store = store
        self._hashing = hashing
        self._throttling = throttling
        self._rules = rules
        self._audit = audit

    async def list_page(self, *, after: str = "", limit: int = 1000) -> list[Account]:
        """Return up to `limit` accounts whose address sorts after `after`, in the order of their addresses."""
        return await self._store.read(lambda rows: rows.accounts.list_page(after=after, limit=limit))

    async def get_by_email(self, email: str) -> Account:
        """Return the account with an address.

        Raises:
            NotFound: If there is none.
            InvalidFields: If the address is malformed.
        """
        email = await normalise_email(email)
        account = await self._store.read(lambda rows: rows.accounts.get_by_email(email))
        if account is None:
            raise _no_account(email)
        return account

    async def set_password(self, email: str, password: str, caller: Caller) -> None:
        """Set the password of an account, and unlock it. All its sessions end.

        Raises:
            NotFound: If there is no account with this address.
            InvalidFields: If the address is malformed, or if the password cannot be chosen.
        """
        email = await normalise_email(email)
        new_hash = await self._hashing.hash(self._rules.normalise(password, email))
        await self._change(email, "password_changed", "password_changed", caller, password_hash=new_hash)

    async def disable(self, email: str, caller: Caller) -> None:
        """Disable an account, so that it cannot sign in, and end its sessions.

        Raises:
            NotFound: If there is no account with this address.
        """
        await self._change(await normalise_email(email), "account_disabled", "disabled", caller, disabled_at_ms=caller.now_ms)

    async def enable(self, email: str, caller: Caller) -> None:
        """Enable an account again, and unlock it. Its old sessions stay ended.

        Raises:
            NotFound: If there is no account with this address.
        """
        await self._change(await normalise_email(email), "account_enabled", None, caller, disabled_at_ms=None)

    async def unlock(self, email: str, caller: Caller) -> None:
        """Forget the failed attempts on an account, in every process at once, so that its person can sign in again.

        Raises:
            NotFound: If there is no account with this address.
        """
        await self._change(await normalise_email(email), "account_unlocked", None, caller)

    async def _change(
        self, email: str, kind: EventKind, ends_sessions: RevokedWhy | None, caller: Caller, **changes: object
    ) -> None:
        """Change an account, in one transaction. Whatever lets its person sign in again unlocks it too."""

        async def change(rows: Transaction) -> list[Event]:
            account = await rows.accounts.get_by_email(email)
            if account is None:
                raise _no_account(email)
            epoch = account.epoch if ends_sessions is None else account.epoch + 1
            await rows.accounts.update(msgspec.structs.replace(account, epoch=epoch, **changes))
            detail: dict[str, str | int | None] = {}
            if ends_sessions is not None:
                detail["sessions"] = await rows.sessions.revoke_all(account.id, ends_sessions, now_ms=caller.now_ms)
            events = [Event(at_ms=caller.now_ms, kind=kind, subject=account.id, ip=caller.ip, detail=detail)]
            if kind != "account_disabled":
                forgotten = await self._throttling.forget(rows, email)
                if forgotten and kind != "account_unlocked":
                    events.append(Event(at_ms=caller.now_ms, kind="account_unlocked", subject=account.id, ip=caller.ip))
            for event in events:
                await rows.events.insert(event)
            return events

        for event in await self._store.transact(change):
            self._audit.log(event)


def _no_account(email: str) -> NotFound:
    return NotFound(f"There is no account with the address {email}. See: handstamp users list")
