"""List, add and remove the other services with which a person signs in."""

from __future__ import annotations

from collections.abc import Mapping

from ...domain.account import Account
from ...domain.attempt import Attempt
from ...domain.event import Event
from ...domain.identity import Identity
from ...errors import InvalidChallenge, NotFound
from ...storage.store import Store, Transaction
from ...text import mark
from ..parts.attempts import Attempts
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.provider_links import ProviderLinks
from ..parts.provider_trips import Away, ProviderTrips, through_of
from ..sessions.living import require_living_session, require_strong
from .factor_changes import Holder, require_way_left

_NONE = mark("You have no such sign-in.")


class OwnIdentities:
    """The use cases behind `/identities`."""

    def __init__(self, *, store: Store, trips: ProviderTrips, links: ProviderLinks, attempts: Attempts, audit: Audit) -> None:
        self._store = store
        self._trips = trips
        self._links = links
        self._attempts = attempts
        self._audit = audit

    async def list_of(self, account: Account) -> list[Identity]:
        """Return the identities of an account, oldest first. Raises `Unavailable`."""
        return await self._store.read(lambda rows: rows.identities.list_of(account.id))

    async def begin(self, holder: Holder, name: str, caller: Caller, *, return_to: str = "", relays: bool = False) -> Away:
        """Begin to add one. Nothing is stored. The person has just proved again who they are.

        Args:
            holder: The session of the person.
            name: The name of the provider.
            caller: The time of the request, with the secret of the browser.
            return_to: Where the visitor goes afterwards, which the caller has checked.
            relays: See `ProviderTrips.begin`.

        Raises:
            NotFound: If there is no such provider.
            InsufficientAuthentication: If the proof of the session is not strong enough.
            SessionEnded: If the session has ended meanwhile.
            ProviderUnavailable: If the provider does not describe itself as it should.
            Unavailable: If the store does not answer.
        """
        account, _ = await self._store.transact(holder.require)
        return await self._trips.begin(
            name,
            "provider_link",
            caller,
            return_to=return_to,
            subject=account.id,
            sid=holder.sid or "",
            again=True,
            relays=relays,
        )

    async def finish(self, attempt: Attempt, answer: Mapping[str, str], caller: Caller) -> None:
        """Add the person who has come back from a provider to the account of the session in which this began.

        Args:
            attempt: What was kept since `begin`, from `ProviderTrips.open`.
            answer: The fields with which the browser came back.
            caller: The time of the request and where it came from.

        Raises:
            InvalidChallenge: If the account has changed meanwhile.
            IdentityTaken: If the person there is linked to another account.
            InvalidFields: If the account has as many as it may.
            SessionEnded: If the session has ended meanwhile.
            InsufficientAuthentication: If the account has got a second factor meanwhile, which the session has not proved.
            As `ProviderTrips.finish`.
        """
        async with self._trips.one_at_a_time(attempt) as row:
            if row is not None and row.used_at_ms is not None:
                return  # the same answer again
            found = await self._trips.finish(attempt, answer, caller)

            async def add(rows: Transaction) -> list[Event]:
                session, account = await require_living_session(rows, attempt.sid, caller)
                if account.id != attempt.subject:
                    raise InvalidChallenge("void")
                require_strong(session, await rows.factors.get(account.id))
                await self._attempts.consume(rows, attempt, caller)
                events = await self._links.link(rows, through_of(found, caller, may_link=True), account, caller, sid=attempt.sid)
                await self._links.keep_tokens(rows, found, caller)
                return events

            for event in await self._store.transact(add):
                self._audit.log(event)

    async def remove(self, holder: Holder, identity_id: str, caller: Caller) -> None:
        """Remove an identity of an account, and tell by mail.

        Raises:
            NotFound: If the account has no such identity.
            LastWay: If the person could not sign in any more.
            InsufficientAuthentication, SessionEnded, Unavailable: As `begin`.
        """

        async def remove(rows: Transaction) -> Event:
            account, factors = await holder.require(rows)
            identities = await rows.identities.list_of(account.id)
            identity = next((each for each in identities if each.id == identity_id), None)
            if identity is None:
                raise NotFound(_NONE)
            left = [each for each in identities if each is not identity]
            require_way_left(account, passkeys=factors.passkeys, identities=left, providers=self._trips.names)
            return await self._links.unlink(rows, identity, account, caller, sid=holder.sid or "")

        self._audit.log(await self._store.transact(remove))
