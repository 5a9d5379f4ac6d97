"""The sessions that have ended: the set in memory, and the thread that follows the service's feed.

Entries leave the set when they expire, and never because of what the feed says or no longer says. The age of the set counts from
when the last complete answer was requested, so the set never looks more recent than it is.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Protocol

import msgspec

from ..clock import Clock, monotonic_ms
from ..domain.claims import NumericDate
from ..errors import Unavailable
from ..forking import ProcessLock
from ..waiting import pause

WINDOW_S = 600
"""Entries are grouped by expiry into windows of this length, so that a whole window is dropped at once."""
MAX_ENTRIES = 5_000_000
"""About 400 MB. A set that cannot grow is incomplete: the feed then counts as silent, and the service is asked instead."""
_MAX_AHEAD_S = 24 * 3600
_CLOCK_SLACK_MS = 5_000
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.2, 5.0
_NEWS_PAUSE_S, _BUSY_PAUSE_S = 0.02, 0.5
_log = logging.getLogger("handstamp.verify")


class RevocationEntry(msgspec.Struct, frozen=True):
    """An entry of the feed: a session that has ended, or a signing key that has leaked."""

    exp: NumericDate
    """When the entry expires, in seconds since 1970: no access token of the session is valid after it."""
    sid: str = ""
    kid: str = ""

    def __post_init__(self) -> None:
        if bool(self.sid) == bool(self.kid) or len(self.sid) + len(self.kid) > 1024:
            raise ValueError("an entry names one session or one key")


class FeedPage(msgspec.Struct, frozen=True):
    """An answer of the feed."""

    entries: list[RevocationEntry]
    cursor: str
    """Where the next page begins."""
    more: bool
    """True if the next page is available now."""
    now: NumericDate
    """The service's clock, in seconds since 1970."""

    def __post_init__(self) -> None:
        if not (0 < len(self.cursor) <= 1024 and self.cursor.isascii()):  # it could not be sent back
            raise ValueError("the cursor is empty, too long or not ASCII")


_decode_page = msgspec.json.Decoder(FeedPage).decode


def session_key(sid: str) -> int:
    """Return the set's key for a session: its id as an integer, which takes 48 bytes instead of 80."""
    return int.from_bytes(sid.encode(), "big")


