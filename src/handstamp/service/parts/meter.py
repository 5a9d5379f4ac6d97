"""Where the service reports its work to be measured, while it happens."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ...domain.event import Event, EventKind


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How busy a process is.

    Attributes:
        hashing_waiting: Passwords that wait to be hashed.
        feed_readers: Readers that wait for a revocation.
        feed_read_at_ms: When the readers with each credential last had an answer, in milliseconds since 1970, by its name.
        changes_waiting: Changes that wait for a commit.
        connections_busy: Connections to PostgreSQL that are in use.
        connections_idle: Connections to PostgreSQL that are not.
        clock_offset_s: How far the store's clock is ahead of this machine's, in seconds.
    """

    hashing_waiting: int
    feed_readers: int
    feed_read_at_ms: Mapping[str, int]
    changes_waiting: int
    connections_busy: int
    connections_idle: int
    clock_offset_s: float


class Meter:
    """Measures nothing. With metrics switched on, `handstamp.metrics` has one that does."""

    def count_event(self, event: Event) -> None:
        """An event has happened, as the audit log tells it."""

    def count_kind(self, kind: EventKind) -> None:
        """A routine event of this kind has happened, which tells nothing else."""

    def count_failed_sign_in(self, method: str) -> None:
        """A sign-in failed that has no event. `method` is its `amr` (RFC 8176)."""

    def count_refused_refresh(self, reason: str) -> None:
        """A refresh was refused because its session has ended, or because it needs a proof."""

    def count_refused_hashing(self) -> None:
        """A password was not hashed, because too many wait."""

    def count_mail(self, outcome: str) -> None:
        """A mail was `sent` or `postponed`. Mail that is given up has an event."""

    def count_webhook(self, outcome: str) -> None:
        """A message with events was `accepted` by a receiver of the audit trail, or sending it `failed`."""

    def time_commit(self, changes: int, seconds: float) -> None:
        """That many changes were committed together."""

    def show_load(self, load: Load) -> None:
        """This is how busy the process is now."""


NO_METER = Meter()
