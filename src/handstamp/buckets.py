"""Token buckets in memory: how often a key may do something, with a reserve for short bursts."""

from __future__ import annotations

from collections import OrderedDict

from .clock import Clock, monotonic_ms

MOST_KEYS = 16_384
"""How many buckets are kept, about 3 MB. Beyond it, the one that was used least recently is dropped, which fills it."""


class Buckets:
    """One bucket for each key, in bounded memory. Taking costs the same however many there are.

    A bucket is stored as one number: the time at which it is full (the generic cell rate algorithm, ITU-T I.371).
    """

    __slots__ = ("_clock", "_full_at_ms", "_interval_ms", "_most", "_span_ms")

    def __init__(self, *, burst: float, per_s: float, most: int = MOST_KEYS, clock: Clock = monotonic_ms) -> None:
        """Create the buckets. All are full.

        Args:
            burst: What a full bucket holds, at least 1.
            per_s: How much flows into a bucket in a second.
            most: How many buckets are kept.
            clock: Returns milliseconds, which never go back.
        """
        self._interval_ms = 1000 / per_s
        self._span_ms = burst * self._interval_ms
        self._most = most
        self._clock = clock
        self._full_at_ms: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one from the bucket of `key`. Return 0, or the seconds until the bucket has one: then nothing is taken."""
        now_ms = self._clock()
        full_at_ms = self._full_at_ms.get(key, now_ms)
        full_at_ms = max(full_at_ms, now_ms)
        full_at_ms += self._interval_ms
        wait_ms = full_at_ms - now_ms - self._span_ms
        if wait_ms > 1e-6:
            return wait_ms / 1000
        self._full_at_ms[key] = full_at_ms
        self._full_at_ms.move_to_end(key)
        if len(self._full_at_ms) > self._most:
            self._full_at_ms.popitem(last=False)
        return 0.0
