"""What is measured while it happens: events, refreshes, requests, commits, the hashing queue."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ..domain.event import Event
from ..service.parts.meter import Load, Meter

_DURATIONS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_COMMITS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_CHANGES = (1, 2, 4, 8, 16, 32)
_REFRESHES = {
    "refreshed": "rotated",
    "repeated": "repeated",
    "recovered": "recovered",
    "caught_up": "caught_up",
    "reuse_detected": "reuse",
}
"""The events of refreshes, each with its outcome."""


class PrometheusMeter(Meter):
    """Counts what happens in this process. With several, the values of all are added where they are read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Create the metrics in a registry, in which their names must be new."""
        self.registry: CollectorRegistry = registry
        events = Counter("handstamp_events", "Events of the audit log.", ["kind"], registry=registry)
        refreshes = Counter("handstamp_refreshes", "Refreshes by outcome.", ["outcome"], registry=registry)
        self._events = _Children(events)
        self._refreshes = _Children(refreshes)
        self._refused = Counter(
            "handstamp_refreshes_refused",
            "Refreshes that were refused, by the reason why the session has ended, or for a proof (challenge).",
            ["reason"],
            registry=registry,
        )
        self._sign_ins = Counter(
            "handstamp_sign_ins", "Sign-ins by outcome and method.", ["outcome", "method"], registry=registry
        )
        self._throttled = Counter(
            "handstamp_throttled", "Attempts that were refused by a limit.", ["operation", "limit"], registry=registry
        )
        self._hashing_refused = Counter(
            "handstamp_hashing_refused", "Passwords that were not hashed, because too many waited.", registry=registry
        )
        self._commit_s = Histogram(
            "handstamp_commit_duration_seconds", "The time of a commit.", buckets=_COMMITS_S, registry=registry
        )
        self._commit_changes = Histogram(
            "handstamp_commit_changes", "Changes that share a commit.", buckets=_CHANGES, registry=registry
        )
        self._requests = Histogram(
            "handstamp_request_duration_seconds",
            "The time from the head of a request to the end of its answer.",
            ["route", "method", "status"],
            buckets=_DURATIONS_S,
            registry=registry,
        )
        self._request_children: dict[tuple[str, str, int], Histogram] = {}
        self._hashing_waiting = Gauge(
            "handstamp_hashing_waiting", "Passwords that wait to be hashed.", multiprocess_mode="livesum", registry=registry
        )
        self._feed_readers = Gauge(
            "handstamp_feed_readers", "Readers that wait for a revocation.", multiprocess_mode="livesum", registry=registry
        )
        self._changes_waiting = Gauge(
            "handstamp_changes_waiting", "Changes that wait for a commit.", multiprocess_mode="livesum", registry=registry
        )
        self._clock_offset_s = Gauge(
            "handstamp_clock_offset_seconds",
            "How far the store's clock is ahead of this machine's; the largest of all processes.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._connections = Gauge(
            "handstamp_store_connections",
            "Connections to PostgreSQL, by state.",
            ["state"],
            multiprocess_mode="livesum",
            registry=registry,
        )

    def count_event(self, event: Event) -> None:
        """Count an event, and the refresh or sign-in that it tells of."""
        self._events.get(event.kind).inc()
        outcome = _REFRESHES.get(event.kind)
        if outcome is not None:
            self._refreshes.get(outcome).inc()
        elif event.kind == "signed_in":
            self._sign_ins.labels("succeeded", str(event.detail.get("amr") or "other")).inc()
        elif event.kind == "sign_in_failed":
            self._sign_ins.labels("failed", str(event.detail.get("method") or "pwd")).inc()
        elif event.kind == "attempt_throttled":
            self._throttled.labels(str(event.detail.get("operation")), str(event.detail.get("limit"))).inc()

    def count_refused_refresh(self, reason: str) -> None:
        """Count a refresh that was refused."""
        self._refused.labels(reason).inc()

    def count_refused_hashing(self) -> None:
        """Count a password that was not hashed."""
        self._hashing_refused.inc()

    def time_commit(self, changes: int, seconds: float) -> None:
        """Record a commit."""
        self._commit_s.observe(seconds)
        self._commit_changes.observe(changes)

    def time_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record a request that was answered. `route` is the path of its route, so that there are as many as routes."""
        key = (route, method, status)
        child = self._request_children.get(key)
        if child is None:
            child = self._request_children[key] = self._requests.labels(*map(str, key))
        child.observe(seconds)

    def show_load(self, load: Load) -> None:
        """Set the gauges of this process."""
        self._hashing_waiting.set(load.hashing_waiting)
        self._feed_readers.set(load.feed_readers)
        self._changes_waiting.set(load.changes_waiting)
        self._clock_offset_s.set(load.clock_offset_s)
        self._connections.labels("busy").set(load.connections_busy)
        self._connections.labels("idle").set(load.connections_idle)


def make_meter() -> PrometheusMeter:
    """Return a meter with a registry of its own."""
    return PrometheusMeter(CollectorRegistry())


class _Children:
    """The children of a metric with one label. Finding one in a dictionary costs a tenth of what `labels` does."""

    def __init__(self, metric: Counter) -> None:
        self._metric = metric
        self._found: dict[str, Counter] = {}

    def get(self, value: str) -> Counter:
        child = self._found.get(value)
        if child is None:
            child = self._found[value] = self._metric.labels(value)
        return child
