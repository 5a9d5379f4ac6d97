"""Token buckets in memory: how often a key may do something, with a reserve for short bursts."""

from __future__ import annotations

from collections.abc import Callable

from .clock import monotonic_s

MOST_KEYS = 16_384
"""How many buckets are kept, about 3 MB. Beyond it, those that were not used lately are dropped, which fills them."""


class Buckets:
    """One bucket for each key, in bounded memory. Taking costs the same however many there are, less than a microsecond.

    A bucket is stored as one number: the time at which it is full (the generic cell rate algorithm, ITU-T I.371). There are two
    generations of buckets: when the new one is full, the old one is dropped.
    """

    __slots__ = ("_clock", "_interval_s", "_most_new", "_new", "_old", "_span_s")

    def __init__(self, *, burst: float, per_s: float, most: int = MOST_KEYS, clock: Callable[[], float] = monotonic_s) -> None:
        """Create the buckets. All are full.

        Args:
            burst: What a full bucket holds, at least 1.
            per_s: How much flows into a bucket in a second.
            most: How many buckets are kept, at least 2.
            clock: Returns seconds, which never go back.
        """
        self._interval_s = 1 / per_s
        self._span_s = burst / per_s + 1e-9  # so that rounding does not refuse the last one
        self._most_new = most // 2
        self._clock = clock
        self._new: dict[str, float] = {}
        self._old: dict[str, float] = {}

    def take(self, key: str) -> float:
        """Take one from the bucket of `key`. Return 0, or the seconds until the bucket has one: then nothing is taken."""
        now_s = self._clock()
        full_at_s = self._new.get(key) or self._find_old(key)
        full_at_s = max(full_at_s, now_s)
        full_at_s += self._interval_s
        if full_at_s - now_s > self._span_s:
            return full_at_s - now_s - self._span_s
        self._new[key] = full_at_s
        return 0.0

    def _find_old(self, key: str) -> float:
        if len(self._new) >= self._most_new:
            self._new, self._old = {}, self._new
        return self._old.get(key, 0.0)
