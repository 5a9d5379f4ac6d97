"""Which sessions ended, as the service tells it: the set in memory, and the thread that follows the feed.

The set only grows until its entries are over by themselves: nothing that the feed says, or forgets to say, brings a session back.
Its age is counted from when the last complete answer was *asked for*, so it never looks fresher than it is.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

import msgspec

from ..clock import Clock, monotonic_ms
from ..domain.claims import NumericDate
from ..errors import Unavailable

WINDOW_S = 600
"""Entries are forgotten together with those that end in the same ten minutes: nobody has to go through them one by one."""
MAX_ENTRIES = 5_000_000
"""About 400 MB. A set that cannot grow is not whole, so routes then do what they declared for a feed that is silent."""
_MAX_AHEAD_S = 24 * 3600
_CLOCK_SLACK_MS = 5_000
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.2, 5.0
_NEWS_PAUSE_S, _BUSY_PAUSE_S = 0.02, 0.5
_log = logging.getLogger("handstamp.verify")


class _Entry(msgspec.Struct, frozen=True):
    exp: NumericDate
    sid: str = ""
    kid: str = ""

    def __post_init__(self) -> None:
        if bool(self.sid) == bool(self.kid) or len(self.sid) + len(self.kid) > 1024:
            raise ValueError("an entry names one session or one key")


class _Page(msgspec.Struct, frozen=True):
    entries: list[_Entry]
    cursor: str
    more: bool
    now: NumericDate

    def __post_init__(self) -> None:
        if not (0 < len(self.cursor) <= 1024 and self.cursor.isascii()):  # one that cannot be sent back would be the last
            raise ValueError("the cursor is empty, too long or not ASCII")


_read_page = msgspec.json.Decoder(_Page).decode


def session_key(sid: str) -> int:
    """Return what stands for a session in the set: its name as a number, which takes 48 bytes, the text itself 80."""
    return int.from_bytes(sid.encode(), "big")


class RevocationSet:
    """The sessions that ended. One thread adds and forgets; any number look."""

    __slots__ = ("_windows", "_windows_by_end")

    def __init__(self) -> None:
        """Begin empty."""
        self._windows_by_end: dict[int, set[int]] = {}
        self._windows: tuple[set[int], ...] = ()

    def __len__(self) -> int:
        """Return how many entries are held."""
        return sum(map(len, self._windows))

    def __contains__(self, key: int) -> bool:
        """Say whether the session of this `session_key` has ended."""
        for window in self._windows:  # noqa: SIM110 - a generator would cost more than all the rest
            if key in window:
                return True
        return False

    def add(self, sid: str, exp_s: int) -> None:
        """Remember that a session ended, at least until `exp_s`."""
        end_s = (exp_s // WINDOW_S + 1) * WINDOW_S
        window = self._windows_by_end.get(end_s)
        if window is None:
            window = set()
            self._windows = (*self._windows, window)  # first where it is looked for: a process may be forked off at any moment
            self._windows_by_end[end_s] = window
        window.add(session_key(sid))

    def forget(self, now_s: int) -> None:
        """Let go of what is over by itself."""
        over = [end_s for end_s in self._windows_by_end if end_s <= now_s]
        for end_s in over:
            del self._windows_by_end[end_s]
        if over:
            self._windows = tuple(self._windows_by_end.values())


class Follower:
    """Keeps a `RevocationSet` in step with the service's feed, from a thread of its own."""

    def __init__(
        self,
        ask: Callable[[str], bytes],
        revoked: RevocationSet,
        void_key: Callable[[str], None],
        *,
        wait_s: int,
        clock: Clock,
    ) -> None:
        """Take what asks for the page behind a cursor and waits up to `wait_s` for it, and what is to be kept in step."""
        self._ask = ask
        self._revoked = revoked
        self._void_key = void_key
        self._wait_s = wait_s
        self._clock = clock
        self._cursor = ""
        self._fresh_at: tuple[int, int] | None = None
        self._latest_ms = 0
        self._starting = threading.Lock()
        self.has_started = False
        """Whether `start` was called."""
        self.stopping = threading.Event()
        self.ready = threading.Event()
        """Set once everything that had ended was heard of."""
        self.clock_offset_ms = 0
        """How much the service's clock is ahead of ours, give or take a second."""
        self.problem = ""
        """Why the last question failed, empty if it did not."""

    def start(self) -> None:
        """Begin to follow, if that has not begun."""
        if self.has_started or self.stopping.is_set():
            return
        with self._starting:
            if not self.has_started:
                try:
                    threading.Thread(target=self._run, name="handstamp-revocations", daemon=True).start()
                except RuntimeError as problem:  # no thread is to be had: at exit, or the machine is full
                    self._fail(repr(problem))
                else:
                    self.has_started = True

    def age_ms(self, now_ms: int, monotonic: int) -> int | None:
        """Return how old our knowledge is at `now_ms`, None before the first complete answer.

        By the clock that nobody sets, and by the other one too: the first stands still while a machine sleeps. None also where
        the clock was set back: what it had called over, and we had forgotten, may count again.
        """
        fresh_at = self._fresh_at  # once: the thread that follows may take it away
        if fresh_at is None or now_ms < self._latest_ms - _CLOCK_SLACK_MS:
            return None
        by_one, by_other = monotonic - fresh_at[0], now_ms - fresh_at[1]
        return by_one if by_one > by_other else by_other  # noqa: FURB136 - max() costs more

    def _run(self) -> None:
        failures = 0
        while not self.stopping.is_set():
            try:
                asked_at = monotonic_ms(), self._clock()
                if asked_at[1] < self._latest_ms - _CLOCK_SLACK_MS:
                    self._cursor, self._fresh_at, self._latest_ms = "", None, 0
                self._latest_ms = max(self._latest_ms, asked_at[1])
                after = self._cursor
                page = self._take(self._ask(after))
            except Exception as problem:  # noqa: BLE001 - whatever it says, following goes on, and the age tells
                failures += 1
                self._fail(getattr(problem, "why", "") or repr(problem))
                self.stopping.wait(min(_MAX_PAUSE_S, _MIN_PAUSE_S * 2 ** min(failures, 6)) * random.uniform(0.5, 1))  # noqa: S311
                continue
            failures = 0
            if not page.more:
                self._fresh_at = asked_at
                self.ready.set()
                if self.problem:
                    _log.info("the revocation feed answers again")
                self.problem = ""
                answered_at_once = after and monotonic_ms() - asked_at[0] < 500 * self._wait_s
                # News come in bunches that way. An empty answer at once, but for the first one, says that the service is busy.
                self.stopping.wait(_NEWS_PAUSE_S if page.entries else _BUSY_PAUSE_S if answered_at_once else 0)
            else:
                self.stopping.wait(_NEWS_PAUSE_S)
        self._fresh_at = None  # nobody follows any more

    def _take(self, answer: bytes) -> _Page:
        try:
            page = _read_page(answer)
        except (msgspec.MsgspecError, RecursionError) as problem:
            raise Unavailable(f"the feed's answer is no page of revocations: {problem}") from None
        now_ms = self._clock()
        now_s = now_ms // 1000
        if any(entry.exp > now_s + _MAX_AHEAD_S for entry in page.entries):
            raise Unavailable("the feed names an end more than a day ahead: its clock or ours is wrong")
        if page.more and page.cursor == self._cursor:
            raise Unavailable("the feed has more, but does not move on")
        self.clock_offset_ms = page.now * 1000 - now_ms
        self._latest_ms = max(self._latest_ms, now_ms)  # before forgetting: should this clock be wrong, all is asked for anew
        self._revoked.forget(now_s)
        if len(self._revoked) + len(page.entries) > MAX_ENTRIES:
            raise Unavailable(f"more than {MAX_ENTRIES} revocations")
        for entry in page.entries:
            if entry.kid:
                self._void_key(entry.kid)
            elif entry.exp > now_s:
                self._revoked.add(entry.sid, entry.exp)
        self._cursor = page.cursor
        return page

    def _fail(self, problem: str) -> None:
        if not self.problem and not self.stopping.is_set():
            _log.warning("the revocation feed cannot be followed: %s", problem)
        self.problem = problem
