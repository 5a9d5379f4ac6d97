"""Queries and changes of authenticator apps."""

from __future__ import annotations

from typing import Protocol

from ...domain.totp import Totp


class TotpQueries(Protocol):
    """Reads authenticator apps."""

    async def get(self, account_id: str) -> Totp | None:
        """Return the app of an account."""

    async def list_page(self, *, after: str, limit: int) -> list[Totp]:
        """Return up to `limit` apps of accounts whose id sorts after `after`, in the order of their ids."""


class TotpTable(TotpQueries, Protocol):
    """Reads and changes authenticator apps."""

    async def save(self, totp: Totp) -> None:
        """Write the app of an account. It replaces the one before."""

    async def delete(self, account_id: str) -> None:
        """Remove the app of an account."""
