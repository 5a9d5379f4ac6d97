"""Queries and changes of mail that waits to be sent."""

from __future__ import annotations

from typing import Protocol

from ...domain.mail import Mail


class MailQueries(Protocol):
    """Reads mail that waits."""

    async def get(self, mail_id: str) -> Mail | None:
        """Return the mail with that id."""

    async def get_next_at_ms(self) -> int | None:
        """Return when the next mail may be sent, in milliseconds since 1970. None if there is none to send."""

    async def measure(self, *, limit: int) -> tuple[int, int | None]:
        """Return how many mails wait to be sent, at most `limit`, and when the oldest of these was created; None without any."""

    async def list_newest(self, *, limit: int) -> list[Mail]:
        """Return up to `limit` mails, newest first."""

    async def list_of(self, account_id: str, *, limit: int) -> list[Mail]:
        """Return up to `limit` mails about an account, oldest first."""


class MailTable(MailQueries, Protocol):
    """Reads and changes mail that waits."""

    async def insert(self, mail: Mail) -> None:
        """Add a mail, and tell the processes that follow `Store.changes`."""

    async def claim(self, *, now_ms: int, until_ms: int) -> Mail | None:
        """Take the mail that has been due the longest: count a try, and let no other process have it before `until_ms`.

        While a process has a mail, its `error` is "".

        Returns:
            The mail with its new values, None if none is due.
        """

    async def postpone(self, mail: Mail, *, next_at_ms: int, error: str) -> None:
        """Record why a try failed and when the next may be. Do nothing if another process has claimed the mail since."""

    async def retry(self, *, now_ms: int, limit: int) -> int:
        """Make up to `limit` postponed mails due now. Return how many."""

    async def delete(self, mail_id: str) -> bool:
        """Remove a mail. Return False if it was gone."""

    async def delete_of(self, account_id: str) -> None:
        """Remove the mails about an account."""
