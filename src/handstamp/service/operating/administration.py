"""Who may administer over the network, and whom. All operations under /admin and all pages there ask here."""

from __future__ import annotations

import math
from collections.abc import Collection

import msgspec

from ...buckets import Buckets
from ...domain.account import Account
from ...domain.assurance import is_as_strong
from ...domain.event import Event
from ...domain.limits import Rate
from ...domain.session import FRESH_MS, Session, is_fresh
from ...errors import AdministratorProtected, Impersonated, InsufficientAuthentication, InsufficientScope, TooManyAttempts
from ...storage.store import Transaction
from ..parts.caller import Caller, Operator
from .credentials import Credentials

USES = Rate(burst=300, per_s=30)
"""How often one operator may do something in each process."""


class Administrators:
    """The rule about accounts that administer: those with one role."""

    def __init__(self, role: str) -> None:
        """Create it. `role` is that of administrators; "" if no account is one."""
        self.role: str = role

    def includes(self, account: Account | None) -> bool:
        """Return whether an account administers."""
        return account is not None and account.disabled_at_ms is None and self.is_among(account.roles)

    def is_among(self, roles: Collection[str]) -> bool:
        """Return whether the role of administrators is among some roles."""
        return self.role != "" and self.role in roles

    async def require_may_change(
        self, rows: Transaction, account: Account, caller: Caller, *, roles: Collection[str] = ()
    ) -> None:
        """Return if an operator may change an account. It is asked in the transaction of the change.

        Administrators change everybody but themselves, so that one is always left, and so that a stolen session of one is not
        enough to keep the account. Credentials do not change administrators. At the command line, everything is allowed.

        Args:
            rows: The transaction.
            account: The account as it is.
            caller: Who changes it.
            roles: Roles that it gets.

        Raises:
            AdministratorProtected: If the caller may not.
            InsufficientScope: If the caller is no administrator any more.
        """
        await self.require_may_give(rows, (*account.roles, *roles), caller)
        if caller.operator == Operator("account", account.id):
            raise AdministratorProtected(is_own=True)

    async def require_may_give(self, rows: Transaction, roles: Collection[str], caller: Caller) -> None:
        """Return if an operator may have accounts with these roles. Raises as `require_may_change` does."""
        operator = caller.operator
        if operator is None:
            return
        if operator.kind == "credential":
            if self.is_among(roles):
                raise AdministratorProtected
        elif not self.includes(await rows.accounts.get(operator.id)):
            raise InsufficientScope(role=self.role)

    async def end_impersonations(self, rows: Transaction, before: Account, after: Account, caller: Caller) -> list[Event]:
        """End what a change of an account's roles makes impossible. Return the events, which are recorded.

        Who administers no more acts in the place of nobody, and nobody acts in the place of one who administers.
        """
        ended: list[Event] = []
        if self.includes(before) and not self.includes(after):
            ended += await rows.sessions.end_impersonations(now_ms=caller.now_ms, by=after.id)
        if self.is_among(after.roles):
            ended += await rows.sessions.end_impersonations(now_ms=caller.now_ms, of=after.id)
        return ended


class Administration:
    """Admits operators that come over the network."""

    def __init__(self, *, credentials: Credentials, administrators: Administrators) -> None:
        self._credentials = credentials
        self._administrators = administrators
        self._uses = Buckets(burst=USES.burst, per_s=USES.per_s)

    async def admit_credential(self, presented: tuple[str, str], caller: Caller) -> Caller:
        """Return the caller as an operator, if an (id, secret) pair is a credential with the scope `admin`.

        Raises:
            InvalidClient, CredentialLacksScope, TooManyAttempts: As `Credentials.authenticate`.
            Unavailable: If the store does not answer.
        """
        credential = await self._credentials.authenticate(presented, caller, scope="admin")
        return self._admit(Operator("credential", credential.id), caller)

    def admit_account(self, session: Session, account: Account | None, caller: Caller) -> Caller:
        """Return the caller as an operator, if the account of a living session administers and has just proved two factors.

        Raises:
            Impersonated: If an operator acts in the session in the place of its person.
            InsufficientScope: If the account does not have the role. Its tokens are not looked at: they may be older.
            InsufficientAuthentication: If the proof is too old, or was not made with a second factor (RFC 9470).
            TooManyAttempts: If the account does too much.
        """
        role = self._administrators.role
        if session.impersonator is not None:
            raise Impersonated
        if account is None or not self._administrators.includes(account):
            raise InsufficientScope(scope="" if role else "admin", role=role)
        if not (is_as_strong(session.acr, "mfa") and is_fresh(session, caller.now_ms)):
            raise InsufficientAuthentication(max_age_s=FRESH_MS // 1000, acr="mfa")
        has_proved = session.bound_key is None or (caller.key is not None and caller.key.jwk == session.bound_key)
        admitted = msgspec.structs.replace(caller, operator_sid=session.id, lacks_proof=not has_proved)
        return self._admit(Operator("account", account.id), admitted)

    def may_administer(self, account: Account | None) -> bool:
        """Return whether an account administers, once it has proved two factors."""
        return self._administrators.includes(account)

    def _admit(self, operator: Operator, caller: Caller) -> Caller:
        wait_s = self._uses.take(str(operator))
        if wait_s:
            raise TooManyAttempts(math.ceil(wait_s), limit="operator")
        return msgspec.structs.replace(caller, actor="operator", operator=operator)
