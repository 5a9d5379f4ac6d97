"""How the service is, for the people who look after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from ...errors import NotReady
from ...storage.store import Store
from ..parts.common_clock import CommonClock
from .audit_receivers import ReceiverStatus
from .readiness import Readiness

MOST_COUNTED = 10_000
"""Mails that are counted. It is a lower bound if there are more."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How the service is.

    Attributes:
        parts: The state of each part, as `Readiness.look` returns it.
        mails: How many mails wait.
        oldest_mail_ms: Since when the oldest of them waits, in milliseconds since 1970; None without mail.
        clock_offset_ms: How far the database's clock is ahead of this machine's.
        receivers: How far the receivers of the audit trail are.
        version: That of Handstamp.
    """

    parts: Mapping[str, str]
    mails: int
    oldest_mail_ms: int | None
    clock_offset_ms: int
    receivers: list[ReceiverStatus]
    version: str


class LookAtHealth:
    """The use case that looks at all of it."""

    def __init__(
        self,
        *,
        store: Store,
        readiness: Readiness,
        clock: CommonClock,
        read_receivers: Callable[[], Awaitable[list[ReceiverStatus]]],
        version: str,
    ) -> None:
        self._store = store
        self._readiness = readiness
        self._clock = clock
        self._read_receivers = read_receivers
        self._version = version

    async def __call__(self, *, is_stopping: bool) -> Health:
        """Return how the service is. Raises `Unavailable` if the store does not answer."""
        try:
            parts: Mapping[str, str] = await self._readiness.look(is_stopping=is_stopping)
        except NotReady as fault:
            parts = fault.parts
        mails, oldest_ms = await self._store.read(lambda rows: rows.mails.measure(limit=MOST_COUNTED))
        return Health(
            parts=parts,
            mails=mails,
            oldest_mail_ms=oldest_ms,
            clock_offset_ms=self._clock.offset_ms,
            receivers=await self._read_receivers(),
            version=self._version,
        )
