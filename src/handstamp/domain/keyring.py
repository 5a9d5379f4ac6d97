"""The life of a signing key: published, active, retiring, gone.

A key's state follows from times alone, so any number of processes agree on it without telling each other, and rotating writes
one row. A key is published before it signs, so that verifiers have fetched it by then; after its successor took over it stays
published until the last token that it signed is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from .policy import DAY_MS, MAX_ACCESS_LIFETIME_MS, MAX_LEEWAY_S, MINUTE_MS

KeyState = Literal["published", "active", "retiring", "gone"]

JWKS_MAX_AGE_S = 300
"""How long a verifier may keep the key set without asking again."""
PUBLISH_AHEAD_MS = JWKS_MAX_AGE_S * 1000 + MINUTE_MS
KEEP_MS = MAX_ACCESS_LIFETIME_MS + (JWKS_MAX_AGE_S + MAX_LEEWAY_S) * 1000
"""How long a key stays published after its successor took over. It goes by the longest life that any token can have, not by this
process's setting, which another process may not share."""
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


def state_of(record: KeyRecord, records: Sequence[KeyRecord], now_ms: int) -> KeyState:
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
    return "retiring" if now_ms < min(successors) + KEEP_MS else "gone"


def wants_successor(records: Sequence[KeyRecord], algorithm: str, now_ms: int) -> bool:
    """Say whether a key should be published: the newest has served long, or none that still counts is for `algorithm`.

    A key that retires counts. So while a new setting is rolled out, nodes that disagree make a few keys, not one each round.
    """
    newest = max((record.active_from_ms for record in records), default=None)
    if newest is None or now_ms >= newest + ROTATE_AFTER_MS - PUBLISH_AHEAD_MS:
        return True
    counting = [record for record in records if state_of(record, records, now_ms) != "gone"]
    return all(record.algorithm != algorithm for record in counting)


def of_one_kind(records: Sequence[KeyRecord], algorithm: str) -> list[KeyRecord]:
    """Return the keys that can stand in one set with `algorithm`'s: secrets and public keys are never mixed (RFC 8725 §3.1)."""
    return [record for record in records if (record.algorithm == "HS256") == (algorithm == "HS256")]
