"""Sign in with another service: OpenID providers and GitHub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

import msgspec

from ...crypto.identifiers import new_id
from ...domain.account import Account, normalise_name
from ...domain.attempt import Attempt
from ...domain.delivery import Delivery
from ...domain.event import Event
from ...domain.linking import Create, Decision, Link, Refuse, SignIn, TakeOver, decide
from ...domain.proof import Proof
from ...domain.provider import ProviderIdentity
from ...domain.receipt import Repeatable
from ...domain.sweep import Sweep
from ...errors import (
    EmailNotVerified,
    InvalidChallenge,
    InvalidFields,
    InvalidProviderAnswer,
    NotLinked,
    ProviderRefused,
    Unavailable,
)
from ...storage.store import Rows, Store, Transaction
from ..accounts.factor_changes import forget_factors
from ..mailing.notices import Notices
from ..parts.attempts import Attempts
from ..parts.caller import Caller
from ..parts.devices import NO_EARLIER, Devices, EarlierSignIns
from ..parts.email_address import normalise_email
from ..parts.provider_links import ProviderLinks
from ..parts.provider_trips import AMR, Away, ProviderTrips, through_of
from ..parts.throttling import Throttling
from ..parts.tokens import TokenPair
from ..parts.verified import mark_verified
from ..sessions.begin import BeginSession
from ..sessions.sweeping import Sweeping

_MOST_CHANGES = 3
"""How often whose account it is may change while a sign-in looks."""


class _Changed(Exception):
    """Whose account a person gets has changed since it was read."""


class ProviderSignIn:
    """The use case behind `/sign-in/with/{provider}` and `POST /login/with/{provider}`."""

    def __init__(
        self,
        *,
        store: Store,
        trips: ProviderTrips,
        links: ProviderLinks,
        attempts: Attempts,
        throttling: Throttling,
        devices: Devices,
        notices: Notices,
        sweeping: Sweeping,
        begin_session: BeginSession,
        registration_open: bool,
        requires_verified: bool,
    ) -> None:
        """Create it. `requires_verified` refuses accounts whose address is not verified."""
        self._store = store
        self.trips = trips
        self._links = links
        self._attempts = attempts
        self._throttling = throttling
        self._devices = devices
        self._notices = notices
        self._sweeping = sweeping
        self._begin_session = begin_session
        self._registration_open = registration_open
        self._requires_verified = requires_verified

    def label_of(self, name: str) -> str:
        """Return what people call a provider."""
        return self._links.label_of(name)

    async def begin(
        self,
        name: str,
        caller: Caller,
        *,
        delivery: Delivery,
        return_to: str = "",
        login_hint: str = "",
        again: bool = False,
        relays: bool = False,
    ) -> Away:
        """Begin. Arguments and errors are those of `ProviderTrips.begin`."""
        return await self.trips.begin(
            name,
            "provider_sign_in",
            caller,
            delivery=delivery,
            return_to=return_to,
            login_hint=login_hint,
            again=again,
            relays=relays,
        )

    async def __call__(
        self,
        attempt: Attempt,
        answer: Mapping[str, str],
        caller: Caller,
        *,
        presented: Iterable[str] = (),
        earlier: EarlierSignIns = NO_EARLIER,
        language: str = "",
    ) -> TokenPair:
        """Begin a session for a person whom a provider has proved. The same answer again gets the same session.

        Args:
            attempt: What was kept since `begin`, from `ProviderTrips.open`.
            answer: The fields with which the browser came back.
            caller: The time of the request and where it came from, with the secret of the browser.
            presented: Tokens that came with the request. Their sessions end (T15).
            earlier: What shows that the person has signed in on this device before.
            language: The language of the person, for a new account; "" if unknown.

        Raises:
            InvalidChallenge: If the sign-in was used, and its session has ended.
            NotLinked: If no account may be opened by this, or if the account is disabled.
            SecondFactorRequired: If the sign-in needs another step.
            InvalidCredentials: If the account has changed meanwhile.
            EmailNotVerified: If the address must be verified first.
            As `ProviderTrips.finish` and `BeginSession`.
        """
        request = Repeatable("login/with", attempt.id, ())
        async with self.trips.one_at_a_time(attempt) as row:
            if row is not None and row.used_at_ms is not None:
                return await self._repeat(row.account_id, request, caller)
            try:
                found = await _normalise(await self.trips.finish(attempt, answer, caller))
            except (InvalidProviderAnswer, ProviderRefused):
                subject = await self.trips.find_subject(attempt)  # another node may have used the same answer just now
                if subject is None:
                    raise
                return await self._repeat(subject, request, caller)
            for _ in range(_MOST_CHANGES):
                with suppress(_Changed):
                    return await self._begin(
                        attempt, found, caller, presented=presented, earlier=earlier, language=language, request=request
                    )
            raise InvalidChallenge("void")

    async def _repeat(self, subject: str, request: Repeatable, caller: Caller) -> TokenPair:
        pair = await self._begin_session.repeat(subject, request, caller)
        if pair is None:
            raise InvalidChallenge("used")
        return pair

    async def _begin(
        self,
        attempt: Attempt,
        found: ProviderIdentity,
        caller: Caller,
        *,
        presented: Iterable[str],
        earlier: EarlierSignIns,
        language: str,
        request: Repeatable,
    ) -> TokenPair:
        decision = await self._store.read(lambda rows: self._decide(rows, found))
        account = self._account_after(decision, found, caller, language)
        recorded: list[Event] = []

        async def confirm(rows: Transaction) -> None:
            if await self._decide(rows, found) != decision:
                raise _Changed
            recorded[:] = await self._change(rows, decision, account, found, caller)
            await self._attempts.consume(rows, attempt, caller, subject=account.id)
            await self._links.keep_tokens(rows, found, caller)

        async def on_begin(rows: Transaction) -> None:
            is_known = self._devices.find(account.id, earlier) is not None
            await self._notices.tell_of_sign_in(rows, account, caller, is_known_device=is_known)

        try:
            return await self._begin_session(
                _prove(account, found, caller, may_link=not isinstance(decision, SignIn)),
                delivery=attempt.delivery,
                caller=caller,
                confirm=confirm,
                on_begin=on_begin,
                beside=recorded,
                replaced=presented,
                request=request,
            )
        finally:
            if isinstance(decision, TakeOver):
                with suppress(Unavailable):  # housekeeping continues the sweep
                    await self._sweeping.finish(account.id)

    async def _decide(self, rows: Rows, found: ProviderIdentity) -> Decision:
        identity = await rows.identities.get(found.issuer, found.subject)
        holder = await rows.accounts.get_by_email(found.email) if found.email else None
        return decide(
            None if identity is None else await rows.accounts.get(identity.account_id),
            holder,
            issuer=found.issuer,
            is_verified=found.email_verified,
            holder_identities=[] if holder is None else await rows.identities.list_of(holder.id),
            registration_open=self._registration_open,
        )

    def _account_after(self, decision: Decision, found: ProviderIdentity, caller: Caller, language: str) -> Account:
        """Return the account of a decision as the session will find it. Raises if there is none."""
        match decision:
            case Refuse(why=why):
                raise NotLinked(why)
            case Create():
                return Account(
                    id=new_id(),
                    email=found.email,
                    password_hash="",
                    created_at_ms=caller.now_ms,
                    email_verified=True,
                    name=_name(found),
                    language=language,
                )
            case TakeOver(account=account):
                return msgspec.structs.replace(
                    account, password_hash="", email_verified=True, epoch=account.epoch + 1, name=_name(found)
                )
            case SignIn(account=account) | Link(account=account):
                proves_address = found.email_verified and found.email == account.email
                if self._requires_verified and not account.email_verified and not proves_address:
                    raise EmailNotVerified(account.id)
                return account

    async def _change(
        self, rows: Transaction, decision: Decision, account: Account, found: ProviderIdentity, caller: Caller
    ) -> list[Event]:
        """Write what a decision changes of accounts. Return what was recorded."""
        match decision:
            case Create():
                created = self._throttling.of_new_accounts(caller.ip)
                await self._throttling.require_no_wait(rows, created, caller.now_ms)
                await self._throttling.count_failure(rows, created, caller.now_ms)
                await rows.accounts.insert(account)
                event = caller.event("account_created", subject=account.id)
            case TakeOver():
                await self._take_over(rows, account, caller)
                detail = {"provider": found.provider, "label": self._links.label_of(found.provider)}
                event = caller.event("account_taken_over", subject=account.id, detail=detail)
            case _:
                return await mark_verified(rows, account, caller) if found.email_verified and found.email == account.email else []
        await rows.events.insert(event)
        return [event]

    async def _take_over(self, rows: Transaction, account: Account, caller: Caller) -> None:
        """Write an account that was nobody's so far, without all that could open it."""
        await rows.accounts.update(account)
        await rows.identities.delete_of(account.id)
        await rows.one_time.delete_of(account.id)
        await rows.attempts.delete_of(account.id)
        await forget_factors(rows, account.id)
        await self._throttling.forget(rows, account.email)
        await self._throttling.forget_factors(rows, account.id)
        sweep = Sweep(subject=account.id, why="password_changed", at_ms=caller.now_ms, epoch=account.epoch)
        await self._sweeping.begin(rows, sweep)


def _prove(account: Account, found: ProviderIdentity, caller: Caller, *, may_link: bool) -> Proof:
    """Return the proof of one factor. What else the provider says that it has asked for is not believed here."""
    since_ms = caller.now_ms if found.auth_time_s is None else min(caller.now_ms, found.auth_time_s * 1000)
    return Proof(
        subject=account.id,
        account=account,
        amr=(AMR,),
        acr="pwd",
        authenticated_at_ms=since_ms,
        through=through_of(found, caller, may_link=may_link),
    )


async def _normalise(found: ProviderIdentity) -> ProviderIdentity:
    """Return a person with the address as accounts have it. One that no account can have counts as none."""
    try:
        email = await normalise_email(found.email) if found.email else ""
    except InvalidFields:
        email = ""
    return msgspec.structs.replace(found, email=email, email_verified=found.email_verified and email != "")


def _name(found: ProviderIdentity) -> str:
    try:
        return normalise_name(found.name)
    except InvalidFields:
        return ""
