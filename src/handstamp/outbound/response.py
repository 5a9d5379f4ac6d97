"""The answer to a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Response(NamedTuple):
    """An answer. The names of `headers` are in lower case; several fields of one name are joined by ", "."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        """Return a text without headers and body, which may contain tokens."""
        return f"Response(status={self.status})"
