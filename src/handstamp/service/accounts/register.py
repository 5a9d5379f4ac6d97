"""Create accounts."""

from __future__ import annotations

from ...crypto.identifiers import new_id
from ...domain.account import Account
from ...domain.event import Event
from ...errors import AccountExists
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.hashing import Hashing
from ..parts.throttling import Throttling
from .new_password import PasswordRules


class CreateAccount:
    """The use case that adds an account, for operators and for `Register`."""

    def __init__(self, *, store: Store, hashing: Hashing, rules: PasswordRules, audit: Audit) -> None:
        self._store = store
        self._hashing = hashing
        self._rules = rules
        self._audit = audit

    async def __call__(
        self, email: str, password: str, caller: Caller, *, roles: tuple[str, ...] = (), must_be_public: bool = False
    ) -> Account:
        """Create an account. `must_be_public` is True if the domain of the address must exist on the internet.

        Raises:
            InvalidFields: If the address or the password is invalid. The problems of both are listed.
            AccountExists: If the address is taken.
            Unavailable: If the store does not answer, or if too many passwords wait to be hashed.
        """
        email, password = await self._rules.normalise_with_email(email, password, must_be_public=must_be_public)
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


class Register:
    """The use case behind `POST /register`."""

    def __init__(self, *, store: Store, create_account: CreateAccount, throttling: Throttling) -> None:
        self._store = store
        self._create_account = create_account
        self._throttling = throttling

    async def __call__(self, email: str, password: str, caller: Caller) -> Account:
        """Create an account for a stranger. An address that is taken counts as a failed attempt of the stranger's network.

        Raises:
            InvalidFields, AccountExists, Unavailable: As `CreateAccount`.
            TooManyAttempts: If too many attempts from this network have failed.
        """
        counters = self._throttling.of_network(caller.ip)
        with self._throttling.logging("register", caller):
            await self._store.read(lambda rows: self._throttling.require_no_wait(rows, counters, caller.now_ms))
            try:
                return await self._create_account(email, password, caller, must_be_public=True)
            except AccountExists:
                await self._store.transact(lambda rows: self._throttling.count_failure(rows, counters, caller.now_ms))
                raise
