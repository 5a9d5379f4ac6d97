"""Queries and changes of one-time grants."""

from __future__ import annotations

from typing import Protocol

from ...domain.one_time import OneTime, Purpose


class OneTimeQueries(Protocol):
    """Reads one-time grants, also those that have expired or were used."""

    async def get(self, grant_id: str) -> OneTime | None:
        """Return the grant with that id."""

    async def get_by_link(self, link_hash: bytes) -> OneTime | None:
        """Return the grant with that hash of a link's token."""

    async def list_by_browser(self, browser_hash: bytes, purpose: Purpose, *, limit: int) -> list[OneTime]:
        """Return up to `limit` grants of a purpose that a browser has asked for, newest first."""

    async def list_of(self, account_id: str, *, limit: int) -> list[OneTime]:
        """Return up to `limit` grants of an account, oldest first."""

    async def has_undo(self, account_id: str, *, now_ms: int) -> bool:
        """Return whether an account has an `undo_change` grant that can be used."""


class OneTimeTable(OneTimeQueries, Protocol):
    """Reads and changes one-time grants."""

    async def insert(self, grant: OneTime) -> None:
        """Add a grant."""

    async def update(self, grant: OneTime) -> None:
        """Write what changes of an existing grant: `looks`, `used_at_ms`, `account_id` and `details`."""

    async def delete_others(self, grant: OneTime) -> None:
        """Remove all other grants of the same purpose and address."""

    async def delete_later_undos(self, grant: OneTime) -> None:
        """Remove the `undo_change` and `undo_factor` grants of the same account that were issued after this one."""

    async def delete_of(self, account_id: str) -> None:
        """Remove the grants of an account."""

    async def delete_unfit_for_backups(self) -> int:
        """Remove the grants of every purpose that does not survive changes. Return how many there were."""
