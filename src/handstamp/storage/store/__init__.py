"""The store, as services see it.

Two verbs: `read` looks and `transact` changes anything. What must be fast has one each: `session` looks at a single session, and
`update_session` hands its row, held, to a pure decision and writes what that decides. Whatever a verb's work raises undoes that
work alone, and a store that cannot answer raises `Unavailable`: never an empty result, which would read as "signed out".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from ...domain.account import Account
from ...domain.credential import Client
from ...domain.event import Event
from ...domain.keyring import KeyRecord
from ...domain.revocation import Revocation
from ...domain.session import RevokedWhy, Session
from ...domain.throttle import Failures

T = TypeVar("T")


class Update(msgspec.Struct, Generic[T], frozen=True):
    """What a decision about one session came to: the answer, the row to write (None: write nothing) and what to record."""

    answer: T
    session: Session | None = None
    events: tuple[Event, ...] = ()


class StoreTime(msgspec.Struct, frozen=True):
    """The time of a store's own clock, as it was at `at_ms` of `clock.monotonic_ms`, give or take half of `within_ms`."""

    time_ms: int
    at_ms: int
    within_ms: int


Decide = Callable[[Session | None, Account | None], Update[T]]
"""Pure: takes a session's row and its account's, as they are under the lock."""


class Rows(Protocol):
    """Looking at rows. Times are milliseconds since 1970."""

    async def account(self, account_id: str) -> Account | None:
        """Return the account of that id."""

    async def account_by_email(self, email: str) -> Account | None:
        """Return the account of that normalised address."""

    async def accounts(self, *, after: str, limit: int) -> list[Account]:
        """Return up to `limit` accounts in the order of their addresses, from the one behind `after` on."""

    async def session(self, sid: str) -> tuple[Session, Account | None] | None:
        """Return a session with the account of its subject, whether it lives or not."""

    async def live_sessions(self, subject: str | None, *, now_ms: int, limit: int) -> list[Session]:
        """Return up to `limit` sessions that were not revoked and are not past their end, last seen first.

        `subject=None` means everybody's. Idle ones and those of an earlier epoch are for `domain.session.end_reason` to tell.
        """

    async def has_session_from(self, subject: str, ip: str) -> bool:
        """Say whether the subject has a session, live or not, that was started from that address."""

    async def failures(self, keys: Sequence[str]) -> list[Failures]:
        """Return the failed attempts counted under each key, in the order of `keys`."""

    async def keys(self) -> list[KeyRecord]:
        """Return all signing keys that are kept, oldest first."""

    async def revocations(self, *, since: int, limit: int) -> list[Revocation]:
        """Return up to `limit` revocations in the order of their `seq`, from `since` on, that one included."""

    async def last_revocation(self) -> Revocation:
        """Return the revocation of the highest `seq`; there always is one."""

    async def client(self, client_id: str) -> Client | None:
        """Return the client of that id."""

    async def clients(self) -> list[Client]:
        """Return all clients in the order of their names."""

    async def events(self, about: str, *, limit: int) -> list[Event]:
        """Return the last `limit` recorded events whose subject or session is `about`, oldest first."""


class Transaction(Rows, Protocol):
    """Looking at rows and changing them, all or nothing. Rows that were looked at stay as they were until the commit."""

    async def insert_account(self, account: Account) -> bool:
        """Add an account; False, and nothing added, where its address is taken."""

    async def save_account(self, account: Account) -> None:
        """Write an account that exists."""

    async def insert_session(self, session: Session) -> None:
        """Add a session."""

    async def save_session(self, session: Session) -> None:
        """Write a session that exists, and its revocation if it is revoked."""

    async def revoke_sessions(self, subject: str, why: RevokedWhy, *, now_ms: int) -> int:
        """End every live session of a subject, with a revocation each; return how many.

        What was revoked before keeps its reason.
        """

    async def save_failures(self, key: str, failures: Failures) -> None:
        """Write the count of failed attempts under one key."""

    async def forget_failures(self, key: str) -> None:
        """Start that count anew."""

    async def insert_key(self, record: KeyRecord) -> None:
        """Add a signing key."""

    async def delete_key(self, kid: str) -> None:
        """Remove a signing key."""

    async def add_revocation(self, revocation: Revocation) -> None:
        """Tell every verifier that something is void; `seq` is the store's to give. Nothing happens if it was told before."""

    async def insert_client(self, client: Client) -> bool:
        """Add a client; False, and nothing added, where its name is taken."""

    async def delete_client(self, client_id: str) -> None:
        """Remove a client."""

    async def add_event(self, event: Event) -> None:
        """Record what this transaction does."""

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` rows of each kind that nobody will ask for again; return how many in all."""


class Store(Protocol):
    """A place that keeps rows for any number of processes."""

    async def open(self) -> None:
        """Connect. Raises `ConfigurationError` if this is not a store of ours, or of another version."""

    async def close(self) -> None:
        """Finish what was begun and let go."""

    async def read(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run `work` on rows as they were committed. It awaits its rows and nothing else, and may be run again."""

    async def session(self, sid: str) -> tuple[Session, Account | None] | None:
        """Return what `read` finds of one session: every request with an access token asks it."""

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction, and return once that is durable.

        It awaits its transaction and nothing else, and changes nothing but rows: it may be run again.
        """

    async def update_session(self, sid: str, decide: Decide[T]) -> T:
        """Hold a session's row, ask `decide`, write what it says, and return its answer once that is durable."""

    async def time(self) -> StoreTime | None:
        """Ask what time the store has; None where its clock is this machine's."""

    def changes(self) -> AsyncIterator[None]:
        """Yield at once, and again soon after anything was committed by any process. May yield too often, never too seldom."""