class RevocationSet:
    """The ended sessions. One thread adds and drops; any number of threads look up."""

    __slots__ = ("_windows_by_end", "windows")

    def __init__(self) -> None:
        """Create an empty set."""
        self._windows_by_end: dict[int, set[int]] = {}
        self.windows: tuple[set[int], ...] = ()
        """The sets of `session_key`s. It is another tuple when one was added or dropped."""

    def __len__(self) -> int:
        """Return the number of entries."""
        return sum(map(len, self.windows))

    def __contains__(self, key: int) -> bool:
        """Return whether the session with this `session_key` has ended."""
        for window in self.windows:  # noqa: SIM110 - a generator would cost more than the lookups
            if key in window:
                return True
        return False

    def add(self, sid: str, exp_s: int) -> None:
        """Add a session that has ended, at least until `exp_s` (seconds since 1970)."""
        end_s = (exp_s // WINDOW_S + 1) * WINDOW_S
        window = self._windows_by_end.get(end_s)
        if window is None:
            window = set()
            # Lookups read `windows`, so it comes first: a fork between the two lines must not hide the new window.
            self.windows = (*self.windows, window)
            self._windows_by_end[end_s] = window
        window.add(session_key(sid))

    def drop_expired(self, now_s: int) -> None:
        """Drop the windows that ended before `now_s` (seconds since 1970)."""
        expired = [end_s for end_s in self._windows_by_end if end_s <= now_s]
        for end_s in expired:
            del self._windows_by_end[end_s]
        if expired:
            self.windows = tuple(self._windows_by_end.values())


class Feed(Protocol):
    """Where a verifier learns of ended sessions."""

    has_started: bool
    is_ready: bool
    """True once all ended sessions are known."""
    is_stopped: bool
    """True once `stop` was called."""
    clock_offset_ms: int
    """Milliseconds by which the service's clock is ahead of ours, accurate to one second."""
    problem: str
    """Why the last request failed, empty if it did not."""

    def start(self) -> None:
        """Start to follow the feed, unless that has been done."""

    def stop(self) -> None:
        """Stop for good."""

    def age_ms(self, now_ms: int, monotonic: int) -> int | None:
        """Return the age of the set of ended sessions in milliseconds, None if the set is not complete."""


class FeedFollower:
    """Keeps a `RevocationSet` up to date with the service's feed, from a thread of its own."""

    def __init__(
        self,
        fetch_page: Callable[[str], bytes],
        revoked: RevocationSet,
        void_key: Callable[[str], None],
        *,
        wait_s: int,
        clock: Clock,
    ) -> None:
        """Create it without starting the thread.

        Args:
            fetch_page: Returns the page after a cursor; the service may wait `wait_s` for an entry before it answers.
            revoked: The set to keep up to date.
            void_key: Called with the id of each key that has leaked.
            wait_s: Seconds, see `fetch_page`.
            clock: Returns milliseconds since 1970.
        """
        self._fetch_page = fetch_page
        self._revoked = revoked
        self._void_key = void_key
        self._wait_s = wait_s
        self._clock = clock
        self._cursor = ""
        self._complete_at: tuple[int, int] | None = None
        """When the set was last known to be complete, by the monotonic clock and by the wall clock."""
        self._latest_ms = 0
        self._starting = ProcessLock()
        self.has_started: bool = False
        self.is_stopped: bool = False
        self.is_ready: bool = False
        self.clock_offset_ms: int = 0
        self.problem: str = ""

    def start(self) -> None:
        """Start the thread, unless that has been done."""
        if self.has_started or self.is_stopped:
            return
        with self._starting:
            if not self.has_started:
                try:
                    threading.Thread(target=self._run, name="handstamp-revocations", daemon=True).start()
                except RuntimeError as error:  # no thread can be started: at exit, or at the system's limit
                    self._report(repr(error))
                else:
                    self.has_started = True

    def stop(self) -> None:
        """Stop for good: the thread ends after its request."""
        self.is_stopped = True

    def age_ms(self, now_ms: int, monotonic: int) -> int | None:
        """Return the age of the set, None before the first complete answer.

        The larger difference of two clocks counts: the monotonic clock stands still while a machine sleeps, and the wall clock
        can be set. If the wall clock was set back, the result is None: entries that were dropped as expired may be valid again.
        """
        latest_ms = self._latest_ms  # first: when the clock was set back, the thread resets both in the opposite order
        complete_at = self._complete_at
        if complete_at is None or now_ms < latest_ms - _CLOCK_SLACK_MS:
            return None
        by_monotonic, by_wall = monotonic - complete_at[0], now_ms - complete_at[1]
        return by_monotonic if by_monotonic > by_wall else by_wall  # noqa: FURB136 - max() is slower

    def _run(self) -> None:
        failures = 0
        while not self.is_stopped:
            try:
                requested_at = monotonic_ms(), self._clock()
                if requested_at[1] < self._latest_ms - _CLOCK_SLACK_MS:  # the clock was set back: fetch everything again
                    self._cursor, self._complete_at, self._latest_ms = "", None, 0
                self._latest_ms = max(self._latest_ms, requested_at[1])
                cursor = self._cursor
                page = self._apply(self._fetch_page(cursor))
            except Exception as error:  # noqa: BLE001 - the thread must go on whatever the answer is; the age tells
                failures += 1
                self._report(getattr(error, "why", "") or repr(error))
                pause(min(_MAX_PAUSE_S, _MIN_PAUSE_S * 2 ** min(failures, 6)) * random.uniform(0.5, 1))  # noqa: S311
                continue
            failures = 0
            if page.more:
                pause(_NEWS_PAUSE_S)
                continue
            self._complete_at = requested_at
            self.is_ready = True
            if self.problem:
                _log.info("the revocation feed answers again")
            self.problem = ""
            did_not_wait = cursor and monotonic_ms() - requested_at[0] < 500 * self._wait_s
            # After entries, a short pause collects those that follow closely. A service that answers an empty page at once is
            # busy.
            pause(_NEWS_PAUSE_S if page.entries else _BUSY_PAUSE_S if did_not_wait else 0)
        self._complete_at = None  # the set is not kept up to date any more

    def _apply(self, answer: bytes) -> FeedPage:
        """Add the entries of an answer to the set. Raises `Unavailable` if the answer is not acceptable."""
        try:
            page = _decode_page(answer)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise Unavailable(f"the feed's answer is malformed: {error}") from None
        now_ms = self._clock()
        now_s = now_ms // 1000
        if any(entry.exp > now_s + _MAX_AHEAD_S for entry in page.entries):
            raise Unavailable("an entry of the feed expires in more than a day: the service's clock or ours is wrong")
        if page.more and page.cursor == self._cursor:
            raise Unavailable("the feed has more entries, but its cursor does not advance")
        self.clock_offset_ms = page.now * 1000 - now_ms
        self._latest_ms = max(self._latest_ms, now_ms)  # before dropping: if this clock is wrong, everything is fetched again
        self._revoked.drop_expired(now_s)
        if len(self._revoked) + len(page.entries) > MAX_ENTRIES:
            raise Unavailable(f"more than {MAX_ENTRIES} revocations")
        for entry in page.entries:
            if entry.kid:
                self._void_key(entry.kid)
            elif entry.exp > now_s:
                self._revoked.add(entry.sid, entry.exp)
        self._cursor = page.cursor
        return page

    def _report(self, problem: str) -> None:
        """Remember why a request failed, and log the first of several failures."""
        if not self.problem and not self.is_stopped:
            _log.warning("the revocation feed cannot be followed: %s", problem)
        self.problem = problem
