"""Queries and changes of identities at other providers, and of their tokens."""

from __future__ import annotations

from typing import Protocol

from ...domain.identity import Identity, SealedTokens


class IdentityQueries(Protocol):
    """Reads identities."""

    async def get(self, issuer: str, subject: str) -> Identity | None:
        """Return the identity of a person at a provider."""

    async def list_of(self, account_id: str) -> list[Identity]:
        """Return the identities of an account, oldest first."""

    async def get_tokens(self, issuer: str, subject: str) -> SealedTokens | None:
        """Return the tokens of a person at a provider, None if none are kept."""

    async def list_tokens(self, *, after: tuple[str, str], limit: int) -> list[SealedTokens]:
        """Return up to `limit` tokens whose issuer and subject sort after `after`, in that order."""


class IdentityTable(IdentityQueries, Protocol):
    """Reads and changes identities."""

    async def insert(self, identity: Identity) -> bool:
        """Add an identity. Return False if this person at the provider is linked already."""

    async def update(self, identity: Identity) -> None:
        """Write the provider's name, the address and the last use of an identity."""

    async def delete(self, account_id: str, identity_id: str) -> bool:
        """Remove an identity of an account with its tokens. Return False if there is none."""

    async def delete_of(self, account_id: str) -> None:
        """Remove all identities of an account with their tokens."""

    async def save_tokens(self, tokens: SealedTokens) -> None:
        """Write the tokens of a person at a provider. They replace those before."""
