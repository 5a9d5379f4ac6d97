"""What is measured when it is read: rows of the database, which are the same for every process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import get_args

import msgspec
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..domain.keyring import KeyState, KeyTimes, find_late_steps
from ..service.operating.audit_receivers import ReceiverStatus
from ..service.operating.keys import Keys
from ..service.parts.common_clock import CommonClock
from ..storage.store import Rows, Store
from ..storage.store.sessions import FIRST_COUNTED, Counted

MOST_COUNTED = 100_000
"""The largest number of mails and revocations that are counted."""
SESSIONS_EVERY_MS = 300_000
"""Counting sessions reads an entry of an index for each, so it is done this rarely."""
_PAGE_SIZE = 2_000
_PAUSE_S = 0.01
"""SQLite reads on the event loop, so all sessions are counted in pieces of a millisecond."""


class State(msgspec.Struct, frozen=True):
    """What was read."""

    now_ms: int
    keys: list[KeyTimes]
    revocations: int
    mails: int
    oldest_mail_ms: int | None
    receivers: Sequence[ReceiverStatus]


class StateCollector(Collector):
    """Yields the metrics of the state that was read last."""

    def __init__(
        self,
        *,
        store: Store,
        keys: Keys,
        clock: CommonClock,
        version: str,
        read_receivers: Callable[[], Awaitable[list[ReceiverStatus]]],
    ) -> None:
        """Create it. `version` is that of Handstamp. `read_receivers` returns how far the receivers of the audit trail are."""
        self._read_receivers = read_receivers
        self._store = store
        self._keys = keys
        self._clock = clock
        self._version = version
        self._state: State | None = None
        self._sessions: int | None = None
        self._sessions_at_ms = 0

    async def read(self) -> None:
        """Read the state. If the store does not answer, there is none, and the metric `handstamp_store_up` is 0."""
        now_ms = self._clock.estimate()
        self._state = None
        keys = await self._keys.read_timetable(now_ms)
        revocations, (mails, oldest_ms) = await self._store.read(_count)
        receivers = [status for status in await self._read_receivers() if status.is_configured]
        self._state = State(now_ms, keys, revocations, mails, oldest_ms, receivers)
        if self._sessions is None or now_ms - self._sessions_at_ms >= SESSIONS_EVERY_MS:
            self._sessions, self._sessions_at_ms = await self._count_sessions(now_ms), now_ms

    async def _count_sessions(self, now_ms: int) -> int:
        total, place = 0, FIRST_COUNTED
        while True:
            count, following = await self._store.read(lambda rows, place=place: _count_page(rows, place, now_ms))  # type: ignore[misc]
            total += count
            if following is None:
                return total
            place = following
            await asyncio.sleep(_PAUSE_S)

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        yield InfoMetricFamily("handstamp", "This service.", {"version": self._version})
        yield GaugeMetricFamily("handstamp_store_up", "Whether the store answered.", int(self._state is not None))
        if self._state is None:
            return
        yield from _tell_keys(self._state)
        yield GaugeMetricFamily("handstamp_revocations", "Revocations in the feed.", self._state.revocations)
        yield GaugeMetricFamily("handstamp_mails_waiting", "Mails that wait to be sent.", self._state.mails)
        oldest_ms = self._state.oldest_mail_ms
        waits_s = 0.0 if oldest_ms is None else (self._state.now_ms - oldest_ms) / 1000
        yield GaugeMetricFamily("handstamp_mail_oldest_seconds", "How long the oldest of these has waited.", waits_s)
        yield from _tell_receivers(self._state)
        if self._sessions is not None:
            yield GaugeMetricFamily(
                "handstamp_sessions", "Sessions that have not been ended, counted every five minutes.", self._sessions
            )


def _tell_keys(state: State) -> Iterable[Metric]:
    count = GaugeMetricFamily("handstamp_keys", "Signing keys, by state.", labels=["state"])
    age = GaugeMetricFamily(
        "handstamp_key_age_seconds", "How long ago the newest key of a state began to sign; below 0 before.", labels=["state"]
    )
    for name in get_args(KeyState):
        signing_since = [times.signs_ms for times in state.keys if times.state == name]
        count.add_metric([name], len(signing_since))
        if signing_since:
            age.add_metric([name], (state.now_ms - max(signing_since)) / 1000)
    late = GaugeMetricFamily(
        "handstamp_key_step_late_seconds", "By how much a step of the timetable of signing keys is late.", labels=["step"]
    )
    for step, late_ms in find_late_steps(state.keys, state.now_ms).items():
        late.add_metric([step], late_ms / 1000)
    yield from (count, age, late)


def _tell_receivers(state: State) -> Iterable[Metric]:
    waits = GaugeMetricFamily(
        "handstamp_audit_webhook_oldest_seconds",
        "How long ago the oldest event happened that a receiver has not accepted.",
        labels=["receiver"],
    )
    lost = GaugeMetricFamily(
        "handstamp_audit_webhook_lost_events", "Events that were deleted before a receiver accepted them.", labels=["receiver"]
    )
    for status in state.receivers:
        since_ms = status.waiting_since_ms
        waits.add_metric([status.receiver.name], 0.0 if since_ms is None else (state.now_ms - since_ms) / 1000)
        lost.add_metric([status.receiver.name], status.receiver.lost)
    yield from (waits, lost)


async def _count(rows: Rows) -> tuple[int, tuple[int, int | None]]:
    return await rows.revocations.count(limit=MOST_COUNTED), await rows.mails.measure(limit=MOST_COUNTED)


async def _count_page(rows: Rows, place: Counted, now_ms: int) -> tuple[int, Counted | None]:
    return await rows.sessions.count_unrevoked_after(place, now_ms=now_ms, limit=_PAGE_SIZE)
