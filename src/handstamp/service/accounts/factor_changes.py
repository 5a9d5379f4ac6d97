"""Change the second factors of an account: who may, which must stay, and who is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple

import msgspec

from ...domain.account import Account
from ...domain.assurance import is_as_strong
from ...domain.attempt import Attempt
from ...domain.event import Event, EventKind
from ...domain.factor import FactorKind, FactorPolicy, Factors
from ...domain.identity import Identity
from ...domain.mail import SecondFactorChanged
from ...domain.session import Session
from ...errors import FactorRequired, InvalidChallenge, LastWay
from ...storage.store import Transaction
from ..mailing.notices import Notices
from ..mailing.undo_links import UndoLinks
from ..parts.attempts import Attempts
from ..parts.caller import Caller
from ..sessions.living import require_account, require_fresh, require_living_session, require_strong

ENROLLED_AMR: dict[FactorKind, tuple[str, ...]] = {"totp": ("otp",), "passkey": ("pop",)}
"""What adding a factor proves (RFC 8176)."""


class Holder(NamedTuple):
    """Who changes the factors of an account: its living session, or a sign-in that must enrol a factor to be complete.

    Attributes:
        name: The session or the attempt, such as "session 4fzz".
        account: The account, as it was read with it.
        require: Returns the account as it is in a transaction, with its factors. Raises if the session or the attempt has ended,
            or if its proof is not fresh or not strong enough.
        record_enrolment: Records in a transaction that a factor was added, which is a proof of it.
        sid: The session, None for an attempt.
    """

    name: str
    account: Account
    require: Callable[[Transaction], Awaitable[tuple[Account, Factors]]]
    record_enrolment: Callable[[Transaction, FactorKind], Awaitable[None]]
    sid: str | None = None


def name_session(session: Session) -> str:
    """Return the name of a session, for what belongs to it alone."""
    return f"session {session.id}"


def name_attempt(attempt: Attempt) -> str:
    """Return the name of a sign-in, for what belongs to it alone."""
    return f"attempt {attempt.id}"


def hold_session(session: Session, account: Account | None, caller: Caller) -> Holder:
    """Return the holder of a living session.

    Raises:
        NotFound: If the session belongs to no account.
        InsufficientAuthentication: If the person signed in too long ago.
    """
    require_fresh(session, caller.now_ms)

    async def require(rows: Transaction) -> tuple[Account, Factors]:
        living, current = await require_living_session(rows, session.id, caller)
        factors = await rows.factors.get(current.id)
        require_strong(living, factors)  # another request may have added the first factor, which is a proof of this session
        return current, factors

    async def record_enrolment(rows: Transaction, factor: FactorKind) -> None:
        found = await rows.sessions.get(session.id)
        if found is not None and not is_as_strong(found[0].acr, "mfa"):
            amr = tuple(dict.fromkeys((*found[0].amr, *ENROLLED_AMR.get(factor, ()), "mfa")))
            acr = "phr" if factor == "passkey" else "mfa"
            await rows.sessions.update(msgspec.structs.replace(found[0], acr=acr, amr=amr))

    return Holder(name_session(session), require_account(account), require, record_enrolment, session.id)


def hold_attempt(attempts: Attempts, attempt: Attempt, account: Account | None, caller: Caller) -> Holder:
    """Return the holder of a sign-in in which the person must add a factor.

    Raises:
        InvalidChallenge: If the account has changed meanwhile.
    """
    if account is None:
        raise InvalidChallenge("void")

    async def require(rows: Transaction) -> tuple[Account, Factors]:
        row = await attempts.require_open(rows, attempt, caller)
        current = await rows.accounts.get(attempt.subject)
        if current is None or current.disabled_at_ms is not None or current.epoch != attempt.epoch:
            raise InvalidChallenge("void")
        factors = await rows.factors.get(current.id)
        if factors.is_any and not row.enrolled:
            raise InvalidChallenge("void")  # who knows the password alone may add the first factor, and no other
        return current, factors

    async def record_enrolment(rows: Transaction, factor: FactorKind) -> None:
        await attempts.record_enrolment(rows, attempt, factor, caller)

    return Holder(name_attempt(attempt), account, require, record_enrolment)


def require_removable(policy: FactorPolicy, account: Account, after: Factors) -> None:
    """Raise `FactorRequired` if the policy wants a second factor and `after` has none left."""
    if policy.requires(account.roles) and not after.is_any:
        raise FactorRequired


def require_way_left(account: Account, *, passkeys: int, identities: Collection[Identity], providers: Collection[str]) -> None:
    """Raise `LastWay` if the person could not sign in any more.

    Args:
        account: The account.
        passkeys: How many passkeys are left.
        identities: The identities that are left.
        providers: The names of the providers of this service. Those that it has no more sign nobody in.
    """
    if not (account.password_hash or passkeys or any(each.provider in providers for each in identities)):
        raise LastWay


class FactorChanges:
    """Records a change in its transaction: an event and a notice by mail."""

    def __init__(self, notices: Notices, undo_links: UndoLinks) -> None:
        self._notices = notices
        self._undo_links = undo_links

    async def record(
        self,
        rows: Transaction,
        account: Account,
        factor: FactorKind,
        caller: Caller,
        *,
        sid: str | None,
        was_removed: bool = False,
        is_first: bool = False,
    ) -> Event:
        """Add the event and the mail of a change. Return the event, to be logged after the commit.

        The mail about the first factor has a link that undoes it: the password was enough to add it. Later ones needed a factor.

        Args:
            rows: The transaction.
            account: The account.
            factor: What was added, replaced or removed. Passkeys are recorded with their names by their own use case.
            caller: When and from where it was changed.
            sid: The session in which it was changed, None if in none.
            was_removed: Whether it is gone.
            is_first: Whether the account had no second factor before.
        """
        if factor == "recovery_codes":
            event = caller.event("recovery_codes_made", subject=account.id, sid=sid)
        else:
            kind: EventKind = "factor_removed" if was_removed else "factor_added"
            event = caller.event(kind, subject=account.id, sid=sid, detail={"factor": factor})
        await rows.events.insert(event)
        undo_link = await self._undo_links.issue(rows, "undo_factor", account, caller) if is_first else ""
        content = SecondFactorChanged(factor=factor, was_removed=was_removed, undo_link=undo_link)
        await self._notices.tell(rows, account, content, caller)
        return event


async def forget_later_factors(rows: Transaction, account_id: str, since_ms: int) -> None:
    """Remove the second factors and recovery codes of an account that were made since a time (milliseconds since 1970).

    Without a factor that is left, all recovery codes go.
    """
    totp = await rows.totp.get(account_id)
    if totp is not None and totp.created_at_ms >= since_ms:
        await rows.totp.delete(account_id)
    for passkey in await rows.passkeys.list_of(account_id):
        if passkey.created_at_ms >= since_ms:
            await rows.passkeys.delete(account_id, passkey.id)
    has_later_codes = any(code.created_at_ms >= since_ms for code in await rows.recovery_codes.list_of(account_id))
    if has_later_codes or not (await rows.factors.get(account_id)).is_any:
        await rows.recovery_codes.replace(account_id, [])


async def forget_factors(rows: Transaction, account_id: str) -> None:
    """Remove all second factors and recovery codes of an account."""
    await rows.totp.delete(account_id)
    await rows.passkeys.delete_of(account_id)
    await rows.recovery_codes.replace(account_id, [])
