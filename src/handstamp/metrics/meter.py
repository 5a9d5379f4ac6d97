"""What is measured while it happens: events, refreshes, requests, commits, the hashing queue."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ..domain.event import Event, EventKind
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
_METHODS = {"totp": "otp", "recovery_code": "otp"}
"""The second factors that can be wrong, each with its `amr`. Without one, a password was wrong."""
_HTTP_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHERS = frozenset({"signed_in", "sign_in_failed", "attempt_throttled", "mail_given_up"})
"""Events that are counted as something else too, and are rarer than refreshes."""
_MOST_CHILDREN = 1000
"""How many values the labels of one metric have. Further ones are counted as `other`, whatever strangers send."""
_M = TypeVar("_M", Counter, "_SummedHistogram")


class PrometheusMeter(Meter):
    """Counts what happens in this process. With several, the values of all are added where they are read.

    What happens at every request is counted in plain numbers, which `publish` adds to the metrics: that costs a third.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Create the metrics in a registry, in which their names must be new."""
        self.registry: CollectorRegistry = registry
        self._kinds: defaultdict[str, int] = defaultdict(int)
        self._timed: dict[tuple[str, str, int], _Tally] = {}
        self._commits, self._commit_sizes = _Tally(_COMMITS_S), _Tally(_CHANGES)

        def count(name: str, text: str, *labels: str) -> _Children[Counter]:
            return _Children(Counter(name, text, labels, registry=registry))

        self._events = count("handstamp_events", "Events of the audit log.", "kind")
        self._refreshes = count("handstamp_refreshes", "Refreshes by outcome.", "outcome")
        self._refused = count(
            "handstamp_refreshes_refused",
            "Refreshes that were refused, by the reason why the session has ended, or for a proof (challenge).",
            "reason",
        )
        self._sign_ins = count("handstamp_sign_ins", "Sign-ins by outcome and method.", "outcome", "method")
        self._throttled = count("handstamp_throttled", "Attempts that were refused by a limit.", "operation", "limit")
        self._mails = count("handstamp_mails", "Mails that were sent, postponed or given up.", "outcome")
        self._webhooks = count(
            "handstamp_audit_webhooks", "Messages to receivers of the audit trail, accepted or failed.", "outcome"
        )
        self._hashing_refused = Counter(
            "handstamp_hashing_refused", "Passwords that were not hashed, because too many waited.", registry=registry
        )
        self._commit_s = _SummedHistogram(
            "handstamp_commit_duration_seconds", "The time of a commit.", buckets=_COMMITS_S, registry=registry
        )
        self._commit_changes = _SummedHistogram(
            "handstamp_commit_changes", "Changes that share a commit.", buckets=_CHANGES, registry=registry
        )
        self._requests = _Children(
            _SummedHistogram(
                "handstamp_request_duration_seconds",
                "The time from the head of a request to the end of its answer.",
                ["route", "method", "status"],
                buckets=_DURATIONS_S,
                registry=registry,
            )
        )
        self._hashing_waiting = Gauge(
            "handstamp_hashing_waiting", "Passwords that wait to be hashed.", multiprocess_mode="livesum", registry=registry
        )
        self._feed_readers = Gauge(
            "handstamp_feed_readers", "Readers that wait for a revocation.", multiprocess_mode="livesum", registry=registry
        )
        self._feed_read_s = Gauge(
            "handstamp_feed_read_timestamp_seconds",
            "When a reader last had an answer of the revocation feed, by credential.",
            ["credential"],
            multiprocess_mode="livemax",
            registry=registry,
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

        # Prometheus sees no increase in a counter that begins above 0, and some of these are rare.
        for outcome in _REFRESHES.values():
            self._refreshes.get((outcome,))
        for outcome in ("accepted", "failed"):
            self._webhooks.get((outcome,))
        for outcome in ("sent", "postponed", "given_up"):
            self._mails.get((outcome,))

    def count_event(self, event: Event) -> None:
        """Count an event, and the refresh, the sign-in or the mail that it tells of."""
        self.count_kind(event.kind)
        if event.kind in _OTHERS:
            self._count_other(event)

    def count_kind(self, kind: EventKind) -> None:
        """Count an event of a kind that is counted as nothing else."""
        self._kinds[kind] += 1

    def _count_other(self, event: Event) -> None:
        detail = event.detail
        match event.kind:
            case "signed_in":
                self._sign_ins.get(("succeeded", str(detail.get("amr") or "other"))).inc()
            case "sign_in_failed":
                self.count_failed_sign_in(_METHODS.get(str(detail.get("factor")), "pwd"))
            case "attempt_throttled":
                self._throttled.get((str(detail.get("operation")), str(detail.get("limit")))).inc()
            case "mail_given_up":
                self.count_mail("given_up")

    def count_failed_sign_in(self, method: str) -> None:
        """Count a sign-in that failed without an event."""
        self._sign_ins.get(("failed", method)).inc()

    def count_refused_refresh(self, reason: str) -> None:
        """Count a refresh that was refused."""
        self._refused.get((reason,)).inc()

    def count_refused_hashing(self) -> None:
        """Count a password that was not hashed."""
        self._hashing_refused.inc()

    def count_mail(self, outcome: str) -> None:
        """Count a mail."""
        self._mails.get((outcome,)).inc()

    def count_webhook(self, outcome: str) -> None:
        """Count a message to a receiver of the audit trail."""
        self._webhooks.get((outcome,)).inc()

    def time_commit(self, changes: int, seconds: float) -> None:
        """Record a commit."""
        self._commits.add(seconds)
        self._commit_sizes.add(changes)

    def time_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record a request that was answered. Strangers choose methods: unknown ones are counted as `other`."""
        tally = self._timed.get((route, method, status))
        if tally is None:
            place = route, method if method in _HTTP_METHODS else "other", status
            tally = self._timed.setdefault(place, _Tally(_DURATIONS_S))
        tally.counts[bisect_left(_DURATIONS_S, seconds)] += 1  # as `add` does, without the call: every request comes here
        tally.sum += seconds

    def publish(self) -> None:
        """Add to the metrics what was counted since the last call."""
        for kind, count in self._kinds.items():
            self._events.get((kind,)).inc(count)
            if kind in _REFRESHES:
                self._refreshes.get((_REFRESHES[kind],)).inc(count)
        self._kinds.clear()
        for place, tally in self._timed.items():
            tally.move_to(self._requests.get(place))
        self._commits.move_to(self._commit_s)
        self._commit_sizes.move_to(self._commit_changes)

    def show_load(self, load: Load) -> None:
        """Set the gauges of this process."""
        self._hashing_waiting.set(load.hashing_waiting)
        self._feed_readers.set(load.feed_readers)
        for credential, read_at_ms in load.feed_read_at_ms.items():
            self._feed_read_s.labels(credential).set(read_at_ms / 1000)
        self._changes_waiting.set(load.changes_waiting)
        self._clock_offset_s.set(load.clock_offset_s)
        self._connections.labels("busy").set(load.connections_busy)
        self._connections.labels("idle").set(load.connections_idle)


def make_meter() -> PrometheusMeter:
    """Return a meter with a registry of its own."""
    return PrometheusMeter(CollectorRegistry())


class _Tally:
    """Observations of a histogram that are not in the metric yet."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def move_to(self, histogram: _SummedHistogram) -> None:
        histogram.add(self.counts, self.sum)
        self.counts = [0] * len(self.counts)
        self.sum = 0.0


class _SummedHistogram(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add to each bucket the number of observations in it alone, and to the sum their total."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class _Children(Generic[_M]):
    """The children of a metric with labels, at most `_MOST_CHILDREN`."""

    def __init__(self, metric: _M) -> None:
        self._metric: _M = metric
        self._found: dict[tuple[str | int, ...], _M] = {}

    def get(self, values: tuple[str | int, ...]) -> _M:
        child = self._found.get(values)
        if child is None:
            is_new = len(self._found) < _MOST_CHILDREN
            child = self._metric.labels(*(values if is_new else ["other"] * len(values)))
            if is_new:
                self._found[values] = child
        return child
