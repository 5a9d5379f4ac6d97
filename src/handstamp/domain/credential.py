"""A client: another service that may ask about sessions and follow the revocations."""

from __future__ import annotations

import msgspec


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A service credential. Its secret is 256 random bits, so a plain hash of it tells nobody anything."""

    id: str
    name: str
    secret_hash: bytes
    created_at_ms: int

    def __repr__(self) -> str:
        """Name the client."""
        return f"Client(id={self.id!r}, name={self.name!r})"
