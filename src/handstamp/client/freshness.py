"""How long an access token still lasts, whatever the clock of this machine says.

The service says how many seconds a token lives (`expiresIn`), and we count them on a clock that nobody sets. The token's own
`exp` is never looked at: it is in the service's time, and ours may be days off.

Tokens from a file were perhaps obtained by another process, or before the machine was started anew, and no such clock reaches
so far. Then, once, the wall clock tells their age: now minus when they were obtained, by the same clock, so that it may be wrong
as long as it is wrong evenly. Where it was set in between, a token looks older than it is and is renewed for nothing, or younger
(as after a sleep, which the clock that nobody sets may not count) and is refused once with `expired_token` and renewed then.
"""

from __future__ import annotations

from typing import Literal, NamedTuple
from zlib import crc32

from ..clock import Clock, monotonic_ms
from .tokens import Tokens

Stage = Literal["fresh", "due", "over"]
"""`due`: it still opens everything, and it is time to renew it."""
_AHEAD_MS = 60_000
_SPREAD = 0.1
"""The part of a token's life over which clients that signed in together spread their renewals."""
NEW_MS = 10_000
"""No access token lives so short: one that is refused sooner is so for another reason, and the next would be too."""


class _Times(NamedTuple):
    """When a token is due and over, on the clock that nobody sets."""

    access_token: str
    due_at_ms: int
    over_at_ms: int


class Freshness:
    """Tells the stage of the tokens in use."""

    def __init__(self, clock: Clock) -> None:
        """Take the wall clock."""
        self._clock = clock
        self._times: _Times | None = None

    def stage(self, tokens: Tokens) -> Stage:
        """Return how far the access token is.

        It is due a minute before its end, or a fifth of a shorter life, or up to a tenth of its life sooner.
        """
        now_ms, times = monotonic_ms(), self._times
        if times is None or times.access_token != tokens.access_token:
            times = self._times = self._times_of(tokens, now_ms)
        if now_ms >= times.over_at_ms:
            return "over"
        return "due" if now_ms >= times.due_at_ms else "fresh"

    def is_new(self, tokens: Tokens) -> bool:
        """Say whether they were obtained seconds ago: if they are refused, then not for their age."""
        return 0 <= self._clock() - tokens.obtained_at_ms < NEW_MS

    def _times_of(self, tokens: Tokens, now_ms: int) -> _Times:
        life_ms = tokens.expires_in_s * 1000
        age_ms = self._clock() - tokens.obtained_at_ms
        if age_ms < 0:  # the clock was set back: nobody knows, so it is used, and renewed meanwhile
            return _Times(tokens.access_token, now_ms, now_ms + life_ms)
        over_at_ms = now_ms + life_ms - age_ms
        # By the token itself, so that processes that share it agree: its signature is as good as drawn at random.
        sooner_ms = int(life_ms * _SPREAD * crc32(tokens.access_token.encode()) / 2**32)
        return _Times(tokens.access_token, over_at_ms - min(_AHEAD_MS, life_ms // 5) - sooner_ms, over_at_ms)
