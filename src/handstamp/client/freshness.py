"""How long an access token is still valid, even if this machine's clock is wrong.

The service says for how many seconds a token is valid (`expiresIn`), and they are counted on the monotonic clock. The `exp` of
the token is not used: it is the service's time, and ours may be days off.

Another process may have obtained the tokens, or the machine may have been restarted since. Then the wall clock is used once: the
age is the difference of two readings of the same wall clock, so a constant error does not matter. If the clock was set in
between, the token looks older than it is and is renewed too early, or it looks younger, is refused once with `expired_token`, and
is renewed then.
"""

from __future__ import annotations

from typing import Literal, NamedTuple
from zlib import crc32

from ..clock import Clock, monotonic_ms
from .tokens import StoredTokens

Stage = Literal["fresh", "due", "over"]
"""`due`: the token is still valid and should be renewed now. `over`: it has expired."""
_AHEAD_MS = 60_000
_SPREAD = 0.1
"""The part of a token's lifetime over which renewals are spread, for clients that signed in at the same time."""
NEW_MS = 10_000
"""Every access token lives longer than this. If one this new is refused, renewing will not help."""


class _Times(NamedTuple):
    """When a token is due and when it expires, by the monotonic clock."""

    access_token: str
    due_at_ms: int
    over_at_ms: int


class Freshness:
    """Computes the stage of the tokens in use."""

    def __init__(self, clock: Clock) -> None:
        """Use `clock`, which returns milliseconds since 1970."""
        self._clock = clock
        self._times: _Times | None = None

    def stage(self, tokens: StoredTokens) -> Stage:
        """Return the stage of the access token.

        It is due a minute before it expires, or a fifth of its lifetime if that is shorter, and up to a tenth of it earlier.
        """
        now_ms, times = monotonic_ms(), self._times
        if times is None or times.access_token != tokens.access_token:
            times = self._times = self._times_of(tokens, now_ms)
        if now_ms >= times.over_at_ms:
            return "over"
        return "due" if now_ms >= times.due_at_ms else "fresh"

    def is_new(self, tokens: StoredTokens) -> bool:
        """Return whether the tokens are seconds old: if they are refused, it is not because they have expired."""
        return 0 <= self._clock() - tokens.obtained_at_ms < NEW_MS

    def _times_of(self, tokens: StoredTokens, now_ms: int) -> _Times:
        life_ms = tokens.expires_in_s * 1000
        age_ms = self._clock() - tokens.obtained_at_ms
        if age_ms < 0:  # the clock was set back, so the age is unknown: use the token and renew it in the background
            return _Times(tokens.access_token, now_ms, now_ms + life_ms)
        over_at_ms = now_ms + life_ms - age_ms
        # Derived from the token, so that processes which share it agree. Its signature is as good as random.
        sooner_ms = int(life_ms * _SPREAD * crc32(tokens.access_token.encode()) / 2**32)
        return _Times(tokens.access_token, over_at_ms - min(_AHEAD_MS, life_ms // 5) - sooner_ms, over_at_ms)
