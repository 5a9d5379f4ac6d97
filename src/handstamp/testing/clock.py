"""A clock that tests move."""

from __future__ import annotations

from ..clock import now_ms


class VirtualClock:
    """Stands still at the moment of its creation until a test advances it. Pass it as `clock`."""

    def __init__(self) -> None:
        """Create a clock that shows the present time."""
        self._now_ms = now_ms()

    def __call__(self) -> int:
        """Return the time in milliseconds since 1970."""
        return self._now_ms

    def advance(self, *, seconds: float) -> None:
        """Move the clock forward.

        Raises:
            ValueError: `seconds` is negative. A clock that goes back is an error that verifiers defend against.
        """
        if seconds < 0:
            raise ValueError("a clock does not go back")
        self._now_ms += round(seconds * 1000)
