"""The life of a signing key: published, active, retiring, gone.

A key's state follows from times alone, so any number of processes agree on it without telling each other, and rotating writes
one row. A key is published before it signs, so that verifiers have fetched it by then; after its successor took over it stays
published until the last token that it signed is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from .policy import DAY_MS, MAX_LEEWAY_S, MINUTE_MS

State = Literal["published", "active", "retiring", "gone"]

JWKS_MAX_AGE_S = 300
"""How long a verifier may keep the key set without asking again."""
PUBLISH_AHEAD_MS = JWKS_MAX_AGE_S * 1000 + MINUTE_MS
ROTATE_AFTER_MS = 90 * DAY_MS


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key as it is stored: `sealed` is its private part, encrypted under the master secret."""

    kid: str
    algorithm: str
    sealed: bytes
    created_at_ms: int
    active_from_ms: int

    def __repr__(self) -> str:
        """Name the key without its private part."""
        return f"KeyRecord(kid={self.kid!r}, algorithm={self.algorithm!r}, active_from_ms={self.active_from_ms})"


def signing_key(records: Sequence[KeyRecord], now_ms: int) -> KeyRecord | None:
    """Return the key that signs at `now_ms`: of those that are allowed to, the one that was allowed last."""
    allowed = [record for record in records if record.active_from_ms <= now_ms]
    return max(allowed, key=lambda record: (record.active_from_ms, record.kid), default=None)


def state_of(record: KeyRecord, records: Sequence[KeyRecord], now_ms: int, *, access_lifetime_ms: int) -> State:
    """Say where in its life a key is, among all `records`."""
    if record.active_from_ms > now_ms:
        return "published"
    successors = [
        other.active_from_ms
        for other in records
        if (record.active_from_ms, record.kid) < (other.active_from_ms, other.kid) and other.active_from_ms <= now_ms
    ]
    if not successors:
        return "active"
    keep_ms = access_lifetime_ms + (JWKS_MAX_AGE_S + MAX_LEEWAY_S) * 1000
    return "retiring" if now_ms < min(successors) + keep_ms else "gone"


def rotation_is_due(records: Sequence[KeyRecord], now_ms: int) -> bool:
    """Say whether the newest key has served so long that its successor should be published."""
    newest = max((record.active_from_ms for record in records), default=None)
    return newest is None or now_ms >= newest + ROTATE_AFTER_MS - PUBLISH_AHEAD_MS
