"""Hand the tokens of providers to the application, renewed."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from ...crypto.provider_tokens import TokenSeal
from ...domain.identity import SealedTokens
from ...domain.policy import MINUTE_MS
from ...domain.provider import ProviderTokens
from ...errors import NotFound, ProviderRefused
from ...storage.store import Rows, Store
from ...text import mark
from ..parts.caller import Caller
from ..parts.provider_trips import ProviderTrips

_NONE = mark("No tokens of this provider are kept for this person.")


class KeptTokens:
    """The use case behind `POST /identities/token`, for the servers of the application."""

    def __init__(self, *, store: Store, trips: ProviderTrips, seal: TokenSeal) -> None:
        self._store = store
        self._trips = trips
        self._seal = seal
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, account_id: str, name: str, caller: Caller) -> ProviderTokens:
        """Return the tokens of a person at a provider, valid for a minute at least. They are renewed if they are not.

        Args:
            account_id: The account of the person.
            name: The name of the provider.
            caller: The time of the request.

        Raises:
            NotFound: If there is no such provider, or if no tokens of it are kept for the person.
            ProviderRefused: If they cannot be renewed. The person must sign in there again.
            ProviderUnavailable: If the provider does not answer as it should.
            Unavailable: If the store does not answer.
            ConfigurationError: If the master secret does not open them.
        """
        provider = self._trips.require(name)
        async with self._turns.setdefault(f"{account_id} {name}", asyncio.Lock()):
            row = await self._store.read(lambda rows: _find(rows, account_id, name))
            tokens = self._open(row)
            if _is_valid(tokens, caller.now_ms):
                return tokens
            try:
                renewed = await provider.renew(tokens, now_ms=caller.now_ms)
            except ProviderRefused:
                # Another node may have used the same refresh token just now.
                tokens = self._open(await self._store.read(lambda rows: _find(rows, account_id, name)))
                if _is_valid(tokens, caller.now_ms):
                    return tokens
                raise
            sealed = self._seal.seal(renewed, row.issuer, row.subject)
            kept = SealedTokens(issuer=row.issuer, subject=row.subject, sealed=sealed, at_ms=caller.now_ms)
            await self._store.transact(lambda rows: rows.identities.save_tokens(kept))
            return renewed

    def _open(self, row: SealedTokens) -> ProviderTokens:
        return self._seal.open(row.sealed, row.issuer, row.subject)


def _is_valid(tokens: ProviderTokens, now_ms: int) -> bool:
    return tokens.expires_at_ms is None or tokens.expires_at_ms > now_ms + MINUTE_MS


async def _find(rows: Rows, account_id: str, name: str) -> SealedTokens:
    """Return the tokens of the identity that was used last. Raises `NotFound`."""
    identities = [each for each in await rows.identities.list_of(account_id) if each.provider == name]
    for identity in sorted(identities, key=lambda each: each.used_at_ms, reverse=True):
        found = await rows.identities.get_tokens(identity.issuer, identity.subject)
        if found is not None:
            return found
    raise NotFound(_NONE)
