"""Queries and changes of the sessions that began at another provider, and of its logout tokens."""

from __future__ import annotations

from typing import Protocol

from ...domain.identity import LogoutRow, ProviderSession


class ProviderSessionQueries(Protocol):
    """Reads which sessions began at a provider."""

    async def list_named(self, issuer: str, *, subject: str, at_provider: str, after: str, limit: int) -> list[ProviderSession]:
        """Return up to `limit` sessions that a logout token names, whose ids sort after `after`, in the order of their ids.

        "" stands for any subject, or for any session at the provider.
        """

    async def list_of(self, account_id: str, *, limit: int) -> list[ProviderSession]:
        """Return up to `limit` of those whose session has an account as its subject, in any order."""

    async def has_logout(self, issuer: str, *, subject: str, at_provider: str, since_ms: int) -> bool:
        """Return whether a logout token has arrived since a time that names this person, or this session of theirs."""


class ProviderSessionTable(ProviderSessionQueries, Protocol):
    """Reads and changes them."""

    async def insert(self, link: ProviderSession) -> None:
        """Add the link of a new session."""

    async def delete_of(self, account_id: str) -> None:
        """Remove the links of all sessions that have an account as their subject."""

    async def add_logout(self, logout: LogoutRow) -> bool:
        """Add a logout token. Return False if it has arrived before."""
