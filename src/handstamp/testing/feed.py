"""The revocation feed of a `LocalIssuer`."""

from __future__ import annotations

import threading


class LocalFeed:
    """A feed that is always up to date, unless a test silences it. It has no thread."""

    has_started = True
    clock_offset_ms = 0
    problem = ""

    def __init__(self) -> None:
        """Create a feed that is up to date."""
        self.ready: threading.Event = threading.Event()
        self.ready.set()
        self.stopping: threading.Event = threading.Event()
        self.silent_since_ms: int | None = None
        """Since when the feed is silent, in milliseconds since 1970; None while it is not."""

    def start(self) -> None:
        """Do nothing: there is no thread."""

    def age_ms(self, now_ms: int, monotonic: int) -> int | None:  # noqa: ARG002 - the signature of `Feed`
        """Return the milliseconds since the feed fell silent, 0 while it is not."""
        return 0 if self.silent_since_ms is None else now_ms - self.silent_since_ms
