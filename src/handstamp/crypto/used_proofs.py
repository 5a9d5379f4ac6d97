"""Remembers the proofs that were used, so that none is accepted twice in this process (RFC 9449 §11.1)."""

from __future__ import annotations

from collections import OrderedDict

from ..forking import ProcessLock

MOST_REMEMBERED = 100_000
"""Proofs that one process remembers."""
MOST_OF_A_KEY = 10_000
"""Proofs of one key that it remembers, so that no key pushes those of others out. A process checks fewer in a second."""
_LEAST = 32
_SHARES = 16
"""Each half of a key's share is at most this part of the memory that is free, and at least `_LEAST` proofs. So keys that fill the
memory get smaller shares, and others find room."""
_KEY_COSTS = 8
"""A key takes as much memory as this many proofs."""


class _Used:
    """The proofs of one key, in two generations."""

    __slots__ = ("last_s", "newer", "newest_s", "older", "older_newest_s", "rotated_s", "too_old_s")

    def __init__(self, too_old_s: float, now_s: int) -> None:
        self.newer: set[int] = set()
        self.older: set[int] | frozenset[int] = frozenset()
        self.newest_s = self.older_newest_s = 0.0
        self.too_old_s = too_old_s
        """Proofs of this time and of earlier ones may have been forgotten: none of them is accepted any more."""
        self.rotated_s = self.last_s = now_s

    def __len__(self) -> int:
        return len(self.newer) + len(self.older) + _KEY_COSTS

    def forget_older(self, now_s: int) -> None:
        self.too_old_s = max(self.too_old_s, self.older_newest_s)
        self.older, self.older_newest_s = self.newer, self.newest_s
        self.newer, self.newest_s, self.rotated_s = set(), 0.0, now_s


class UsedProofs:
    """The memory. It is bounded, and what it forgets is refused as too old, so a full memory lets nothing pass twice.

    Call it only for proofs whose signature and binding were checked: then each key fills its own share, and strangers none.
    """

    def __init__(self, *, kept_s: int) -> None:
        """Create an empty memory. After `kept_s` seconds in it, a proof is refused by its own time, so it is forgotten."""
        self._kept_s = kept_s
        self._by_key: OrderedDict[str, _Used] = OrderedDict()
        self._size = 0
        self._too_old_s = 0.0
        self._lock = ProcessLock()

    def __len__(self) -> int:
        """Return the memory in use, counted in proofs."""
        return self._size

    def use(self, key: str, jti: str, made_s: float, now_s: int) -> bool:
        """Return True if a proof is new, and remember it.

        Args:
            key: The thumbprint of the key that made it.
            jti: Its id. Two proofs of one key with one id are the same.
            made_s: When it was made, in seconds since 1970: its `iat`, or the time of its nonce.
            now_s: The time, in seconds since 1970.
        """
        proof = hash(jti)  # a collision refuses a proof of the same key
        with self._lock:
            used = self._by_key.get(key)
            if used is None:
                used = self._by_key[key] = _Used(self._too_old_s, now_s)
                self._size += len(used)
            elif len(used.newer) >= self._half_a_share or now_s - used.rotated_s >= self._kept_s:
                self._size -= len(used.older)
                used.forget_older(now_s)
            self._by_key.move_to_end(key)
            used.last_s = now_s
            if made_s <= used.too_old_s or proof in used.newer or proof in used.older:
                return False
            used.newer.add(proof)
            used.newest_s = max(used.newest_s, made_s)
            self._size += 1
            while self._size > MOST_REMEMBERED:
                self._forget_idle_key()
            return True

    @property
    def _half_a_share(self) -> int:
        return min(MOST_OF_A_KEY // 2, max(_LEAST, (MOST_REMEMBERED - self._size) // _SHARES))

    def _forget_idle_key(self) -> None:
        """Forget the key that was idle the longest. Proofs of keys that are not known must be younger than its last one."""
        _, used = self._by_key.popitem(last=False)
        self._size -= len(used)
        # A clock that is ahead refuses nobody else: its proofs count as made when the last one came.
        self._too_old_s = max(self._too_old_s, min(max(used.newest_s, used.older_newest_s), used.last_s))
