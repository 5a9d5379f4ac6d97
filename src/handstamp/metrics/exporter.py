"""Put the metrics together, in one process or over several, and write them for Prometheus."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from ..errors import HandstampError
from ..service.parts.common_clock import CommonClock
from ..service.parts.hashing import Hashing
from ..service.parts.meter import Load
from ..service.sessions.revocations import Revocations
from ..storage.store import Store
from .meter import PrometheusMeter
from .state import StateCollector

PUBLISH_EVERY_S = 5.0
"""How often a process tells the others what it alone knows."""


class Exporter:
    """Reads and writes all metrics."""

    def __init__(
        self,
        meter: PrometheusMeter,
        state: StateCollector,
        *,
        store: Store,
        hashing: Hashing,
        revocations: Revocations,
        clock: CommonClock,
    ) -> None:
        """Create it. The metrics are those of `meter` and of `state`; the other parts tell how busy this process is."""
        self._meter = meter
        self._state = state
        self._store = store
        self._hashing = hashing
        self._revocations = revocations
        self._clock = clock
        self._registry = meter.registry
        self._rendering = asyncio.Lock()
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is not None:
            self._registry = CollectorRegistry()
            MultiProcessCollector(self._registry, path=folder)  # type: ignore[no-untyped-call]
        else:
            ProcessCollector(registry=self._registry)
        self._registry.register(state)

    async def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics and their media type: OpenMetrics if the header `Accept` prefers it, else Prometheus's text.

        Readers that come at once wait for each other, so that they cost no more than one after the other.
        """
        async with self._rendering:
            self._publish()
            with suppress(HandstampError):  # handstamp_store_up is 0 then
                await self._state.read()
            encode: Callable[[CollectorRegistry], bytes]
            encode, media_type = choose_encoder(accept)
            return await asyncio.to_thread(encode, self._registry), media_type

    async def run(self) -> None:
        """Tell the other processes what this one alone knows, until cancelled, and then once more."""
        try:
            while True:
                self._publish()
                await asyncio.sleep(PUBLISH_EVERY_S)
        finally:
            self._publish()

    def _publish(self) -> None:
        self._meter.publish()
        load = self._store.load()
        self._meter.show_load(
            Load(
                hashing_waiting=self._hashing.waiting,
                feed_readers=self._revocations.readers,
                feed_read_at_ms=self._revocations.read_at_ms,
                changes_waiting=load.waiting,
                connections_busy=load.busy,
                connections_idle=load.idle,
                clock_offset_s=self._clock.offset_ms / 1000,
            )
        )
