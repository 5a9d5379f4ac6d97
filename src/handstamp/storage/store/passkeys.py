"""Queries and changes of passkeys."""

from __future__ import annotations

from typing import Protocol

from ...domain.passkey import Passkey


class PasskeyQueries(Protocol):
    """Reads passkeys."""

    async def get(self, passkey_id: str) -> Passkey | None:
        """Return the passkey with a credential id."""

    async def list_of(self, account_id: str) -> list[Passkey]:
        """Return the passkeys of an account, oldest first."""


class PasskeyTable(PasskeyQueries, Protocol):
    """Reads and changes passkeys."""

    async def insert(self, passkey: Passkey) -> bool:
        """Add a passkey. Return False if its credential id is taken."""

    async def update(self, passkey: Passkey) -> None:
        """Write the name, the counter, the state of the backup and the last use of a passkey."""

    async def delete(self, account_id: str, passkey_id: str) -> bool:
        """Remove a passkey of an account. Return False if there is none."""

    async def delete_of(self, account_id: str) -> None:
        """Remove all passkeys of an account."""
