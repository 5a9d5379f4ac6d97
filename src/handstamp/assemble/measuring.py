"""Switch metrics on: their library takes tens of milliseconds to import, so that is done only if the settings ask for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..clock import monotonic_s
from ..config.settings import Settings
from ..service.parts.meter import NO_METER, Meter
from ..storage.batching import Commit
from .version import running_version

if TYPE_CHECKING:
    from ..metrics.exporter import Exporter
    from ..metrics.meter import PrometheusMeter
    from ..web.headers import TimeRequest
    from .deployment import Deployment

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where several processes share their counts. It must be set before the library is imported."""
Render = Callable[[str], Awaitable[tuple[bytes, str]]]
"""Returns all metrics and their media type, for a header `Accept`."""


def forget_worker(pid: int) -> None:
    """Leave the gauges of a worker that has ended out. What it has counted stays."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - see the module

    mark_process_dead(pid)  # type: ignore[no-untyped-call]


class Measuring:
    """The metrics of a deployment, or nothing if they are off."""

    def __init__(self, settings: Settings) -> None:
        """Create the meter that the settings ask for."""
        self._address = settings.metrics_address
        self.is_on: bool = self._address is not None
        self.meter: Meter = NO_METER
        self._prometheus: PrometheusMeter | None = None
        self._exporter: Exporter | None = None
        if self.is_on:
            from ..metrics.meter import make_meter  # noqa: PLC0415 - see the module

            self.meter = self._prometheus = make_meter()

    def attach(self, deployment: Deployment) -> None:
        """Measure the parts of a deployment, once all of them are there."""
        if self._prometheus is not None:
            from ..metrics.exporter import Exporter  # noqa: PLC0415
            from ..metrics.state import StateCollector  # noqa: PLC0415

            self._exporter = Exporter(
                self._prometheus,
                StateCollector(
                    store=deployment.store,
                    keys=deployment.keys,
                    clock=deployment.clock,
                    version=running_version(),
                    read_receivers=deployment.auditing.read_receivers,
                ),
                store=deployment.store,
                hashing=deployment.hashing,
                revocations=deployment.revocations,
                clock=deployment.clock,
            )

    @property
    def render(self) -> Render | None:
        """What writes the metrics for holders of a service credential; None if they are off."""
        return None if self._exporter is None else self._exporter.render

    def time_commits(self, commit: Commit) -> Commit:
        """Return a commit that is timed, or the commit itself."""
        if not self.is_on:
            return commit

        async def commit_and_measure(changes: Sequence[Any]) -> list[Any]:
            began = monotonic_s()
            outcomes = await commit(changes)
            self.meter.time_commit(len(changes), monotonic_s() - began)
            return outcomes

        return commit_and_measure

    @property
    def time_request(self) -> TimeRequest | None:
        """What takes the time of each answered request; None if metrics are off."""
        return None if self._prometheus is None else self._prometheus.time_request

    def works(self) -> list[Coroutine[Any, Any, None]]:
        """Return the work in the background."""
        return [] if self._exporter is None else [self._exporter.run()]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve the metrics on their own address for the length of a block, if they have one. Raises `ConfigurationError`."""
        if self._exporter is None or not isinstance(self._address, tuple):
            yield
            return
        from ..metrics.listener import listening  # noqa: PLC0415

        async with listening(self._exporter, *self._address):
            yield
