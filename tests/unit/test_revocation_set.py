"""Compares the in-memory set of ended sessions with a simple model: a dictionary from session id to expiry."""

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
    """Adds, expires and looks up entries in any order, with expiries on both sides of window borders."""

    def __init__(self) -> None:
        """Start with an empty set."""
        super().__init__()
        self.revoked = RevocationSet()
        self.ends: dict[str, int] = {}
        self.now_s = NOW_S

    @rule(sid=SIDS, after_s=st.integers(0, 4000) | st.sampled_from([WINDOW_S - 1, WINDOW_S, WINDOW_S + 1]))
    def add(self, sid: str, after_s: int) -> None:
        """Add an ended session. The feed may report one several times, with different expiries."""
        end_s = NOW_S // WINDOW_S * WINDOW_S + after_s
        self.revoked.add(sid, end_s)
        self.ends[sid] = max(end_s, self.ends.get(sid, 0))

    @rule(seconds=st.integers(0, 2 * WINDOW_S))
    def pass_time(self, seconds: int) -> None:
        """Advance the time and drop the windows that have expired (T28)."""
        self.now_s += seconds
        self.revoked.drop_expired(self.now_s)
        assert all(self.now_s < end_s <= max(self.ends.values()) + WINDOW_S for end_s in self.revoked._windows_by_end)

    @rule(seconds=st.integers(0, 5 * WINDOW_S))
    def set_clock_back(self, seconds: int) -> None:
        """Expire entries at an earlier time, which must drop nothing more."""
        self.revoked.drop_expired(self.now_s - seconds)

    @invariant()
    def every_session_is_refused_until_its_end_at_least(self) -> None:
        """Every ended session is in the set until its expiry (R53)."""
        for sid, end_s in self.ends.items():
            if end_s >= self.now_s:
                assert session_key(sid) in self.revoked

    @invariant()
    def nobody_else_is_refused(self) -> None:
        """A session that was not added is not in the set."""
        assert session_key("nobody ended this one") not in self.revoked

    @invariant()
    def what_is_looked_through_is_what_is_kept(self) -> None:
        """A look-up searches exactly the windows that exist."""
        assert list(self.revoked.windows) == list(self.revoked._windows_by_end.values())


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_window_is_dropped_once_all_its_entries_have_expired() -> None:
    """A window is dropped as a whole once its last possible expiry has passed, and not a second earlier (T28)."""
    revoked = RevocationSet()
    border_s = (NOW_S // WINDOW_S + 1) * WINDOW_S
    for after_s in range(WINDOW_S):
        revoked.add(f"session-{after_s}", border_s - WINDOW_S + after_s)
    assert (len(revoked), len(revoked.windows)) == (WINDOW_S, 1)
    revoked.drop_expired(border_s - 1)
    assert len(revoked) == WINDOW_S
    revoked.drop_expired(border_s)
    assert len(revoked) == 0
    revoked.add("on the border", border_s)
    revoked.drop_expired(border_s)
    assert session_key("on the border") in revoked


def test_session_keys_are_unique() -> None:
    """Different session ids have different keys, because a shared key would sign out the wrong person."""
    sids = ["a", "A", "a ", " a", "aa", "á", "\u0061\u0301", "x" * 1024, *(new_id() for _ in range(10_000))]
    assert len({session_key(sid) for sid in sids}) == len(sids)


def test_an_entry_takes_less_than_a_hundred_bytes() -> None:
    """An entry takes less than 100 bytes, and dropping it frees all of them (T28, R53)."""
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
