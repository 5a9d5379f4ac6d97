"""Queries and changes of signing keys."""

from __future__ import annotations

from typing import Protocol

from ...domain.keyring import KeyRecord


class KeyQueries(Protocol):
    """Reads signing keys."""

    async def list_all(self) -> list[KeyRecord]:
        """Return all signing keys in the order of their `active_from_ms`."""


class KeyTable(KeyQueries, Protocol):
    """Reads and changes signing keys."""

    async def insert(self, record: KeyRecord) -> None:
        """Add a signing key."""

    async def delete(self, kid: str) -> None:
        """Remove a signing key."""
