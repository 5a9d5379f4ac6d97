"""A bounded memory of what was used lately."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Keeps at least the last `size // 2` values that were asked for, and never more than `size`.

    Two halves: when the young one is full the old one goes. A look is one or two dictionary look-ups without a lock, and threads
    that meet here lose a value at worst.
    """

    __slots__ = ("_half", "_has_halves", "_old", "_young")

    def __init__(self, size: int) -> None:
        """Keep up to `size` values; none at all for 0."""
        self._half = size // 2 or size
        self._has_halves = size > 1  # a single value has no old half beside it
        self._young: dict[str, T] = {}
        self._old: dict[str, T] = {}

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._young) + len(self._old)

    def get(self, key: str) -> T | None:
        """Return the value of `key`, which is thereby young again, or None."""
        value = self._young.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: str, value: T) -> None:
        """Keep `value` under `key`."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young if self._has_halves else {}, {}
        if self._half:
            self._young[key] = value
