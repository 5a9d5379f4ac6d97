"""Issue the links with which the owner of a mailbox undoes what a thief did to an account."""

from __future__ import annotations

from ...domain.account import Account
from ...domain.one_time import Purpose
from ...storage.store import Transaction
from ..parts.caller import Caller
from ..parts.one_time import OneTimeGrants, keep_browser_secret
from .outbox import Outbox


class UndoLinks:
    """Issues links for mails that no person has asked for."""

    def __init__(self, *, grants: OneTimeGrants, outbox: Outbox) -> None:
        self._grants = grants
        self._outbox = outbox

    async def issue(self, rows: Transaction, purpose: Purpose, account: Account, caller: Caller) -> str:
        """Return a link for the address that an account has, "" if there is to be none.

        An address that was never verified gets none: its mailbox may belong to a stranger, and the link would survive the day on
        which the person corrects it.

        Args:
            rows: The transaction.
            purpose: What the link undoes.
            account: The account before the change.
            caller: When it happened, and from where.
        """
        if not (account.email_verified and self._outbox.is_on):
            return ""
        browser = keep_browser_secret()
        issued = await self._grants.issue(rows, purpose, email=account.email, account=account, browser=browser, caller=caller)
        return issued.link
