"""Queries and changes of service credentials."""

from __future__ import annotations

from typing import Protocol

from ...domain.credential import Credential


class CredentialQueries(Protocol):
    """Reads service credentials."""

    async def get(self, credential_id: str) -> Credential | None:
        """Return the credential with that id."""

    async def list_all(self) -> list[Credential]:
        """Return all credentials in the order of their names."""


class CredentialTable(CredentialQueries, Protocol):
    """Reads and changes service credentials."""

    async def insert(self, credential: Credential) -> bool:
        """Add a credential. Return False, and add nothing, if its name is taken."""

    async def delete(self, credential_id: str) -> None:
        """Remove a credential."""
