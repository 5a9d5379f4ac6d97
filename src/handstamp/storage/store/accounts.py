"""Queries and changes of accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...domain.account import Account


class AccountQueries(Protocol):
    """Reads accounts."""

    async def get(self, account_id: str) -> Account | None:
        """Return the account with that id."""

    async def get_by_email(self, email: str) -> Account | None:
        """Return the account with that normalised address."""

    async def list_of(self, *, emails: Sequence[str], ids: Sequence[str]) -> list[Account]:
        """Return the accounts that have one of up to 1000 normalised addresses or one of up to 1000 ids, in any order."""

    async def list_page(self, *, prefix: str = "", after: str, limit: int) -> list[Account]:
        """Return up to `limit` accounts whose address begins with `prefix` and sorts after `after`, in the order of addresses.

        Addresses are in the order of their code points.
        """


class AccountTable(AccountQueries, Protocol):
    """Reads and changes accounts."""

    async def insert(self, account: Account) -> bool:
        """Add an account. Return False, and add nothing, if its address is taken."""

    async def insert_many(self, accounts: Sequence[Account]) -> set[str]:
        """Add accounts, up to 1000. Return the ids of those that were added: all whose address and id were not taken."""

    async def update(self, account: Account) -> None:
        """Write an existing account."""

    async def delete(self, account_id: str) -> None:
        """Remove an account."""
