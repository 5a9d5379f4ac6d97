"""Delete an account with all that belongs to it, for the person and for operators."""

from __future__ import annotations

from ...domain.account import Account
from ...domain.event import Event
from ...domain.mail import AccountDeleted
from ...domain.sweep import Sweep
from ...storage.store import Transaction
from ..mailing.notices import Notices
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.throttling import Throttling
from ..sessions.sweeping import Sweeping
from .factor_changes import forget_factors


class Forgetting:
    """Deletes what belongs to an account.

    What remains is the audit trail, in which the account's id, a random text, stands for the person for 90 days. No other
    account ever gets this id.
    """

    def __init__(self, *, throttling: Throttling, sweeping: Sweeping, notices: Notices, audit: Audit) -> None:
        self._throttling = throttling
        self._sweeping = sweeping
        self._notices = notices
        self._audit = audit

    async def begin(self, rows: Transaction, account: Account, caller: Caller) -> Event:
        """Delete an account, and what belongs to it except for sessions that do not fit into one transaction.

        Returns:
            The event, for `finish`.
        """
        await rows.accounts.delete(account.id)
        await self._throttling.forget(rows, account.email)
        await self._throttling.forget_factors(rows, account.id)
        await rows.one_time.delete_of(account.id)
        await rows.mails.delete_of(account.id)
        await rows.attempts.delete_of(account.id)
        await forget_factors(rows, account.id)
        await rows.provider_sessions.delete_of(account.id)
        await rows.identities.delete_of(account.id)
        await self._notices.tell(rows, account, AccountDeleted(), caller)
        sweep = Sweep(subject=account.id, why="admin", at_ms=caller.now_ms, epoch=account.epoch + 1, forgets=True)
        await self._sweeping.begin(rows, sweep)
        event = caller.event("account_deleted", subject=account.id)
        await rows.events.insert(event)
        return event

    async def finish(self, event: Event) -> None:
        """Log the deletion and delete the remaining sessions, after the transaction of `begin`.

        Raises:
            Unavailable: If the store does not answer. Housekeeping deletes the sessions then; none of them is valid.
        """
        self._audit.log(event)
        await self._sweeping.finish(event.subject or "")
