"""The revocation feed of a `LocalIssuer`."""

from __future__ import annotations


class LocalFeed:
    """A feed that is always up to date, unless a test silences it. It has no thread."""

    has_started = True
    is_ready = True
    clock_offset_ms = 0
    problem = ""

    def __init__(self) -> None:
        """Create a feed that is up to date."""
        self.is_stopped: bool = False
        self.silent_since_ms: int | None = None
        """Since when the feed is silent, in milliseconds since 1970; None while it is not."""

    def start(self) -> None:
        """Do nothing: there is no thread."""

    def stop(self) -> None:
        """Note that the verifier was closed."""
        self.is_stopped = True

    def age_ms(self, now_ms: int, monotonic: int) -> int | None:  # noqa: ARG002 - the signature of `Feed`
        """Return the milliseconds since the feed fell silent, 0 while it is not."""
        return 0 if self.silent_since_ms is None else now_ms - self.silent_since_ms
