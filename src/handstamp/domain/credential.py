"""A credential of another service: it may ask about sessions and follow the revocations, or administer."""

from __future__ import annotations

from typing import Literal

import msgspec

CredentialScope = Literal["read", "admin"]
"""What a credential may be used for: to introspect, to follow the revocations and to read metrics, or to administer.

Neither scope includes the other.
"""


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """The id and secret of a service. The secret is 256 random bits, so a plain hash of it reveals nothing.

    `scopes` are what it may be used for.
    """

    id: str
    name: str
    secret_hash: bytes
    created_at_ms: int
    scopes: tuple[CredentialScope, ...] = ("read",)

    def __repr__(self) -> str:
        """Show the name without the secret's hash."""
        return f"Credential(id={self.id!r}, name={self.name!r})"
