"""Counts the idle connections that the service closed before its peer did.

A proxy that keeps connections for longer than the service sends requests on closing ones, and they are lost. So every count of a
proxy's connections is a mistake in the settings, which `handstamp doctor --url` reports.
"""

from __future__ import annotations

from collections import Counter

_MAX_PEERS = 64
"""Further peers are not counted: any stranger can be one."""


class IdleClosings:
    """By peer, how many idle connections of this process were closed because of `HANDSTAMP_KEEP_ALIVE`."""

    def __init__(self) -> None:
        """Start with no closings."""
        self._counts: Counter[str] = Counter()

    def count(self, peer: str) -> None:
        """Add one."""
        if peer in self._counts or len(self._counts) < _MAX_PEERS:
            self._counts[peer] += 1

    def of(self, peer: str) -> int:
        """Return the number for a peer."""
        return self._counts[peer]


IDLE_CLOSINGS = IdleClosings()
"""Those of this process."""
