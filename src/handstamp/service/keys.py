"""The signing keys of this deployment: kept sealed in the store, held open in memory, rotated by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from ..crypto.jwk import Algorithm, KeySet, SigningKey
from ..crypto.seal import MasterSecret
from ..domain.event import Event
from ..domain.keyring import PUBLISH_AHEAD_MS, KeyRecord, State, rotation_is_due, signing_key, state_of
from ..errors import Unavailable
from ..storage.store import Store, Transaction
from .audit import Audit


class Keys:
    """Holds the keys that sign and verify access tokens. `load` must have run before anything is minted."""

    def __init__(
        self, *, store: Store, secret: MasterSecret, algorithm: Algorithm, access_lifetime_ms: int, audit: Audit
    ) -> None:
        """Take what seals the keys and which algorithm new ones are for."""
        self._store = store
        self._secret = secret
        self._algorithm = algorithm
        self._access_lifetime_ms = access_lifetime_ms
        self._audit = audit
        self._opened: dict[str, SigningKey] = {}
        self._signers: tuple[tuple[int, SigningKey], ...] = ()
        self.verifying = KeySet([])
        """Every key that a living access token may be signed with."""
        self.jwks = b'{"keys":[]}'
        """The public ones as a JWK Set (RFC 7517 §5)."""

    def signing_at(self, now_ms: int) -> SigningKey:
        """Return the key that signs now. Raises `Unavailable` if there is none."""
        for active_from_ms, key in self._signers:
            if active_from_ms <= now_ms:
                return key
        raise Unavailable("no signing key is active")

    async def check(self, now_ms: int) -> None:
        """Raise `Unavailable` unless the store answers and a key is active: without both nothing can be served."""
        await self._store.read(lambda rows: rows.keys())
        self.signing_at(now_ms)

    async def load(self, now_ms: int) -> None:
        """Read the keys; make the first one, publish a successor that is due, and drop those that are gone.

        Raises `ConfigurationError` when the secret does not open them.
        """
        records = await self._store.read(lambda rows: rows.keys())
        if self._lacks_signer(records, now_ms):
            records = await self._add(now_ms, active_from_ms=now_ms, unless=lambda found: not self._lacks_signer(found, now_ms))
        elif self._wants_successor(records, now_ms):
            records = await self._add(
                now_ms,
                active_from_ms=now_ms + PUBLISH_AHEAD_MS,
                unless=lambda found: not self._wants_successor(found, now_ms),
            )
        gone = [record for record in records if self.state_of(record, records, now_ms) == "gone"]
        if gone:
            await self._delete(gone, now_ms)
        self._hold([record for record in self._usable(records) if record not in gone])

    async def rotate(self, now_ms: int) -> KeyRecord:
        """Publish a new key that takes over in `PUBLISH_AHEAD_MS`, when every verifier has had time to fetch it."""
        records = await self._add(now_ms, active_from_ms=now_ms + PUBLISH_AHEAD_MS)
        self._hold(self._usable(records))
        return max(records, key=lambda record: (record.created_at_ms, record.active_from_ms))

    async def all(self, now_ms: int) -> list[tuple[KeyRecord, State]]:
        """Return every key with its state, oldest first."""
        records = await self._store.read(lambda rows: rows.keys())
        return [(record, self.state_of(record, records, now_ms)) for record in records]

    def state_of(self, record: KeyRecord, records: Sequence[KeyRecord], now_ms: int) -> State:
        """Say where in its life a key is."""
        return state_of(record, records, now_ms, access_lifetime_ms=self._access_lifetime_ms)

    def _usable(self, records: Sequence[KeyRecord]) -> list[KeyRecord]:
        """Leave out secrets where public keys are configured, and the other way round: they are never mixed (RFC 8725 §3.1)."""
        return [record for record in records if (record.algorithm == "HS256") == (self._algorithm == "HS256")]

    def _lacks_signer(self, records: Sequence[KeyRecord], now_ms: int) -> bool:
        return signing_key(self._usable(records), now_ms) is None

    def _wants_successor(self, records: Sequence[KeyRecord], now_ms: int) -> bool:
        usable = self._usable(records)
        return rotation_is_due(usable, now_ms) or usable[-1].algorithm != self._algorithm

    async def _add(
        self, now_ms: int, *, active_from_ms: int, unless: Callable[[Sequence[KeyRecord]], bool] = lambda _: False
    ) -> list[KeyRecord]:
        key = await asyncio.to_thread(SigningKey.generate, self._algorithm)
        record = KeyRecord(
            kid=key.kid,
            algorithm=key.algorithm,
            sealed=self._secret.seal(key.to_bytes(), context=key.kid),
            created_at_ms=now_ms,
            active_from_ms=active_from_ms,
        )
        event = Event(at_ms=now_ms, kind="key_added", detail={"kid": key.kid, "algorithm": key.algorithm})

        async def add(rows: Transaction) -> list[KeyRecord]:
            if unless(await rows.keys()):  # another process was faster
                return await rows.keys()
            await rows.insert_key(record)
            await rows.add_event(event)
            return await rows.keys()

        records = await self._store.transact(add)
        if record in records:
            self._audit.log(event)
        return records

    async def _delete(self, gone: Sequence[KeyRecord], now_ms: int) -> None:
        events = [Event(at_ms=now_ms, kind="key_removed", detail={"kid": record.kid}) for record in gone]

        async def delete(rows: Transaction) -> None:
            for record, event in zip(gone, events, strict=True):
                await rows.delete_key(record.kid)
                await rows.add_event(event)

        await self._store.transact(delete)
        for event in events:
            self._audit.log(event)

    def _hold(self, records: Sequence[KeyRecord]) -> None:
        self._opened = {record.kid: self._opened.get(record.kid) or self._open(record) for record in records}
        newest_first = sorted(records, key=lambda record: (record.active_from_ms, record.kid), reverse=True)
        self._signers = tuple((record.active_from_ms, self._opened[record.kid]) for record in newest_first)
        self.verifying = KeySet(key.public for key in self._opened.values())
        self.jwks = msgspec.json.encode(self.verifying.to_jwks())

    def _open(self, record: KeyRecord) -> SigningKey:
        private = self._secret.open(record.sealed, context=record.kid)
        return SigningKey.from_bytes(private, algorithm=msgspec.convert(record.algorithm, Algorithm), kid=record.kid)
