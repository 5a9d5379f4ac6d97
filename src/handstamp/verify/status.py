"""What a verifier tells its operators."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, ParamSpec, Protocol, TypeVar

import msgspec

P = ParamSpec("P")
T = TypeVar("T")
ServiceRequest = Literal["jwks", "revocations", "introspect"]
"""What a verifier asks the service for."""


class VerifierStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a verifier, for metrics and readiness probes."""

    is_ready: bool
    """True once the keys and all ended sessions have been fetched."""
    feed_age_s: float | None
    """Seconds since the feed was last known to be complete. None before that, and if the feed is not followed."""
    clock_offset_s: float
    """Seconds by which the service's clock is ahead of ours, accurate to one second. Keep it below `leeway_s`."""
    entries: int
    """The number of ended sessions in memory."""
    keys_age_s: float | None
    """Seconds since the keys were fetched. None before that, and for keys passed to `Verifier`."""
    cached_tokens: int
    """The number of verified tokens in memory."""
    problem: str
    """Why the last request for the feed or the keys failed, empty if it did not. For logs only: it names addresses."""


class VerifierMeter(Protocol):
    """What a verifier reports to. It is called from any thread."""

    def count_verifications(self, verify: Callable[P, T]) -> Callable[P, T]:
        """Return a function that does as `verify`, and counts how each call ended."""

    def count_signatures(self, verify: Callable[P, T]) -> Callable[P, T]:
        """Return a function that does as `verify`, and counts the calls."""

    def time_request(self, request: ServiceRequest) -> AbstractContextManager[object]:
        """Return a block that measures a request to the service, and whether it fails."""
