"""The signing keys of a deployment: encrypted in the store, decrypted in memory, rotated automatically."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from ...crypto.algorithms import Algorithm
from ...crypto.jwk import KeySet, SigningKey
from ...crypto.seal import MasterSecret
from ...domain.event import Event
from ...domain.keyring import (
    PUBLISH_AHEAD_MS,
    SLACK_MS,
    KeyRecord,
    KeyState,
    KeyTimes,
    find_signing_key,
    find_state,
    make_timetable,
    needs_successor,
    select_compatible,
)
from ...domain.revocation import Revocation, forgotten_at_s
from ...errors import NotFound, Unavailable
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.receipts import Receipts, request_repeated


class Keys:
    """The keys that sign and verify access tokens, as `load` or `maintain` last read them."""

    def __init__(self, *, store: Store, secret: MasterSecret, algorithm: Algorithm, receipts: Receipts, audit: Audit) -> None:
        """Create it. `secret` encrypts the keys; `algorithm` is that of new keys."""
        self._store = store
        self._receipts = receipts
        self._secret = secret
        self._algorithm = algorithm
        self._audit = audit
        self._opened: dict[str, SigningKey] = {}
        self._signers: tuple[tuple[int, SigningKey], ...] = ()
        self.verifying: KeySet = KeySet([])
        """The keys with which an access token that has not expired may be signed."""
        self.jwks: bytes = b'{"keys":[]}'
        """The public keys as a JWK Set (RFC 7517 §5)."""

    def signing_at(self, now_ms: int) -> SigningKey:
        """Return the key that signs at `now_ms`.

        Raises:
            Unavailable: If no key is active.
        """
        for active_from_ms, key in self._signers:
            if active_from_ms <= now_ms:
                return key
        raise Unavailable("no signing key is active")

    async def require_ready(self, now_ms: int) -> None:
        """Check that requests can be served.

        Raises:
            Unavailable: If the store does not answer, or if no key is active.
        """
        await self._store.read(lambda rows: rows.keys.list_all())
        self.signing_at(now_ms)

    async def read_timetable(self, now_ms: int) -> list[KeyTimes]:
        """Return the times of the keys that may be in one set with ours, in the order of signing. Raises `Unavailable`."""
        return make_timetable(await self._ours(), now_ms)

    async def load(self, now_ms: int) -> None:
        """Read the keys from the store.

        Raises:
            ConfigurationError: If the master secret does not decrypt them.
        """
        self._keep(await self._ours(), now_ms)

    async def maintain(self, now_ms: int) -> None:
        """Make the first key, publish a successor if one is due, delete keys that are gone, and load the rest.

        Raises:
            ConfigurationError: If the master secret does not decrypt the keys.
        """
        service = Caller(now_ms=now_ms, actor="service")
        await self.load(now_ms)  # first: with a wrong master secret no key may be added
        if find_signing_key(await self._ours(), now_ms) is None:
            await self._add(
                service,
                active_from_ms=now_ms - SLACK_MS,
                unless=lambda found: find_signing_key(found, now_ms) is not None,
            )
        elif needs_successor(await self._ours(), self._algorithm, now_ms):
            await self._add(
                service,
                active_from_ms=now_ms + PUBLISH_AHEAD_MS,
                unless=lambda found: not needs_successor(found, self._algorithm, now_ms),
            )
        records = await self._ours()
        gone = [record for record in records if find_state(record, records, now_ms) == "gone"]
        if gone:
            await self._delete(gone, service)
        await self.load(now_ms)  # read again: a key that was voided meanwhile must not come back

    async def rotate(self, caller: Caller) -> KeyRecord:
        """Publish a new key. It signs after `PUBLISH_AHEAD_MS`, when every verifier has had time to fetch it.

        The same request again returns the key that it has published.
        """
        record = await self._add(caller, active_from_ms=caller.now_ms + PUBLISH_AHEAD_MS)
        await self.load(caller.now_ms)
        return record

    async def retire(self, kid: str, caller: Caller) -> KeyState:
        """Stop a key from signing as soon as a successor has been published for long enough.

        A key that has not signed yet is deleted.

        Returns:
            The state of the key before; "gone" if the same request was carried out before.

        Raises:
            NotFound: If there is no such key.
        """
        now_ms = caller.now_ms
        successor = await self._make(now_ms, active_from_ms=now_ms + PUBLISH_AHEAD_MS)

        async def retire(rows: Transaction) -> tuple[KeyState, list[Event]]:
            if await self._receipts.find_of(rows, caller) is not None:
                return "gone", [request_repeated(None, None, caller)]
            records = select_compatible(await rows.keys.list_all(), self._algorithm)
            state, events = find_state(_find_key(kid, records), records, now_ms), []
            if state == "published":
                await rows.keys.delete(kid)
                events.append(caller.event("key_removed", detail={"kid": kid}))
            elif state == "active" and all(other.active_from_ms <= now_ms for other in records):
                await rows.keys.insert(successor)
                events.append(_make_added_event(successor, caller))
            for event in events:
                await rows.events.insert(event)
            await self._receipts.save_of(rows, caller, kid)
            return state, events

        state, events = await self._store.transact(retire)
        for event in events:
            self._audit.log(event)
        await self.load(now_ms)
        return state

    async def void(self, kid: str, caller: Caller) -> None:
        """Revoke every access token that a leaked key has signed, here and at every verifier. Another key signs from now on.

        No user is signed out, because refresh tokens are signed with another key.

        Raises:
            NotFound: If there is no such key.
        """
        now_ms = caller.now_ms
        spare = await self._make(now_ms, active_from_ms=now_ms - SLACK_MS)

        async def replace(rows: Transaction) -> list[Event]:
            if await self._receipts.find_of(rows, caller) is not None:
                return [request_repeated(None, None, caller)]
            records = select_compatible(await rows.keys.list_all(), self._algorithm)
            _find_key(kid, records)
            rest = [other for other in records if other.kid != kid and find_state(other, records, now_ms) != "gone"]
            events = [caller.event("key_voided", detail={"kid": kid})]
            await rows.keys.delete(kid)
            await rows.revocations.insert(Revocation("kid", kid, forgotten_at_s(now_ms)))
            if find_signing_key(rest, now_ms) is None:
                await rows.keys.insert(spare)
                events.append(_make_added_event(spare, caller))
            for event in events:
                await rows.events.insert(event)
            await self._receipts.save_of(rows, caller, kid)
            return events

        for event in await self._store.transact(replace):
            self._audit.log(event)
        await self.load(now_ms)

    async def reseal(self, caller: Caller) -> int:
        """Seal every key with the current master secret that a previous one sealed. Return how many there were.

        Raises:
            ConfigurationError: If none of the secrets opens a key. Nothing is changed then.
            Unavailable: If the store cannot answer.
        """

        async def seal_again(rows: Transaction) -> list[Event]:
            events = []
            for record in await rows.keys.list_all():
                if self._secret.has_sealed(record.sealed, context=record.kid):
                    continue
                private = self._secret.open(record.sealed, context=record.kid)
                await rows.keys.delete(record.kid)
                await rows.keys.insert(msgspec.structs.replace(record, sealed=self._secret.seal(private, context=record.kid)))
                events.append(caller.event("key_resealed", detail={"kid": record.kid}))
                await rows.events.insert(events[-1])
            return events

        events = await self._store.transact(seal_again)
        for event in events:
            self._audit.log(event)
        return len(events)

    async def list_all(self, now_ms: int) -> list[tuple[KeyRecord, KeyState]]:
        """Return every key with its state, oldest first. A key that cannot be in a set with the configured algorithm is gone."""
        records = await self._store.read(lambda rows: rows.keys.list_all())
        ours = select_compatible(records, self._algorithm)
        return [(record, find_state(record, ours, now_ms) if record in ours else "gone") for record in records]

    async def _ours(self) -> list[KeyRecord]:
        return select_compatible(await self._store.read(lambda rows: rows.keys.list_all()), self._algorithm)

    async def _add(
        self, caller: Caller, *, active_from_ms: int, unless: Callable[[Sequence[KeyRecord]], bool] = lambda _: False
    ) -> KeyRecord:
        new = await self._make(caller.now_ms, active_from_ms=active_from_ms)
        event = _make_added_event(new, caller)

        async def add(rows: Transaction) -> tuple[KeyRecord, Event | None]:
            records = select_compatible(await rows.keys.list_all(), self._algorithm)
            added_before = await self._receipts.find_of(rows, caller)
            if added_before is not None:
                known = (record for record in records if record.kid == added_before)
                return next(known, new), request_repeated(None, None, caller)
            if unless(records):
                return new, None  # another process has added a key meanwhile
            await rows.keys.insert(new)
            await rows.events.insert(event)
            await self._receipts.save_of(rows, caller, new.kid)
            return new, event

        record, recorded = await self._store.transact(add)
        if recorded is not None:
            self._audit.log(recorded)
        return record

    async def _make(self, now_ms: int, *, active_from_ms: int) -> KeyRecord:
        key = await asyncio.to_thread(SigningKey.generate, self._algorithm)
        return KeyRecord(
            kid=key.kid,
            algorithm=key.algorithm,
            sealed=self._secret.seal(key.to_bytes(), context=key.kid),
            created_at_ms=now_ms,
            active_from_ms=active_from_ms,
        )

    async def _delete(self, gone: Sequence[KeyRecord], caller: Caller) -> None:
        events = [caller.event("key_removed", detail={"kid": record.kid}) for record in gone]

        async def delete(rows: Transaction) -> None:
            for record, event in zip(gone, events, strict=True):
                await rows.keys.delete(record.kid)
                await rows.events.insert(event)

        await self._store.transact(delete)
        for event in events:
            self._audit.log(event)

    def _keep(self, records: Sequence[KeyRecord], now_ms: int) -> None:
        counting = [record for record in records if find_state(record, records, now_ms) != "gone"]
        self._opened = {record.kid: self._opened.get(record.kid) or self._open(record) for record in counting}
        newest_first = sorted(counting, key=lambda record: (record.active_from_ms, record.kid), reverse=True)
        self._signers = tuple((record.active_from_ms, self._opened[record.kid]) for record in newest_first)
        verifying = KeySet(key.public for key in self._opened.values())
        if verifying != self.verifying:  # an equal set stays the same object: the cache of verified tokens depends on it
            self.verifying = verifying
            self.jwks = msgspec.json.encode(verifying.to_jwks())

    def _open(self, record: KeyRecord) -> SigningKey:
        private = self._secret.open(record.sealed, context=record.kid)
        return SigningKey.from_bytes(private, algorithm=msgspec.convert(record.algorithm, Algorithm), kid=record.kid)


def _make_added_event(record: KeyRecord, caller: Caller) -> Event:
    return caller.event("key_added", detail={"kid": record.kid, "algorithm": record.algorithm})


def _find_key(kid: str, records: Sequence[KeyRecord]) -> KeyRecord:
    for record in records:
        if record.kid == kid:
            return record
    raise NotFound(f"There is no signing key {kid}. See: handstamp keys list")
