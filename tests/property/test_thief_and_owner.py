"""Every short history of an owner and a thief, played against the rules.

Both hold a copy of one refresh token. Each refreshes with the newest token that it has got, always later than the grace window
after the act before, all within one recovery interval. Whoever is refused is out. Which histories leave the session alive?
"""

from __future__ import annotations

from itertools import product

import msgspec
import pytest

from handstamp.domain.policy import Policy
from handstamp.domain.rotation import Ended, Recover, Repeat, Reuse, Rotate, decide
from handstamp.domain.session import Session
from tests.builders import MINUTE_MS, NOW_MS, a_session, claims_of

ACTS = 10
STRICT = Policy(recovery_interval_ms=None)
ONE_LATE_REPEAT = Policy()


class History(msgspec.Struct, frozen=True):
    """How a history ended: the row, and how many refreshes each of the two was answered."""

    session: Session
    answered: dict[str, int]


def play(order: tuple[str, ...], policy: Policy, *, always_accepts_predecessor: bool = False) -> History:
    """Let `order` happen, one act a minute."""
    session = a_session(policy=policy)
    holds = {"owner": 0, "thief": 0}
    answered = {"owner": 0, "thief": 0}
    for minute, who in enumerate(order, start=1):
        now_ms = NOW_MS + minute * MINUTE_MS
        if always_accepts_predecessor and session.revoked_why is None and holds[who] == session.generation - 1:
            outcome: object = Repeat(session)
        else:
            outcome = decide(session, None, claims_of(session, generation=holds[who]), now_ms, policy)
        match outcome:
            case Rotate(after) | Repeat(after) | Recover(after):
                session = after
                holds[who] = after.generation
                answered[who] += 1
            case Reuse(after):
                session = after
            case Ended():
                pass
    return History(session, answered)


def histories() -> list[tuple[str, ...]]:
    """Return all orders of ten acts in which both act: 2¹⁰ less the two in which only one does."""
    return [order for order in product(("owner", "thief"), repeat=ACTS) if len(set(order)) == 2]


def test_there_are_1022_histories() -> None:
    """The enumeration is whole."""
    assert len(histories()) == 1022


@pytest.mark.parametrize(
    ("policy", "always", "alive"),
    [(STRICT, False, 0), (ONE_LATE_REPEAT, False, 4), (STRICT, True, 92)],
    ids=["strict", "one late repeat", "predecessor always accepted"],
)
def test_how_many_histories_leave_the_session_alive(policy: Policy, always: bool, alive: int) -> None:
    """Strict leaves none, one rationed late repeat leaves 4, always accepting the predecessor leaves 92 of 1,022."""
    played = [play(order, policy, always_accepts_predecessor=always) for order in histories()]
    assert sum(history.session.revoked_why is None for history in played) == alive


def test_where_a_late_repeat_let_a_session_live_the_laggard_got_exactly_one_refresh() -> None:
    """The ration is what the one who lags got, and nothing more."""
    survivors = [play(order, ONE_LATE_REPEAT) for order in histories()]
    for history in (history for history in survivors if history.session.revoked_why is None):
        assert min(history.answered.values()) == 1


def test_strict_alternation_lives_for_ever_only_where_the_predecessor_is_always_accepted() -> None:
    """A thief who follows the owner step by step is unseen there, and is caught by both of our policies."""
    alternating = ("owner", "thief") * (ACTS // 2)
    assert play(alternating, STRICT, always_accepts_predecessor=True).session.revoked_why is None
    assert play(alternating, STRICT).session.revoked_why == "reuse"
    assert play(alternating, ONE_LATE_REPEAT).session.revoked_why == "reuse"
