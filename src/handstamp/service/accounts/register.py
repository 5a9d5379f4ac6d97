"""Create accounts."""

from __future__ import annotations

from ...crypto.identifiers import new_id
from ...domain.account import Account, normalise_name
from ...domain.event import Event
from ...domain.grant import parse_grant
from ...domain.receipt import Repeatable
from ...errors import AccountExists
from ...storage.store import Rows, Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.email_address import normalise_email
from ..parts.hashing import Hashing
from ..parts.receipts import Receipts, request_repeated
from ..parts.throttling import Counters, Throttling
from ..sessions.begin import Confirm
from .new_password import PasswordRules


class CreateAccount:
    """The use case that adds an account, for operators and for `Register`."""

    def __init__(self, *, store: Store, hashing: Hashing, receipts: Receipts, rules: PasswordRules, audit: Audit) -> None:
        self._store = store
        self._hashing = hashing
        self._receipts = receipts
        self._rules = rules
        self._audit = audit

    async def __call__(
        self,
        email: str,
        password: str | None,
        caller: Caller,
        *,
        name: str = "",
        language: str = "",
        roles: tuple[str, ...] = (),
        must_be_public: bool = False,
        confirm: Confirm | None = None,
        request: Repeatable | None = None,
    ) -> Account:
        """Create an account, or return the one that the same request has created before.

        Args:
            email: The address as it was typed.
            password: The password as it was typed. None for none: the person chooses one by mail.
            caller: The time of the request and where it came from.
            name: What the person wants to be called, as it was typed; "" if unknown.
            language: The tag of the person's language; "" if unknown.
            roles: The roles of the account.
            must_be_public: True if the domain of the address must exist on the internet.
            confirm: The last step of the transaction, which may refuse.
            request: What is repeatable, or None.

        Raises:
            InvalidFields: If the address, the password, the name or a role is invalid, with all problems of the first two; or if
                the client has used the key of `request` for another one.
            AccountExists: If the address is taken.
            Unavailable: If the store does not answer, or if too many passwords wait to be hashed.
            TooManyAttempts: If the client's network has too many passwords hashed.
        """
        if password is None:
            email = await normalise_email(email, must_be_public=must_be_public)
        else:
            email, password = await self._rules.normalise_with_email(email, password, must_be_public=must_be_public)
        name, roles = normalise_name(name), parse_grant(roles=roles).roles
        created_before = await self._store.read(lambda rows: self._find_created(rows, email, request, caller))
        if created_before is not None:
            self._audit.log(request_repeated(created_before.id, None, caller))
            return created_before
        account = Account(
            id=new_id(),
            email=email,
            password_hash="" if password is None else await self._hashing.hash(password, ip=caller.ip),
            name=name,
            language=language,
            roles=roles,
            created_at_ms=caller.now_ms,
        )
        event = caller.event("account_created", subject=account.id)

        async def add(rows: Transaction) -> tuple[Account, Event]:
            if not await rows.accounts.insert(account):
                created_meanwhile = await self._find_created(rows, email, request, caller)
                if created_meanwhile is None:
                    raise AccountExists
                return created_meanwhile, request_repeated(created_meanwhile.id, None, caller)
            await rows.events.insert(event)
            if confirm is not None:
                await confirm(rows)
            await self._receipts.save(rows, email, request, account.id, caller.now_ms)
            return account, event

        created, recorded = await self._store.transact(add)
        self._audit.log(recorded)
        return created

    async def _find_created(self, rows: Rows, email: str, request: Repeatable | None, caller: Caller) -> Account | None:
        """Return the account with an address, None if there is none. Raises `AccountExists` unless this request created it."""
        account = await rows.accounts.get_by_email(email)
        if account is not None and await self._receipts.find(rows, email, request, caller.now_ms) != account.id:
            raise AccountExists
        return account


class Register:
    """The use case behind `POST /register`."""

    def __init__(self, *, store: Store, create_account: CreateAccount, throttling: Throttling) -> None:
        self._store = store
        self._create_account = create_account
        self._throttling = throttling

    async def __call__(
        self,
        email: str,
        password: str,
        caller: Caller,
        *,
        name: str = "",
        language: str = "",
        request: Repeatable | None = None,
    ) -> Account:
        """Create an account for a stranger, whose arguments are those of `CreateAccount`.

        An address that is taken counts as a failed attempt of the stranger's network.

        Raises:
            InvalidFields, AccountExists, Unavailable: As `CreateAccount`.
            TooManyAttempts: If too many attempts from this network have failed, or if it has created too many accounts.
        """
        failures = self._throttling.of_network(caller.ip)
        created = self._throttling.of_new_accounts(caller.ip)
        both = Counters((*failures.each, *created.each))

        async def count(rows: Transaction) -> None:
            await self._throttling.count_failure(rows, created, caller.now_ms)

        with self._throttling.logging("register", caller):
            await self._store.read(lambda rows: self._throttling.require_no_wait(rows, both, caller.now_ms))
            try:
                return await self._create_account(
                    email,
                    password,
                    caller,
                    name=name,
                    language=language,
                    must_be_public=True,
                    confirm=count,
                    request=request,
                )
            except AccountExists:
                await self._store.transact(lambda rows: self._throttling.count_failure(rows, failures, caller.now_ms))
                raise
