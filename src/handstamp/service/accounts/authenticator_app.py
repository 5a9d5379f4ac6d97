"""Add, replace and remove the authenticator app of an account."""

from __future__ import annotations

import msgspec

from ...crypto.totp import TotpSecrets, find_steps, group, write_base32, write_uri
from ...domain.account import Account
from ...domain.event import Event
from ...domain.factor import FactorPolicy
from ...domain.policy import MINUTE_MS
from ...domain.receipt import Repeatable
from ...domain.totp import Totp
from ...errors import InvalidCode
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.one_time import read_digits
from ..parts.recovery_codes import RecoveryCodeSets
from ..parts.throttling import Throttling
from .factor_changes import FactorChanges, Holder, forget_factors, require_removable

ENROLMENT_MS = 15 * MINUTE_MS
"""How long a person has to scan the QR code and type the first code."""


class Enrolment(msgspec.Struct, frozen=True):
    """A new authenticator app, which nothing knows of before it is confirmed.

    Attributes:
        sealed: What the client sends back to confirm it. It holds the secret, sealed.
        secret: The secret in groups of four characters, for people who cannot scan.
        uri: What the QR code holds.
    """

    sealed: str
    secret: str
    uri: str

    def __repr__(self) -> str:
        """Return a text without the secret."""
        return "Enrolment(****)"


class AuthenticatorApp:
    """The use cases behind `POST /totp`, `POST /totp/confirm` and `DELETE /totp`."""

    def __init__(
        self,
        *,
        store: Store,
        secrets: TotpSecrets,
        codes: RecoveryCodeSets,
        changes: FactorChanges,
        throttling: Throttling,
        policy: FactorPolicy,
        service_name: str,
        audit: Audit,
    ) -> None:
        """Create it. `service_name` is what apps show beside the code."""
        self._store = store
        self._secrets = secrets
        self._codes = codes
        self._changes = changes
        self._throttling = throttling
        self._policy = policy
        self._service_name = service_name
        self._audit = audit

    async def begin(self, holder: Holder, caller: Caller) -> Enrolment:
        """Make the secret of a new app. Nothing is stored, and the app of the account, if there is one, stays as it is.

        Args:
            holder: The session, or the sign-in that must enrol. It alone can confirm.
            caller: The time of the request.

        Raises:
            InsufficientAuthentication: If the proof of the holder is not strong enough.
            SessionEnded: If the session has ended meanwhile.
            Unavailable: If the store does not answer.
        """
        account, _ = await self._store.transact(holder.require)
        secret = self._secrets.generate()
        sealed = self._secrets.seal_enrolment(secret, account.id, holder.name, caller.now_ms + ENROLMENT_MS)
        return self._describe(sealed, secret, account)

    def look(self, holder: Holder, sealed: str, caller: Caller) -> Enrolment | None:
        """Return an app that is not confirmed yet, for a page that is shown again. None if it has expired or is another's."""
        secret = self._secrets.open_enrolment(sealed, holder.account.id, holder.name, caller.now_ms)
        return None if secret is None else self._describe(sealed, secret, holder.account)

    def _describe(self, sealed: str, secret: bytes, account: Account) -> Enrolment:
        uri = write_uri(secret, account=account.email, issuer=self._service_name)
        return Enrolment(sealed=sealed, secret=group(write_base32(secret)), uri=uri)

    async def confirm(
        self, holder: Holder, sealed: str, code: str, caller: Caller, *, request: Repeatable | None = None
    ) -> list[str]:
        """Store an app after its first code, in place of the one before, and tell by mail.

        Returns:
            Ten recovery codes if this is the first second factor of the account, or if it has none left. Otherwise none.

        Raises:
            InvalidFields: If the code has no six digits, or if the client has used the key of `request` for another one.
            InvalidCode: If the code is wrong, or if the enrolment has expired or belongs to another session.
            InsufficientAuthentication, SessionEnded, Unavailable: As `begin`.
        """
        secret = self._secrets.open_enrolment(sealed, holder.account.id, holder.name, caller.now_ms)
        if secret is None:
            raise InvalidCode("enrolment_expired")
        digits = read_digits(code)

        async def add(rows: Transaction) -> tuple[list[str], list[Event]]:
            repeated = await self._codes.find(rows, holder.account.id, request, caller)
            if repeated is not None:
                return repeated, []
            account, before = await holder.require(rows)
            steps = find_steps(secret, digits, caller.now_ms)
            if not steps:
                raise InvalidCode("wrong_app_code")
            replaced = await rows.totp.get(account.id)  # it may be the same app: no step of it becomes valid again
            totp = Totp(
                account_id=account.id,
                sealed=self._secrets.seal(secret, account.id),
                created_at_ms=caller.now_ms,
                last_step=max(*steps, replaced.last_step if replaced else 0),
                used_at_ms=caller.now_ms,
            )
            await rows.totp.save(totp)
            await holder.record_enrolment(rows, "totp")
            await self._throttling.forget_factors(rows, account.id)
            needs_codes = not before.is_any or before.recovery_codes == 0
            codes = await self._codes.replace(rows, account.id, request, caller) if needs_codes else []
            is_first = not before.is_any
            return codes, [await self._changes.record(rows, account, "totp", caller, sid=holder.sid, is_first=is_first)]

        codes, events = await self._store.transact(add)
        for event in events:
            self._audit.log(event)
        return codes

    async def remove(self, holder: Holder, caller: Caller) -> None:
        """Remove the app of an account, if it has one, and tell by mail. With the last factor its recovery codes go.

        Raises:
            FactorRequired: If the account must have a second factor, and this is the last one.
            InsufficientAuthentication, SessionEnded, Unavailable: As `begin`.
        """

        async def remove(rows: Transaction) -> Event | None:
            account, before = await holder.require(rows)
            if not before.has_totp:
                return None
            after = msgspec.structs.replace(before, has_totp=False)
            require_removable(self._policy, account, after)
            await rows.totp.delete(account.id)
            if not after.is_any:
                await forget_factors(rows, account.id)
            return await self._changes.record(rows, account, "totp", caller, sid=holder.sid, was_removed=True)

        event = await self._store.transact(remove)
        if event is not None:
            self._audit.log(event)
