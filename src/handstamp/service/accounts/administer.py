"""Administer accounts, as an operator.

An account is named by its address or its id, `who`. No id contains "@" (`ImportAccounts`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from ...domain.account import EMAIL_MAX_LENGTH, Account, normalise_name
from ...domain.event import Event, EventKind
from ...domain.factor import Factors
from ...domain.grant import parse_grant
from ...domain.identity import Identity
from ...domain.mail import AddressChanged, PasswordChanged, SecondFactorsReset
from ...domain.passkey import Passkey
from ...domain.reasons import RevokedWhy
from ...domain.sweep import Sweep
from ...errors import AccountExists, NotFound
from ...languages.choice import require_language
from ...storage.store import Rows, Store, Transaction
from ...text import mark
from ..mailing.notices import Notices
from ..operating.administration import Administrators
from ..parts.attempts import Attempts
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.email_address import normalise_email
from ..parts.hashing import Hashing
from ..parts.receipts import Receipts, request_repeated
from ..parts.throttling import Throttling
from ..sessions.sweeping import Sweeping
from .factor_changes import forget_factors
from .forgetting import Forgetting
from .new_password import PasswordRules
from .register import CreateAccount


class FactorsOf(NamedTuple):
    """An account with its second factors and identities, and what guesses at its authenticator app have done.

    Attributes:
        account: The account.
        factors: A summary.
        passkeys: Its passkeys, oldest first.
        identities: Whom the person is at other providers, oldest first.
        wrong_codes: How many codes of the app were wrong in a row, on unknown devices.
        is_locked: Whether codes of the app are refused on unknown devices until it is unlocked.
    """

    account: Account
    factors: Factors
    passkeys: list[Passkey]
    identities: list[Identity]
    wrong_codes: int
    is_locked: bool


class AdministerAccounts:
    """The use cases of operators about existing accounts.

    Those after which another person can sign in call `Caller.require_proof`.
    """

    def __init__(
        self,
        *,
        store: Store,
        create_account: CreateAccount,
        hashing: Hashing,
        throttling: Throttling,
        attempts: Attempts,
        rules: PasswordRules,
        sweeping: Sweeping,
        forgetting: Forgetting,
        notices: Notices,
        administrators: Administrators,
        receipts: Receipts,
        audit: Audit,
    ) -> None:
        self._store = store
        self._create_account = create_account
        self._hashing = hashing
        self._throttling = throttling
        self._attempts = attempts
        self._rules = rules
        self._sweeping = sweeping
        self._forgetting = forgetting
        self._notices = notices
        self._administrators = administrators
        self._receipts = receipts
        self._audit = audit

    async def begin_export(self, caller: Caller) -> None:
        """Record that all accounts are exported. `list_page` returns them. Raises `Unavailable`."""
        event = caller.event("accounts_exported")
        await self._store.transact(lambda rows: rows.events.insert(event))
        self._audit.log(event)

    async def create(
        self,
        email: str,
        password: str | None,
        caller: Caller,
        *,
        name: str = "",
        language: str = "",
        roles: tuple[str, ...] = (),
    ) -> Account:
        """Create an account, as `CreateAccount` does, or return the one that the same request has created before.

        Raises:
            AdministratorProtected: If a service credential gives it the role of administrators.
            InvalidFields, AccountExists, Unavailable: As `CreateAccount`.
        """
        caller.require_proof()

        async def confirm(rows: Transaction) -> None:
            await self._administrators.require_may_give(rows, roles, caller)

        return await self._create_account(
            email,
            password,
            caller,
            name=name,
            language=require_language(language),
            roles=roles,
            confirm=confirm,
            request=caller.request,
        )

    async def list_page(self, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[Account]:
        """Return up to `limit` accounts whose address begins with `prefix` and sorts after `after`, in the order of addresses."""
        prefix = unicodedata.normalize("NFC", prefix[:EMAIL_MAX_LENGTH].strip().lower())
        if not prefix.isprintable():
            return []
        return await self._store.read(lambda rows: rows.accounts.list_page(prefix=prefix, after=after, limit=limit))

    async def find_locked(self, accounts: Sequence[Account], caller: Caller) -> set[str]:
        """Return the addresses of those of up to 1000 accounts that unknown devices cannot use until they are unlocked."""
        emails = [account.email for account in accounts]
        return await self._store.read(lambda rows: self._throttling.find_locked(rows, emails, caller.now_ms))

    async def get(self, who: str) -> Account:
        """Return an account.

        Raises:
            NotFound: If there is none.
            InvalidFields: If the address is malformed.
        """
        who = await _normalise(who)
        return await self._store.read(lambda rows: _require_account(rows, who))

    async def name_all(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the addresses of those of up to 1000 ids that are accounts, by id."""
        found = await self._store.read(lambda rows: rows.accounts.list_of(emails=(), ids=ids))
        return {account.id: account.email for account in found}

    async def get_by_email(self, email: str) -> Account:
        """Return the account with an address. Raises as `get`, and `InvalidFields` if it is no address."""
        return await self.get(await normalise_email(email))

    async def set_password(self, who: str, password: str, caller: Caller) -> None:
        """Set the password of an account, and unlock it. All its sessions end.

        Raises:
            NotFound: If there is no such account.
            InvalidFields: If the address is malformed, or if the password cannot be chosen.
            Unavailable: If the store does not answer, or if too many passwords wait to be hashed.
        """
        caller.require_proof()
        account = await self.get(who)
        new_hash = await self._hashing.hash(self._rules.normalise(password, account.email), ip=caller.ip)
        fields: dict[str, object] = {"password_hash": new_hash}
        await self._change(account.id, "password_changed", caller, lambda _: fields, ends="password_changed", unlocks=True)

    async def disable(self, who: str, caller: Caller) -> None:
        """Disable an account, so that it cannot sign in, and end its sessions.

        Raises:
            NotFound: If there is no such account.
        """
        await self._change(who, "account_disabled", caller, lambda _: {"disabled_at_ms": caller.now_ms}, ends="disabled")

    async def enable(self, who: str, caller: Caller) -> None:
        """Enable an account again, and unlock it. Its old sessions stay ended.

        Raises:
            NotFound: If there is no such account.
        """
        caller.require_proof()
        await self._change(who, "account_enabled", caller, lambda _: {"disabled_at_ms": None}, unlocks=True)

    async def grant_role(self, who: str, role: str, caller: Caller) -> Account:
        """Give an account a role, if it does not have it. Return the account.

        The access tokens of its sessions contain the role from their next refresh on. If the role needs a second factor, only
        those of sessions that were proved with one.

        Raises:
            NotFound: If there is no such account.
            InvalidFields: If the role is not a role.
        """
        caller.require_proof()
        (role,) = parse_grant(roles=[role]).roles

        def add(account: Account) -> dict[str, object]:
            return {"roles": (*account.roles, role)} if role not in account.roles else {}

        return await self._change(who, "role_granted", caller, add, roles=(role,), detail={"role": role})

    async def revoke_role(self, who: str, role: str, caller: Caller) -> Account:
        """Take a role from an account. Return the account.

        Access tokens that contain the role are valid until they expire. The next refresh leaves it out.

        Raises:
            NotFound: If there is no such account, or if it does not have the role.
        """

        def remove(account: Account) -> dict[str, object]:
            if role not in account.roles:
                has = f"its roles are {', '.join(account.roles)}" if account.roles else "it has none"
                raise NotFound(f"The account {account.email} does not have the role {role}: {has}.")
            return {"roles": tuple(other for other in account.roles if other != role)}

        return await self._change(who, "role_revoked", caller, remove, detail={"role": role})

    async def rename(self, who: str, new_email: str, caller: Caller) -> Account:
        """Give an account another address, which counts as not verified, and unlock it. Its sessions go on. Return the account.

        Raises:
            NotFound: If there is no such account.
            AccountExists: If the new address is taken.
            InvalidFields: If an address is malformed.
        """
        caller.require_proof()
        new_email = await normalise_email(new_email)

        def rename(account: Account) -> dict[str, object]:
            return {"email": new_email, "email_verified": False} if new_email != account.email else {}

        return await self._change(who, "account_renamed", caller, rename, needs_address=new_email)

    async def delete(self, who: str, caller: Caller) -> Account:
        """Delete an account with its sessions. Return it as it was.

        Raises:
            NotFound: If there is no such account.
        """
        who = await _normalise(who)

        async def delete(rows: Transaction) -> tuple[Account, Event]:
            account = await _require_account(rows, who)
            await self._administrators.require_may_change(rows, account, caller)
            return account, await self._forgetting.begin(rows, account, caller)

        account, event = await self._store.transact(delete)
        await self._forgetting.finish(event)
        return account

    async def list_factors(self, who: str, caller: Caller) -> FactorsOf:
        """Return an account with its second factors, and its identities at other providers.

        Raises:
            NotFound: If there is no such account.
        """
        who = await _normalise(who)

        async def read(rows: Rows) -> FactorsOf:
            account = await _require_account(rows, who)
            wrong, is_locked = await self._throttling.find_factor_lock(rows, account.id, caller.now_ms)
            factors, passkeys = await rows.factors.get(account.id), await rows.passkeys.list_of(account.id)
            identities = await rows.identities.list_of(account.id)
            return FactorsOf(account, factors, passkeys, identities, wrong, is_locked)

        return await self._store.read(read)

    async def reset_factors(self, who: str, caller: Caller) -> Account:
        """Remove all second factors and recovery codes of an account, end sign-ins that have begun, and tell by mail.

        Its sessions go on. A passkey that was the only way to sign in leaves the reset of a password.

        Raises:
            NotFound: If there is no such account, or if it has no second factor.
        """
        caller.require_proof()
        who = await _normalise(who)

        async def reset(rows: Transaction) -> tuple[Account, Event]:
            account = await _require_account(rows, who)
            await self._administrators.require_may_change(rows, account, caller)
            if await self._receipts.find_of(rows, caller) is not None:
                return account, request_repeated(account.id, None, caller)
            if not (await rows.factors.get(account.id)).is_any:
                raise NotFound(f"{account.email} has no second factor.")
            await forget_factors(rows, account.id)
            await self._attempts.end_all(rows, account.id, caller)
            await self._throttling.forget_factors(rows, account.id)
            event = caller.event("factors_reset", subject=account.id, detail={"because": "operator"})
            await rows.events.insert(event)
            await self._notices.tell(rows, account, SecondFactorsReset(), caller)
            await self._receipts.save_of(rows, caller, account.id)
            return account, event

        account, event = await self._store.transact(reset)
        self._audit.log(event)
        return account

    async def change_profile(self, who: str, caller: Caller, *, name: str | None = None, language: str | None = None) -> Account:
        """Change the name or the language of an account; None leaves it, "" removes it. Return the account.

        Raises:
            NotFound: If there is no such account.
            InvalidFields: If the name or the language is none.
        """
        changes: dict[str, object] = {} if name is None else {"name": normalise_name(name)}
        if language is not None:
            changes["language"] = require_language(language)

        def change(account: Account) -> dict[str, object]:
            return changes if msgspec.structs.replace(account, **changes) != account else {}

        return await self._change(who, "profile_changed", caller, change)

    async def unlock(self, who: str, caller: Caller) -> None:
        """Forget the failed attempts on an account, in every process at once, so that its person can sign in again.

        Raises:
            NotFound: If there is no such account.
        """
        await self._change(who, "account_unlocked", caller, lambda _: {}, unlocks=True)

    async def _change(
        self,
        who: str,
        kind: EventKind,
        caller: Caller,
        change: Callable[[Account], dict[str, object]],
        *,
        ends: RevokedWhy | None = None,
        unlocks: bool = False,
        needs_address: str | None = None,
        roles: tuple[str, ...] = (),
        detail: dict[str, str | int | None] | None = None,
    ) -> Account:
        """Change the fields of an account that `change` returns, in one transaction. Return the account.

        Args:
            who: The address or the id of the account.
            kind: What is recorded, if anything changes.
            caller: The time of the request.
            change: Returns fields with their new values, none if nothing is to be done. It may raise.
            ends: Why all its sessions end, None if they go on.
            unlocks: True to forget the failed attempts on the account.
            needs_address: An address that no other account may have.
            roles: Roles that the account gets.
            detail: What is recorded beside the kind.
        """
        who = await _normalise(who)

        async def write(rows: Transaction) -> tuple[Account, list[Event]]:
            account = await _require_account(rows, who)
            await self._administrators.require_may_change(rows, account, caller, roles=roles)
            if await self._receipts.find_of(rows, caller) is not None:
                return account, [request_repeated(account.id, None, caller)]
            fields = change(account)
            if not fields and not unlocks:
                return account, []
            if needs_address is not None and await rows.accounts.get_by_email(needs_address) is not None:
                raise AccountExists
            after = msgspec.structs.replace(account, epoch=account.epoch + (ends is not None), **fields)
            await rows.accounts.update(after)
            ended = await self._administrators.end_impersonations(rows, account, after, caller)
            facts = dict(detail or {})
            if ends is not None:
                sweep = Sweep(subject=account.id, why=ends, at_ms=caller.now_ms, epoch=after.epoch)
                facts["sessions"] = await self._sweeping.begin(rows, sweep)
            events = [caller.event(kind, subject=account.id, detail=facts)]
            forgotten = await self._forget_failures(rows, account, unlocks=unlocks, is_renamed=needs_address is not None)
            if forgotten and kind != "account_unlocked":
                events.append(caller.event("account_unlocked", subject=account.id))
            for event in events:
                await rows.events.insert(event)
            await self._tell(rows, account, after, caller)
            await self._receipts.save_of(rows, caller, account.id)
            return after, [*events, *ended]

        account, events = await self._store.transact(write)
        for event in events:
            self._audit.log(event)
        if ends is not None:
            await self._sweeping.finish(account.id)
        return account

    async def _forget_failures(self, rows: Transaction, account: Account, *, unlocks: bool, is_renamed: bool) -> int:
        """Reset counters of an account. Those of an old address would wait for the next account that has it."""
        forgotten = await self._throttling.forget(rows, account.email) if unlocks or is_renamed else 0
        return forgotten + (await self._throttling.forget_factors(rows, account.id) if unlocks else 0)

    async def _tell(self, rows: Transaction, before: Account, after: Account, caller: Caller) -> None:
        """Tell the person of another password or another address. Links that were sent to an old address are void."""
        if after.password_hash != before.password_hash:
            await self._notices.tell(rows, after, PasswordChanged(), caller)
        if after.email != before.email:
            await rows.one_time.delete_of(after.id)
            for account in (before, after):
                await self._notices.tell(rows, account, AddressChanged(old=before.email, new=after.email), caller)


async def _normalise(who: str) -> str:
    return await normalise_email(who) if "@" in who else who


async def _require_account(rows: Rows, who: str) -> Account:
    if "@" not in who:
        account = await rows.accounts.get(who)
        if account is None:
            raise NotFound(mark("There is no account with this id."))
        return account
    account = await rows.accounts.get_by_email(who)
    if account is None:
        raise NotFound(f"There is no account with the address {who}. See: handstamp users list")
    return account
