"""The header fields of a request, for look-ups by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload


class HeaderFields:
    """Finds header fields by their names in lower case. All look-ups share one pass over the fields.

    Starlette's `Headers` goes through all fields at each look-up, and raises and catches an error where there is none.
    """

    __slots__ = ("_by_name", "_fields", "_has_each_once")

    def __init__(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Take the fields of a request (ASGI)."""
        self._fields = fields
        self._by_name = dict(fields)  # the last value of each
        self._has_each_once = len(self._by_name) == len(fields)

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of a field, or the default."""
        value = self._by_name.get(name.encode())
        if value is None:
            return default
        return value.decode("latin-1") if self._has_each_once else self.getlist(name)[0]

    def getlist(self, name: str) -> list[str]:
        """Return all values of a field."""
        key = name.encode()
        value = self._by_name.get(key)
        if value is None:
            return []
        if self._has_each_once:
            return [value.decode("latin-1")]
        return [value.decode("latin-1") for found, value in self._fields if found == key]

    def __contains__(self, name: str) -> bool:
        """Return whether a field came, even an empty one."""
        return name.encode() in self._by_name
