"""Begin a session in which an operator looks at an account as its person (RFC 8693 §1.1)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ...domain.account import Account
from ...domain.claims import READ, WRITE
from ...domain.delivery import Delivery
from ...domain.event import Event
from ...domain.impersonation import LIFETIME_MS, NEVER_MS, ImpersonationPolicy, Impersonator, normalise_reason
from ...domain.mail import SupportLooks
from ...domain.one_time import OneTime
from ...domain.proof import Proof
from ...domain.receipt import Repeatable
from ...domain.session import Session, end_reason, refresh_expires_at_s
from ...errors import (
    AdministratorProtected,
    Impersonated,
    InsufficientScope,
    InvalidCode,
    InvalidFields,
    NotFound,
    PersonRequired,
    SessionEnded,
)
from ...storage.store import Rows, Store, Transaction
from ...text import mark
from ..mailing.notices import Notices
from ..operating.administration import Administrators
from ..parts.caller import Caller
from ..parts.one_time import OneTimeGrants, Proven, Shown, keep_browser_secret
from ..parts.tokens import TokenPair
from .begin import BeginSession


class Impersonate:
    """The use cases behind `POST /admin/accounts/{id}/impersonate` and `…/impersonation-link`.

    Who may is checked in the transaction that begins the session. It ends with the session of the operator in which it began, and
    when the operator loses the role: see `SessionTable.end_impersonations`.
    """

    def __init__(
        self,
        *,
        store: Store,
        begin_session: BeginSession,
        grants: OneTimeGrants,
        notices: Notices,
        administrators: Administrators,
        policy: ImpersonationPolicy,
    ) -> None:
        self._store = store
        self._begin_session = begin_session
        self._grants = grants
        self._notices = notices
        self._administrators = administrators
        self._policy = policy

    @property
    def is_on(self) -> bool:
        """Whether operators may look at accounts as their persons."""
        return self._policy != "off"

    @property
    def may_write(self) -> bool:
        """Whether they may also change something in applications."""
        return self._policy == "write"

    def may_look_at(self, account: Account) -> bool:
        """Return whether an operator may look at this account."""
        return self.is_on and account.disabled_at_ms is None and not self._administrators.is_among(account.roles)

    def require_on(self) -> None:
        """Raise `NotFound` if operators may not look at accounts as their persons."""
        if not self.is_on:
            raise NotFound(mark("Looking at accounts as their persons is turned off here."))

    async def __call__(self, account_id: str, caller: Caller, *, reason: str, writes: bool = False) -> TokenPair:
        """Begin a session and return its tokens, which travel in the body. An earlier one of the same operator's session ends.

        If the same request has begun one before that is alive, return its current tokens.

        The person is told by mail.

        Args:
            account_id: The account to look at.
            caller: The operator, as `Administration.admit_account` returns them.
            reason: Why, as the person reads it.
            writes: True if applications may accept changes.

        Raises:
            NotFound: If there is no such account, if it is disabled, or if this is turned off.
            PersonRequired: If the operator is a service credential.
            AdministratorProtected: If the account administers.
            NewProofRequired: As `Caller.require_proof`.
            InsufficientScope, SessionEnded: If the operator is no administrator any more, or has signed out.
            InvalidFields: If the reason is none, or if changes are not allowed here.
            Unavailable: If the store, the signing key or the claims hook fails.
        """
        impersonator = self._describe(caller, reason, writes=writes)
        return await self._begin(account_id, impersonator, caller, delivery="json")

    async def make_link(
        self, account_id: str, caller: Caller, *, reason: str, writes: bool = False, destination: Mapping[str, str]
    ) -> str:
        """Return a link that begins such a session once, within two minutes, in a browser without a session.

        Args:
            account_id: The account to look at.
            caller: The operator.
            reason: Why, as the person reads it.
            writes: True if applications may accept changes.
            destination: What the page behind the link needs to know about where to go.

        Raises:
            Exception: As `__call__`. Nothing has begun then.
        """
        by = self._describe(caller, reason, writes=writes)
        details = {"operator": by.account_id, "sid": by.sid, "reason": by.reason, "access": WRITE if writes else READ}

        async def issue(rows: Transaction) -> str:
            _, _, account = await self._require_may(rows, account_id, by, caller)
            issued = await self._grants.issue(
                rows,
                "impersonate",
                email=account.email,
                account=account,
                browser=keep_browser_secret(),
                caller=caller,
                details={**details, **destination},
            )
            return issued.link

        return await self._store.transact(issue)

    async def look(self, shown: Shown, caller: Caller) -> Proven:
        """Return the grant of a link, which stays unused. Raises as `OneTimeGrants.prove`."""
        return await self._grants.prove("impersonate", shown, caller)

    async def by_link(self, shown: Shown, *, delivery: Delivery, caller: Caller, request: Repeatable | None = None) -> TokenPair:
        """Begin the session of a link, or return the pair of the one that the same request has begun before.

        Raises as `__call__`, and `InvalidCode` if the link is not accepted.
        """
        try:
            grant = (await self.look(shown, caller)).grant
            return await self._begin_by(grant, delivery, msgspec.structs.replace(caller, request=request))
        except InvalidCode as refused:
            nothing = Proof(subject="", account=None, amr=(), authenticated_at_ms=NEVER_MS)
            return await self._begin_session.repeat_used(refused, nothing, request, delivery=delivery, caller=caller)

    async def _begin_by(self, grant: OneTime, delivery: Delivery, caller: Caller) -> TokenPair:
        by = Impersonator(
            account_id=grant.details["operator"],
            sid=grant.details["sid"],
            reason=grant.details["reason"],
            writes=grant.details["access"] == WRITE,
        )
        return await self._begin(grant.account_id or "", by, caller, delivery=delivery, grant=grant)

    def _describe(self, caller: Caller, reason: str, *, writes: bool) -> Impersonator:
        self.require_on()
        if caller.operator is None or caller.operator.kind != "account":
            raise PersonRequired
        caller.require_proof()
        if writes and not self.may_write:
            raise InvalidFields([("write", mark("is not allowed here: support only reads"))])
        return Impersonator(
            account_id=caller.operator.id, sid=caller.operator_sid, reason=normalise_reason(reason), writes=writes
        )

    async def _begin(
        self, account_id: str, by: Impersonator, caller: Caller, *, delivery: Delivery, grant: OneTime | None = None
    ) -> TokenPair:
        own, _, account = await self._store.read(lambda rows: self._require_may(rows, account_id, by, caller))
        ended: list[Event] = []

        async def confirm(rows: Transaction) -> None:
            own, operator, account = await self._require_may(rows, account_id, by, caller)
            if grant is not None:
                await self._grants.consume(rows, grant, account.id, caller)
            # Written, so that a sign-out of the operator at the same time either stops this or ends what it begins.
            await rows.sessions.update(msgspec.structs.replace(own, seen_at_ms=caller.now_ms))
            ended[:] = await rows.sessions.end_impersonations(now_ms=caller.now_ms, by=by.account_id, within=by.sid)
            content = SupportLooks(by=operator.name, reason=by.reason, may_change=by.writes)
            await self._notices.tell(rows, account, content, msgspec.structs.replace(caller, ip="", user_agent=""))

        proof = Proof(
            subject=account.id,
            account=account,
            amr=(),
            authenticated_at_ms=NEVER_MS,
            impersonator=by,
            ends_by_ms=min(caller.now_ms + LIFETIME_MS, refresh_expires_at_s(own) * 1000),
        )
        return await self._begin_session(
            proof, delivery=delivery, caller=caller, confirm=confirm, beside=ended, request=caller.request
        )

    async def _require_may(
        self, rows: Rows, account_id: str, by: Impersonator, caller: Caller
    ) -> tuple[Session, Account, Account]:
        """Return the session of the operator, their account, and the one to look at. Raises as `__call__`."""
        self.require_on()
        own, operator = await rows.sessions.get(by.sid) or (None, None)
        ended = "expired" if own is None else end_reason(own, operator, caller.now_ms)
        if own is None or ended is not None:
            raise SessionEnded(ended)
        if own.impersonator is not None:
            raise Impersonated
        if operator is None or operator.id != by.account_id or not self._administrators.includes(operator):
            raise InsufficientScope(role=self._administrators.role)
        account = await rows.accounts.get(account_id)
        if account is None:
            raise NotFound(mark("There is no account with this id."))
        if account.disabled_at_ms is not None:
            raise NotFound(mark("This account is disabled: nobody is signed in with it."))
        if self._administrators.is_among(account.roles):
            raise AdministratorProtected(is_looked_at=True)
        return own, operator, account
