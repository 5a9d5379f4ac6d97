"""The ended sessions in memory, against the plainest model of them: a dictionary from session to end."""

from __future__ import annotations

import tracemalloc

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from handstamp.crypto.identifiers import new_id
from handstamp.verify.revocations import WINDOW_S, RevocationSet, session_key
from tests.conformance.builders import NOW_S

SIDS = st.text(min_size=1, max_size=3)


class AgainstADictionary(RuleBasedStateMachine):
    """Adds, forgets and looks, in any order, with ends before and behind the borders of windows."""

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self.revoked = RevocationSet()
        self.ends: dict[str, int] = {}
        self.now_s = NOW_S

    @rule(sid=SIDS, after_s=st.integers(0, 4000) | st.sampled_from([WINDOW_S - 1, WINDOW_S, WINDOW_S + 1]))
    def add(self, sid: str, after_s: int) -> None:
        """A session ends; the feed may say so several times, with other ends."""
        end_s = NOW_S // WINDOW_S * WINDOW_S + after_s
        self.revoked.add(sid, end_s)
        self.ends[sid] = max(end_s, self.ends.get(sid, 0))

    @rule(seconds=st.integers(0, 2 * WINDOW_S))
    def pass_time(self, seconds: int) -> None:
        """Time passes; what has been over for a window is forgotten (T28)."""
        self.now_s += seconds
        self.revoked.drop_expired(self.now_s)
        assert all(self.now_s < end_s <= max(self.ends.values()) + WINDOW_S for end_s in self.revoked._windows_by_end)

    @rule(seconds=st.integers(0, 5 * WINDOW_S))
    def set_clock_back(self, seconds: int) -> None:
        """Forgetting at an earlier time forgets nothing more."""
        self.revoked.drop_expired(self.now_s - seconds)

    @invariant()
    def every_session_is_refused_until_its_end_at_least(self) -> None:
        """Never lost before its end (R53)."""
        for sid, end_s in self.ends.items():
            if end_s >= self.now_s:
                assert session_key(sid) in self.revoked

    @invariant()
    def nobody_else_is_refused(self) -> None:
        """A session that never ended is not in it."""
        assert session_key("nobody ended this one") not in self.revoked

    @invariant()
    def what_is_looked_through_is_what_is_kept(self) -> None:
        """Looking goes through exactly the windows that adding and forgetting know."""
        assert list(self.revoked._windows) == list(self.revoked._windows_by_end.values())


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_window_goes_the_second_after_all_in_it_are_over() -> None:
    """Dropped as a whole, at the border and not before: the last entry's end is the border itself minus one (T28)."""
    revoked = RevocationSet()
    border_s = (NOW_S // WINDOW_S + 1) * WINDOW_S
    for after_s in range(WINDOW_S):
        revoked.add(f"session-{after_s}", border_s - WINDOW_S + after_s)
    assert (len(revoked), len(revoked._windows)) == (WINDOW_S, 1)
    revoked.drop_expired(border_s - 1)
    assert len(revoked) == WINDOW_S
    revoked.drop_expired(border_s)
    assert len(revoked) == 0
    revoked.add("on the border", border_s)
    revoked.drop_expired(border_s)
    assert session_key("on the border") in revoked


def test_each_session_has_a_key_of_its_own() -> None:
    """Its name as a number: two sessions of one key would be one person signed out by another's sign-out."""
    sids = ["a", "A", "a ", " a", "aa", "á", "\u0061\u0301", "x" * 1024, *(new_id() for _ in range(10_000))]
    assert len({session_key(sid) for sid in sids}) == len(sids)


def test_an_entry_takes_less_than_a_hundred_bytes() -> None:
    """Two hundred thousand sign-outs are twenty megabytes at most, and forgetting gives all of it back (T28, R53)."""
    entries = 200_000
    sids = [new_id() for _ in range(entries)]
    tracemalloc.start()
    try:
        revoked = RevocationSet()
        for sid in sids:
            revoked.add(sid, NOW_S)
        used, peak = tracemalloc.get_traced_memory()
        revoked.drop_expired(NOW_S + 2 * WINDOW_S)
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"an ended session takes {used / entries:.1f} bytes, {peak / entries:.1f} while the set grows")  # noqa: T201
    assert used / entries <= 100
    assert left < 100_000
