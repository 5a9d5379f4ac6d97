"""The store, as services see it.

`read` runs queries; `transact` runs queries and changes in one transaction. Both give access to the rows by aggregate:
`rows.sessions`, `rows.accounts` and so on. Two fast paths exist: `session` reads one session, and `update_session` locks one
session, runs a pure decision and writes its result. An exception raised by a piece of work undoes that work only. A store that
cannot answer raises `Unavailable`. It never returns an empty result instead, because that would read as "signed out".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from ...domain.account import Account
from ...domain.event import AUDIT_RETENTION_MS, Event
from ...domain.mail import Mail
from ...domain.session import Session
from .accounts import AccountQueries, AccountTable
from .attempts import AttemptQueries, AttemptTable
from .credentials import CredentialQueries, CredentialTable
from .events import EventQueries, EventTable
from .factors import FactorQueries
from .failures import FailureQueries, FailureTable
from .identities import IdentityQueries, IdentityTable
from .keys import KeyQueries, KeyTable
from .mails import MailQueries, MailTable
from .one_time import OneTimeQueries, OneTimeTable
from .passkeys import PasskeyQueries, PasskeyTable
from .provider_sessions import ProviderSessionQueries, ProviderSessionTable
from .receipts import ReceiptQueries, ReceiptTable
from .receivers import ReceiverQueries, ReceiverTable
from .recovery_codes import RecoveryCodeQueries, RecoveryCodeTable
from .revocations import RevocationQueries, RevocationTable
from .sessions import SessionQueries, SessionTable
from .statistics import StatisticQueries
from .sweeps import SweepQueries, SweepTable
from .timekeeping import TimekeepingQueries, TimekeepingTable
from .totp import TotpQueries, TotpTable

T = TypeVar("T")


class Update(msgspec.Struct, Generic[T], frozen=True):
    """The result of a decision about one session.

    `answer` is returned to the caller, `session` is the row to write (None: write nothing), `events` are recorded with it, and
    `mails` are added to the outbox.
    """

    answer: T
    session: Session | None = None
    events: tuple[Event, ...] = ()
    mails: tuple[Mail, ...] = ()


class StoreTime(msgspec.Struct, frozen=True):
    """A reading of the store's clock, in milliseconds since 1970.

    It was taken when `clock.monotonic_ms` was `at_ms`, with an error of at most half of `within_ms`.
    """

    time_ms: int
    at_ms: int
    within_ms: int


class StoreLoad(msgspec.Struct, frozen=True):
    """How busy a store is in this process: changes that wait for a commit, and connections by state, if it has a pool."""

    waiting: int
    busy: int = 0
    idle: int = 0


Decide = Callable[[Session | None, Account | None], Update[T]]
"""A pure decision. It receives a session's row and its account's row, both read under the lock."""


class Rows(Protocol):
    """Queries on committed rows. All times are milliseconds since 1970, UTC."""

    @property
    def sessions(self) -> SessionQueries:
        """Query sessions."""

    @property
    def accounts(self) -> AccountQueries:
        """Query accounts."""

    @property
    def keys(self) -> KeyQueries:
        """Query signing keys."""

    @property
    def revocations(self) -> RevocationQueries:
        """Query revocations."""

    @property
    def credentials(self) -> CredentialQueries:
        """Query service credentials."""

    @property
    def failures(self) -> FailureQueries:
        """Query counts of failed attempts."""

    @property
    def receipts(self) -> ReceiptQueries:
        """Query receipts."""

    @property
    def one_time(self) -> OneTimeQueries:
        """Query one-time grants."""

    @property
    def attempts(self) -> AttemptQueries:
        """Query attempts."""

    @property
    def passkeys(self) -> PasskeyQueries:
        """Query passkeys."""

    @property
    def factors(self) -> FactorQueries:
        """Query the second factors of an account."""

    @property
    def totp(self) -> TotpQueries:
        """Query authenticator apps."""

    @property
    def recovery_codes(self) -> RecoveryCodeQueries:
        """Query recovery codes."""

    @property
    def identities(self) -> IdentityQueries:
        """Query identities at other providers."""

    @property
    def provider_sessions(self) -> ProviderSessionQueries:
        """Query which sessions began at another provider."""

    @property
    def events(self) -> EventQueries:
        """Query the audit trail."""

    @property
    def statistics(self) -> StatisticQueries:
        """Count all rows of a table."""

    @property
    def timekeeping(self) -> TimekeepingQueries:
        """Query the row about time."""

    @property
    def sweeps(self) -> SweepQueries:
        """Query unfinished sweeps."""

    @property
    def receivers(self) -> ReceiverQueries:
        """Query receivers of the audit trail."""

    @property
    def mails(self) -> MailQueries:
        """Query mail that waits to be sent."""


class Transaction(Rows, Protocol):
    """Queries and changes that are committed together or not at all. Rows that were read do not change before the commit."""

    @property
    def sessions(self) -> SessionTable:
        """Query and change sessions."""

    @property
    def accounts(self) -> AccountTable:
        """Query and change accounts."""

    @property
    def keys(self) -> KeyTable:
        """Query and change signing keys."""

    @property
    def revocations(self) -> RevocationTable:
        """Query and add revocations."""

    @property
    def credentials(self) -> CredentialTable:
        """Query and change service credentials."""

    @property
    def failures(self) -> FailureTable:
        """Query and change counts of failed attempts."""

    @property
    def receipts(self) -> ReceiptTable:
        """Query and change receipts."""

    @property
    def passkeys(self) -> PasskeyTable:
        """Query and change passkeys."""

    @property
    def attempts(self) -> AttemptTable:
        """Query and change attempts."""

    @property
    def one_time(self) -> OneTimeTable:
        """Query and change one-time grants."""

    @property
    def totp(self) -> TotpTable:
        """Query and change authenticator apps."""

    @property
    def recovery_codes(self) -> RecoveryCodeTable:
        """Query and change recovery codes."""

    @property
    def identities(self) -> IdentityTable:
        """Query and change identities at other providers."""

    @property
    def provider_sessions(self) -> ProviderSessionTable:
        """Query and change which sessions began at another provider."""

    @property
    def events(self) -> EventTable:
        """Query and extend the audit trail."""

    @property
    def timekeeping(self) -> TimekeepingTable:
        """Query and write the row about time."""

    @property
    def sweeps(self) -> SweepTable:
        """Query and change unfinished sweeps."""

    @property
    def receivers(self) -> ReceiverTable:
        """Query and change receivers of the audit trail."""

    @property
    def mails(self) -> MailTable:
        """Query and change mail that waits to be sent."""

    async def purge(self, *, now_ms: int, limit: int, audit_retention_ms: int = AUDIT_RETENTION_MS) -> int:
        """Delete expired rows, at most `limit` from each table, and events that are older than `audit_retention_ms`.

        Returns:
            The number of deleted rows.
        """


class Store(Protocol):
    """Keeps rows for any number of processes."""

    async def open(self) -> None:
        """Connect. Raises `ConfigurationError` if the database is not Handstamp's or has another schema version."""

    async def close(self) -> None:
        """Commit what was submitted, then disconnect."""

    async def read(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run `work` on committed rows and return its result.

        `work` must await its rows and nothing else. It may be called more than once.
        """

    async def session(self, sid: str) -> tuple[Session, Account | None] | None:
        """Return the same as `rows.sessions.get`, faster: every request with an access token calls this."""

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction and return its result once the transaction is durable.

        `work` must await its transaction and nothing else. It must have no effect besides rows, since it may be called more than
        once.
        """

    async def update_session(self, sid: str, decide: Decide[T]) -> T:
        """Lock a session's row, call `decide`, write its result, and return its answer once that is durable."""

    def load(self) -> StoreLoad:
        """Return how busy the store is."""

    async def time(self) -> StoreTime | None:
        """Return the time of the store's clock. None if the store uses the clock of this machine."""

    def changes(self) -> AsyncIterator[None]:
        """Yield at once, and again soon after each commit by any process. It may yield without a commit; it never misses one."""
