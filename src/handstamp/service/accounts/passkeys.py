"""Add, name, list and remove the passkeys of an account."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from ...crypto.passkeys import Passkeys, name_model
from ...domain.account import Account
from ...domain.event import Event
from ...domain.factor import FactorPolicy
from ...domain.passkey import MOST, Passkey, normalise_passkey_name
from ...domain.receipt import Repeatable
from ...errors import InvalidFields, InvalidPasskey, NotFound
from ...storage.store import Store, Transaction
from ...text import mark
from ..parts.attempts import Attempts
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.ceremonies import Ceremony
from ..parts.one_time import keep_browser_secret
from ..parts.recovery_codes import RecoveryCodeSets
from .factor_changes import FactorChanges, Holder, forget_factors, require_removable, require_way_left


class PasskeyList(msgspec.Struct, frozen=True):
    """The passkeys of an account, and what a browser needs to tell its authenticators about them (signal methods)."""

    passkeys: list[Passkey]
    account: Account
    rp_id: str
    handle: str


class OwnPasskeys:
    """The use cases behind `/passkeys`."""

    def __init__(
        self,
        *,
        store: Store,
        attempts: Attempts,
        passkeys: Passkeys,
        codes: RecoveryCodeSets,
        changes: FactorChanges,
        policy: FactorPolicy,
        providers: Collection[str],
        audit: Audit,
    ) -> None:
        """Create it. `providers` are the names of the providers with which people can sign in."""
        self._store = store
        self._attempts = attempts
        self._passkeys = passkeys
        self._codes = codes
        self._changes = changes
        self._policy = policy
        self._providers = providers
        self._audit = audit

    async def list_of(self, account: Account) -> PasskeyList:
        """Return the passkeys of an account, oldest first. Raises `Unavailable`."""
        found = await self._store.read(lambda rows: rows.passkeys.list_of(account.id))
        return PasskeyList(found, account, self._passkeys.rp_id, self._find_handle(account, found))

    def _find_handle(self, account: Account, known: Sequence[Passkey]) -> str:
        """Return by what authenticators know the account."""
        return known[0].handle if known else self._passkeys.make_handle(account.id)

    async def has_any(self, account_id: str) -> bool:
        """Return whether an account has a passkey. Raises `Unavailable`."""
        return (await self._store.read(lambda rows: rows.factors.get(account_id))).passkeys > 0

    async def begin(self, holder: Holder, caller: Caller) -> Ceremony:
        """Begin to add a passkey. Nothing is stored.

        Raises:
            InvalidFields: If the account has as many as it may.
            InsufficientAuthentication: If the proof of the holder is not strong enough.
            SessionEnded, InvalidChallenge: If the session or the sign-in has ended meanwhile.
            Unavailable: If the store does not answer.
        """
        account, known = await self._store.transact(lambda rows: _read(rows, holder))
        if len(known) >= MOST:
            raise InvalidFields([("passkey", mark("there are %(most)s already: remove one first", most=MOST))])
        challenge, browser = self._passkeys.generate_challenge(), keep_browser_secret(caller.browser)
        handle = self._find_handle(account, known)
        sealed = self._attempts.issue(
            "passkey_enrolment",
            browser=browser,
            caller=caller,
            subject=account.id,
            challenge=f"{challenge} {handle}",
            sid=holder.name,
        )
        return Ceremony(sealed, self._passkeys.write_creation(challenge, handle, account.email, account.name, known), browser)

    async def confirm(
        self,
        holder: Holder,
        sealed: str,
        answer: str,
        caller: Caller,
        *,
        name: str = "",
        is_silent: bool = False,
        request: Repeatable | None = None,
    ) -> tuple[Passkey, list[str]]:
        """Store a passkey, and tell by mail.

        Args:
            holder: Who adds it; the same as in `begin`.
            sealed: The challenge of `begin`.
            answer: What the browser returned, as JSON.
            caller: The time of the request and where it came from, with the secret of the browser.
            name: What the person calls it; "" for the name of the model.
            is_silent: Whether the browser made it without a gesture, after a sign-in (conditional create). That proves nothing,
                so the session stays as strong as it was.
            request: What is repeatable, for the recovery codes.

        Returns:
            The passkey, and ten recovery codes if it is the first second factor of the account or if none are left.

        Raises:
            InvalidChallenge: If the ceremony has expired, was used or began elsewhere.
            InvalidPasskey: If it is not accepted.
            InvalidFields: If the name is malformed, or if there are too many.
            InsufficientAuthentication, SessionEnded, Unavailable: As `begin`.
        """
        attempt = self._attempts.open(sealed, "passkey_enrolment", browser=caller.browser, caller=caller)
        if (attempt.subject, attempt.sid) != (holder.account.id, holder.name):
            raise InvalidPasskey("refused")
        challenge, _, handle = attempt.challenge.partition(" ")
        chosen = normalise_passkey_name(name) if name else ""
        may_be_silent = is_silent and holder.sid is not None  # in a sign-in it is the second factor, for which somebody is there
        made = await self._passkeys.read_creation(answer, challenge, may_be_silent=may_be_silent)
        passkey = Passkey(
            id=made.id,
            account_id=holder.account.id,
            handle=handle,
            public_key=made.public_key,
            sign_count=made.sign_count,
            name=chosen or name_model(made.aaguid),
            aaguid=made.aaguid,
            transports=made.transports,
            is_backed_up=made.is_backed_up,
            created_at_ms=caller.now_ms,
            used_at_ms=caller.now_ms,
        )

        async def add(rows: Transaction) -> tuple[list[str], list[Event]]:
            repeated = await self._codes.find(rows, holder.account.id, request, caller)
            if repeated is not None:
                return repeated, []
            account, before = await holder.require(rows)
            await self._attempts.consume(rows, attempt, caller)
            if before.passkeys >= MOST:
                raise InvalidFields([("passkey", mark("there are %(most)s already: remove one first", most=MOST))])
            if not await rows.passkeys.insert(passkey):
                raise InvalidPasskey("taken")
            if not may_be_silent:
                await holder.record_enrolment(rows, "passkey")
            needs_codes = not before.is_any or before.recovery_codes == 0
            codes = await self._codes.replace(rows, account.id, request, caller) if needs_codes else []
            is_first = not before.is_any
            return codes, [await self._changes.record(rows, account, "passkey", caller, sid=holder.sid, is_first=is_first)]

        codes, events = await self._store.transact(add)
        for event in events:
            self._audit.log(event)
        return passkey, codes

    async def rename(self, holder: Holder, passkey_id: str, name: str, caller: Caller) -> Passkey:
        """Give a passkey another name. Return it. Who renames one could have its owner remove another.

        Raises:
            NotFound: If the account has no such passkey.
            InvalidFields: If the name is malformed.
            InsufficientAuthentication, SessionEnded, Unavailable: As `begin`.
        """
        name = normalise_passkey_name(name)

        async def rename(rows: Transaction) -> tuple[Passkey, Event]:
            account, _ = await holder.require(rows)
            passkey = await rows.passkeys.get(passkey_id)
            if passkey is None or passkey.account_id != account.id:
                raise NotFound(_NONE)
            renamed = msgspec.structs.replace(passkey, name=name)
            await rows.passkeys.update(renamed)
            event = caller.event("factor_renamed", subject=account.id, sid=holder.sid, detail={"factor": "passkey"})
            await rows.events.insert(event)
            return renamed, event

        renamed, event = await self._store.transact(rename)
        self._audit.log(event)
        return renamed

    async def remove(self, holder: Holder, passkey_id: str, caller: Caller) -> None:
        """Remove a passkey of an account, and tell by mail. With the last factor its recovery codes go.

        Raises:
            NotFound: If the account has no such passkey.
            LastWay: If the person could not sign in any more.
            FactorRequired: If the account must have a second factor, and this is the last one.
            InsufficientAuthentication, SessionEnded, Unavailable: As `begin`.
        """

        async def remove(rows: Transaction) -> Event:
            account, before = await holder.require(rows)
            if not await rows.passkeys.delete(account.id, passkey_id):
                raise NotFound(_NONE)
            after = msgspec.structs.replace(before, passkeys=before.passkeys - 1)
            identities = await rows.identities.list_of(account.id)
            require_way_left(account, passkeys=after.passkeys, identities=identities, providers=self._providers)
            require_removable(self._policy, account, after)
            if not after.is_any:
                await forget_factors(rows, account.id)
            return await self._changes.record(rows, account, "passkey", caller, sid=holder.sid, was_removed=True)

        self._audit.log(await self._store.transact(remove))


_NONE = mark("You have no such passkey.")


async def _read(rows: Transaction, holder: Holder) -> tuple[Account, list[Passkey]]:
    account, _ = await holder.require(rows)
    return account, await rows.passkeys.list_of(account.id)
