"""The life of a signing key: published, active, retiring, gone.

The state of a key depends only on times, so all processes agree on it without communication, and a rotation writes one row. A key
is published before it signs, so that verifiers have fetched it by then. After its successor has taken over, it stays published
until the last token that it signed has expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Literal

import msgspec

from .policy import DAY_MS, HOUR_MS, MAX_ACCESS_LIFETIME_MS, MAX_LEEWAY_S, MINUTE_MS

KeyState = Literal["published", "active", "retiring", "gone"]

LateStep = Literal["publish", "remove"]
"""What the service does by the timetable: publish the next key, remove one that has retired."""

JWKS_MAX_AGE_S = 300
"""How long a verifier may cache the key set."""
PUBLISH_AHEAD_MS = JWKS_MAX_AGE_S * 1000 + MINUTE_MS
"""How long a key is published before it signs."""
KEEP_MS = MAX_ACCESS_LIFETIME_MS + (JWKS_MAX_AGE_S + MAX_LEEWAY_S) * 1000
"""How long a key stays published after its successor has taken over. It covers the longest lifetime that a token can have, since
other processes may have other settings."""
SLACK_MS = HOUR_MS
"""How long before its creation a key that must sign at once is active: the clock may be set back a little afterwards."""
ROTATE_AFTER_MS = 90 * DAY_MS
LATE_AFTER_MS = 10 * MINUTE_MS
"""After that long, a step that was due is a fault. A service that runs takes each step within a minute."""


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key as it is stored. `sealed` is its private part, encrypted with the master secret."""

    kid: str
    algorithm: str
    sealed: bytes
    created_at_ms: int
    active_from_ms: int

    def __repr__(self) -> str:
        """Return a text without the private part."""
        return f"KeyRecord(kid={self.kid!r}, algorithm={self.algorithm!r}, active_from_ms={self.active_from_ms})"


class KeyTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The life of one key, as its times are or will be. Milliseconds since 1970.

    Attributes:
        kid: Its id.
        algorithm: What it signs with.
        state: Its state now.
        published_ms: When it was published.
        signs_ms: From when it signs.
        retires_ms: When its successor signs instead. Without a successor, when one is due.
        removed_ms: When it is deleted.
    """

    kid: str
    algorithm: str
    state: KeyState
    published_ms: int
    signs_ms: int
    retires_ms: int
    removed_ms: int


def make_timetable(records: Sequence[KeyRecord], now_ms: int) -> list[KeyTimes]:
    """Return the times of all keys, in the order in which they sign."""
    ordered = sorted(records, key=lambda record: (record.active_from_ms, record.kid))
    timetable = []
    for record, successor in zip_longest(ordered, ordered[1:]):
        retires_ms = record.active_from_ms + ROTATE_AFTER_MS if successor is None else successor.active_from_ms
        timetable.append(
            KeyTimes(
                kid=record.kid,
                algorithm=record.algorithm,
                state=find_state(record, records, now_ms),
                published_ms=record.created_at_ms,
                signs_ms=max(record.created_at_ms, record.active_from_ms),
                retires_ms=retires_ms,
                removed_ms=retires_ms + KEEP_MS,
            )
        )
    return timetable


def find_next_publication(timetable: Sequence[KeyTimes]) -> int:
    """Return when the next key is due to be published, for a timetable that is not empty."""
    return timetable[-1].retires_ms - PUBLISH_AHEAD_MS


def find_late_steps(timetable: Sequence[KeyTimes], now_ms: int) -> dict[LateStep, int]:
    """Return by how many milliseconds each step is late, 0 if it is not."""
    gone = [now_ms - times.removed_ms for times in timetable if times.state == "gone"]
    return {
        "publish": max(0, now_ms - find_next_publication(timetable)) if timetable else 0,
        "remove": max(gone, default=0),
    }


def find_signing_key(records: Sequence[KeyRecord], now_ms: int) -> KeyRecord | None:
    """Return the key that signs at `now_ms`: the newest of those that may sign. None if there is none."""
    allowed = [record for record in records if record.active_from_ms <= now_ms]
    return max(allowed, key=lambda record: (record.active_from_ms, record.kid), default=None)


def find_state(record: KeyRecord, records: Sequence[KeyRecord], now_ms: int) -> KeyState:
    """Return the state of a key at `now_ms`, among all `records`."""
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


def needs_successor(records: Sequence[KeyRecord], algorithm: str, now_ms: int) -> bool:
    """Return True if a key should be published: the newest is old, or no key that is not gone has this `algorithm`.

    A retiring key counts. So while a new algorithm is rolled out, nodes with different settings make a few keys and not one per
    round.
    """
    newest = max((record.active_from_ms for record in records), default=None)
    if newest is None or now_ms >= newest + ROTATE_AFTER_MS - PUBLISH_AHEAD_MS:
        return True
    counting = [record for record in records if find_state(record, records, now_ms) != "gone"]
    return all(record.algorithm != algorithm for record in counting)


def select_compatible(records: Sequence[KeyRecord], algorithm: str) -> list[KeyRecord]:
    """Return the keys that may be in a set with keys of `algorithm`: secrets and public keys are kept apart (RFC 8725 §3.1)."""
    return [record for record in records if (record.algorithm == "HS256") == (algorithm == "HS256")]
