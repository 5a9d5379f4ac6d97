"""Metrics of a verifier for Prometheus, in the application that uses it.

```python
from handstamp.verify.metrics import measure

verifier = measure(Verifier("https://auth.example.com", audience="https://api.example.com", credential=CREDENTIAL))
```

The application serves them as it serves its own, also with several processes (`PROMETHEUS_MULTIPROC_DIR`).
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import NamedTuple, ParamSpec, TypeVar

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from ..clock import monotonic_ms
from ..errors import HandstampError
from ..forking import ProcessLock, reset_in_child
from ..waiting import pause
from .status import ServiceRequest, VerifierStatus
from .verifier import Verifier

__all__ = ["measure"]

SHOW_EVERY_S = 5.0
"""How often the gauges are set."""
_REQUESTS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
P = ParamSpec("P")
T = TypeVar("T")


def measure(verifier: Verifier, *, registry: CollectorRegistry = REGISTRY, name: str | None = None) -> Verifier:
    """Measure a verifier from now on.

    Args:
        verifier: The verifier. Measure it once, before it is used.
        registry: Where the metrics are registered.
        name: The label `verifier` of its metrics, by default its issuer. Two verifiers of one issuer need different ones.

    Returns:
        The verifier.
    """
    metrics = _metrics_in(registry)
    meter = _Meter(metrics, name or verifier.issuer)
    verifier.measure(meter)
    _Gauges(metrics, meter, verifier)
    return verifier


class _Metrics(NamedTuple):
    """The metrics of all verifiers of a registry."""

    verifications: Counter
    signatures: Counter
    requests: Histogram
    ready: Gauge
    feed_age_s: Gauge
    revocations: Gauge
    keys_age_s: Gauge
    cached_tokens: Gauge
    clock_offset_s: Gauge


def _metrics_in(registry: CollectorRegistry) -> _Metrics:
    """Return the metrics of a registry, which are made once."""
    with _making:
        if registry not in _made:
            _made[registry] = _make_metrics(registry)
        return _made[registry]


def _make_metrics(registry: CollectorRegistry) -> _Metrics:
    def gauge(name: str, text: str, mode: str) -> Gauge:
        return Gauge(f"handstamp_verifier_{name}", text, ["verifier"], registry=registry, multiprocess_mode=mode)  # type: ignore[arg-type]

    return _Metrics(
        verifications=Counter(
            "handstamp_verifier_verifications",
            "Verifications of access tokens, by outcome: valid, or the code of the error.",
            ["verifier", "outcome"],
            registry=registry,
        ),
        signatures=Counter(
            "handstamp_verifier_signatures",
            "Verifications whose token was not in the cache, so that its signature was verified.",
            ["verifier"],
            registry=registry,
        ),
        requests=Histogram(
            "handstamp_verifier_request_duration_seconds",
            "Requests to the service, by what was asked for, and whether there was an answer.",
            ["verifier", "request", "outcome"],
            registry=registry,
            buckets=_REQUESTS_S,
        ),
        ready=gauge("ready", "Whether the keys and all ended sessions have been fetched.", "livemin"),
        feed_age_s=gauge("feed_age_seconds", "The time since the revocation feed was complete; +Inf before that.", "livemax"),
        revocations=gauge("revocations", "Ended sessions in memory.", "livemax"),
        keys_age_s=gauge("keys_age_seconds", "The time since the keys were fetched.", "livemax"),
        cached_tokens=gauge("cached_tokens", "Verified tokens in memory.", "livesum"),
        clock_offset_s=gauge(
            "clock_offset_seconds", "How far the service's clock is ahead, accurate to one second.", "livemostrecent"
        ),
    )


class _Meter:
    """Counts what one verifier does."""

    def __init__(self, metrics: _Metrics, name: str) -> None:
        self.name = name
        self.is_used = False
        self._metrics = metrics
        self._outcomes: dict[str, Counter] = {}

    def count_verifications(self, verify: Callable[P, T]) -> Callable[P, T]:
        """Return a function that does as `verify`, and counts how each call ended. One that must wait is called again."""
        count_valid = self._find_outcome("valid").inc

        @wraps(verify)
        def verify_and_count(*args: P.args, **options: P.kwargs) -> T:
            self.is_used = True
            try:
                result = verify(*args, **options)
            except HandstampError as refused:
                self._find_outcome(refused.code).inc()
                raise
            count_valid()
            return result

        return verify_and_count

    def count_signatures(self, verify: Callable[P, T]) -> Callable[P, T]:
        """Return a function that does as `verify`, and counts the calls."""
        count = self._metrics.signatures.labels(self.name).inc

        @wraps(verify)
        def verify_and_count(*args: P.args, **options: P.kwargs) -> T:
            count()
            return verify(*args, **options)

        return verify_and_count

    def time_request(self, request: ServiceRequest) -> AbstractContextManager[None]:
        """Return a block that measures a request to the service, and whether it fails."""
        return self._timing(request)

    @contextmanager
    def _timing(self, request: ServiceRequest) -> Iterator[None]:
        began_ms, outcome = monotonic_ms(), "failed"
        try:
            yield
            outcome = "answered"
        finally:
            self._metrics.requests.labels(self.name, request, outcome).observe((monotonic_ms() - began_ms) / 1000)

    def _find_outcome(self, outcome: str) -> Counter:
        found = self._outcomes.get(outcome)
        if found is None:
            found = self._outcomes[outcome] = self._metrics.verifications.labels(self.name, outcome)
        return found


class _Gauges:
    """Sets the gauges of a verifier from a thread, because those of several processes must be set to be read by one.

    It does not keep the verifier alive.
    """

    def __init__(self, metrics: _Metrics, meter: _Meter, verifier: Verifier) -> None:
        self._metrics = metrics
        self._meter = meter
        self._verifier = weakref.ref(verifier)
        _running[verifier] = self
        self._start()
        reset_in_child(self, _Gauges._start)

    def _start(self) -> None:
        threading.Thread(target=self._run, name="handstamp-metrics", daemon=True).start()

    def _run(self) -> None:
        while (verifier := self._verifier()) is not None:
            self._show(verifier.status(), follows_feed=verifier.follows_feed)
            del verifier
            pause(SHOW_EVERY_S)

    def _show(self, status: VerifierStatus, *, follows_feed: bool) -> None:
        metrics, name = self._metrics, self._meter.name
        if not (self._meter.is_used or status.is_ready):
            return  # such as in the first process of a server that loads the application and forks its workers
        metrics.ready.labels(name).set(status.is_ready)
        if follows_feed:
            metrics.feed_age_s.labels(name).set(math.inf if status.feed_age_s is None else status.feed_age_s)
            metrics.revocations.labels(name).set(status.entries)
            metrics.clock_offset_s.labels(name).set(status.clock_offset_s)
        if status.keys_age_s is not None:
            metrics.keys_age_s.labels(name).set(status.keys_age_s)
        metrics.cached_tokens.labels(name).set(status.cached_tokens)


_making = ProcessLock()
_made: weakref.WeakKeyDictionary[CollectorRegistry, _Metrics] = weakref.WeakKeyDictionary()
_running: weakref.WeakKeyDictionary[Verifier, _Gauges] = weakref.WeakKeyDictionary()
