"""All aggregates of one transaction."""

from __future__ import annotations

from ...domain.event import AUDIT_RETENTION_MS
from .accounts import SqlAccounts
from .attempts import SqlAttempts
from .credentials import SqlCredentials
from .events import SqlEvents
from .executor import Executor
from .factors import SqlFactors
from .failures import SqlFailures
from .identities import SqlIdentities
from .keys import SqlKeys
from .mails import SqlMails
from .one_time import SqlOneTime
from .passkeys import SqlPasskeys
from .provider_sessions import SqlProviderSessions
from .receipts import SqlReceipts
from .receivers import SqlReceivers
from .recovery_codes import SqlRecoveryCodes
from .revocations import SqlRevocations
from .sessions import SqlSessions
from .statistics import SqlStatistics
from .sweeps import SqlSweeps
from .timekeeping import SqlTimekeeping
from .totp import SqlTotp


class SqlTransaction(Executor):
    """Implements `handstamp.storage.store.Transaction`.

    A property makes its small object at each access, since most work needs only one or two of them.
    """

    __slots__ = ()

    @property
    def sessions(self) -> SqlSessions:
        """Query and change sessions."""
        return SqlSessions(self)

    @property
    def accounts(self) -> SqlAccounts:
        """Query and change accounts."""
        return SqlAccounts(self)

    @property
    def keys(self) -> SqlKeys:
        """Query and change signing keys."""
        return SqlKeys(self)

    @property
    def revocations(self) -> SqlRevocations:
        """Query and add revocations."""
        return SqlRevocations(self)

    @property
    def credentials(self) -> SqlCredentials:
        """Query and change service credentials."""
        return SqlCredentials(self)

    @property
    def failures(self) -> SqlFailures:
        """Query and change counts of failed attempts."""
        return SqlFailures(self)

    @property
    def receipts(self) -> SqlReceipts:
        """Query and change receipts."""
        return SqlReceipts(self)

    @property
    def one_time(self) -> SqlOneTime:
        """Query and change one-time grants."""
        return SqlOneTime(self)

    @property
    def attempts(self) -> SqlAttempts:
        """Query and change attempts."""
        return SqlAttempts(self)

    @property
    def passkeys(self) -> SqlPasskeys:
        """Query and change passkeys."""
        return SqlPasskeys(self)

    @property
    def factors(self) -> SqlFactors:
        """Query the second factors of an account."""
        return SqlFactors(self)

    @property
    def totp(self) -> SqlTotp:
        """Query and change authenticator apps."""
        return SqlTotp(self)

    @property
    def recovery_codes(self) -> SqlRecoveryCodes:
        """Query and change recovery codes."""
        return SqlRecoveryCodes(self)

    @property
    def identities(self) -> SqlIdentities:
        """Query and change identities at other providers."""
        return SqlIdentities(self)

    @property
    def provider_sessions(self) -> SqlProviderSessions:
        """Query and change which sessions began at another provider."""
        return SqlProviderSessions(self)

    @property
    def events(self) -> SqlEvents:
        """Query and extend the audit trail."""
        return SqlEvents(self)

    @property
    def statistics(self) -> SqlStatistics:
        """Count all rows of a table."""
        return SqlStatistics(self)

    @property
    def timekeeping(self) -> SqlTimekeeping:
        """Query and write the row about time."""
        return SqlTimekeeping(self)

    @property
    def sweeps(self) -> SqlSweeps:
        """Query and change unfinished sweeps."""
        return SqlSweeps(self)

    @property
    def receivers(self) -> SqlReceivers:
        """Query and change receivers of the audit trail."""
        return SqlReceivers(self)

    @property
    def mails(self) -> SqlMails:
        """Query and change mail that waits to be sent."""
        return SqlMails(self)

    async def purge(self, *, now_ms: int, limit: int, audit_retention_ms: int = AUDIT_RETENTION_MS) -> int:
        """Delete expired rows, at most `limit` from each table. Return the number of deleted rows."""
        deleted = await self.events.purge(until_ms=now_ms - audit_retention_ms, limit=limit)
        await self.receivers.count_lost(deleted)
        tables = (
            self.sessions,
            self.failures,
            self.receipts,
            self.one_time,
            self.attempts,
            self.identities,
            self.provider_sessions,
            self.revocations,
            self.mails,
        )
        return len(deleted) + sum([await table.purge(now_ms=now_ms, limit=limit) for table in tables])
