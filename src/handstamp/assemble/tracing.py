"""Switch traces on. `handstamp.tracing` imports OpenTelemetry, which takes tens of milliseconds: only where traces are on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from ..outbound.client import Outbound
from ..service.mailing.delivery import Transport
from ..service.parts.hashing import Hashing
from ..storage.batching import Commit
from ..storage.store import Store
from .version import running_version

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
    from opentelemetry.trace import TracerProvider
    from starlette.types import ASGIApp

    from ..tracing.requests import TracedRequests

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLUSH_MS = 3_000
"""How long a stop waits for the last spans."""


class Tracing:
    """The traces of a deployment, or nothing if they are off: then every part is returned as it is."""

    def __init__(self, provider: TracerProvider | None = None, *, is_outermost: bool = False) -> None:
        """Make spans.

        Args:
            provider: The provider of OpenTelemetry; None to make none.
            is_outermost: True if no application around this one can have started a span.
        """
        self._provider = provider
        self._is_outermost = is_outermost
        self._own: SdkTracerProvider | None = None
        self.is_on: bool = provider is not None
        if provider is not None:
            self._tracer = provider.get_tracer("handstamp", running_version())

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Tracing:
        """Return the traces that the variables `OTEL_*` ask for.

        They are on if an exporter or an endpoint is set, unless `OTEL_SDK_DISABLED` is true.

        Raises:
            ConfigurationError: If the libraries are not installed, or cannot do what the variables say.
        """
        is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
        is_wanted = bool(exporter) or any(environment.get(name, "").strip() for name in _ENDPOINTS)
        if is_disabled or exporter == "none" or not is_wanted:
            return cls()
        try:
            from ..tracing.setup import make_provider  # noqa: PLC0415 - see the module
        except ImportError:
            raise ConfigurationError(
                "The environment asks for traces (OTEL_*), which need libraries: pip install 'handstamp[otel]'. "
                "Set OTEL_SDK_DISABLED=true to do without."
            ) from None
        own = make_provider(environment, version=running_version())
        made = cls(own, is_outermost=True)
        made._own = own
        return made

    def trace_commits(self, commit: Commit) -> Commit:
        """Return a commit with a span."""
        if not self.is_on:
            return commit
        from ..tracing.store import trace_commits  # noqa: PLC0415 - see the module

        return trace_commits(commit, self._tracer)

    def trace_store(self, store: Store, *, is_remote: bool) -> Store:
        """Return a store whose calls have spans. `is_remote` is true if the database is another process."""
        if not self.is_on:
            return store
        from ..tracing.store import TracedStore  # noqa: PLC0415 - see the module

        return TracedStore(store, self._tracer, is_remote=is_remote)

    def trace_hashing(self) -> Callable[..., Hashing]:
        """Return the function that creates the part that hashes."""
        if not self.is_on:
            return Hashing
        from ..tracing.parts import TracedHashing  # noqa: PLC0415 - see the module

        return partial(TracedHashing, tracer=self._tracer)

    def trace_outbound(self) -> Callable[..., Outbound]:
        """Return the function that creates the part that sends requests."""
        if not self.is_on:
            return Outbound
        from ..tracing.parts import TracedOutbound  # noqa: PLC0415 - see the module

        return partial(TracedOutbound, tracer=self._tracer)

    def trace_transport(self, transport: Transport) -> Transport:
        """Return a transport whose messages have spans."""
        if not self.is_on:
            return transport
        from ..tracing.parts import TracedTransport  # noqa: PLC0415 - see the module

        return TracedTransport(transport, self._tracer)

    def trace_requests(self, app: ASGIApp) -> TracedRequests | None:
        """Return an application whose requests have spans; None if traces are off."""
        if not self.is_on:
            return None
        from ..tracing.requests import TracedRequests  # noqa: PLC0415 - see the module

        sampler = getattr(self._provider, "sampler", None)
        return TracedRequests(app, self._tracer, sampler, is_outermost=self._is_outermost)

    async def flush(self) -> None:
        """Export the spans that wait, for at most three seconds. The provider of an application is not flushed."""
        if self._own is not None:
            with suppress(Exception):  # a collector that does not answer must not disturb a stop
                await asyncio.to_thread(self._own.force_flush, _FLUSH_MS)


NO_TRACING = Tracing()
