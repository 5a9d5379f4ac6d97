"""A credential of another service, which may ask about sessions and follow the revocations."""

from __future__ import annotations

import msgspec


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """The id and secret of a service. The secret is 256 random bits, so a plain hash of it reveals nothing."""

    id: str
    name: str
    secret_hash: bytes
    created_at_ms: int

    def __repr__(self) -> str:
        """Show the name without the secret's hash."""
        return f"Credential(id={self.id!r}, name={self.name!r})"
