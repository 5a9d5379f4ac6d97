"""A bounded cache of the entries that were used most recently."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Keeps at least the `size // 2` entries that were used most recently, and at most `size`.

    Two generations: when the new one is full, the old one is dropped. Lock-free; in a race an entry may be lost, never wrong.
    """

    __slots__ = ("_generation_size", "_has_old", "_new", "_old")

    def __init__(self, size: int) -> None:
        """Create an empty cache of at most `size` entries; 0 keeps none."""
        self._generation_size = size // 2 or size
        self._has_old = size > 1  # with a single entry there is no room for a second generation
        self._new: dict[str, T] = {}
        self._old: dict[str, T] = {}

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._new) + len(self._old)

    def get(self, key: str) -> T | None:
        """Return the value of `key` and move it to the new generation, or return None."""
        value = self._new.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: str, value: T) -> None:
        """Store `value` under `key`."""
        if len(self._new) >= self._generation_size:
            self._old, self._new = self._new if self._has_old else {}, {}
        if self._generation_size:
            self._new[key] = value
