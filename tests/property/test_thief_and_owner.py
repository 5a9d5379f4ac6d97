"""Every short history of an owner and a thief, run against the rules.

Both have a copy of one refresh token. Each refreshes with its newest token, always later than the grace window after the act
before, and all within one recovery interval. After a refusal one cannot continue. The tests count the histories after which the
session is still alive.
"""

from __future__ import annotations

from itertools import product

import msgspec
import pytest

from handstamp.domain.binding import DeviceKey, bind
from handstamp.domain.policy import Policy
from handstamp.domain.rotation import Challenge, Ended, Recover, Repeat, Reuse, Rotate, decide
from handstamp.domain.session import Session
from tests.builders import MINUTE_MS, NOW_MS, a_session, claims_of

ACTS = 10
STRICT = Policy(recovery_interval_ms=None)
ONE_LATE_REPEAT = Policy()


class History(msgspec.Struct, frozen=True):
    """The end of a history: the row, and the number of successful refreshes of each of the two."""

    session: Session
    answered: dict[str, int]


def play(order: tuple[str, ...], policy: Policy, *, always_accepts_predecessor: bool = False) -> History:
    """Run the acts in `order`, one per minute."""
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


def test_all_1022_histories_are_enumerated() -> None:
    """The enumeration is complete."""
    assert len(histories()) == 1022


@pytest.mark.parametrize(
    ("policy", "always", "alive"),
    [(STRICT, False, 0), (ONE_LATE_REPEAT, False, 4), (STRICT, True, 92)],
    ids=["strict", "one late repeat", "predecessor always accepted"],
)
def test_how_many_histories_leave_the_session_alive(policy: Policy, always: bool, alive: int) -> None:
    """Of 1,022: none if strict, 4 with one late repeat per interval, 92 if the predecessor is always accepted."""
    played = [play(order, policy, always_accepts_predecessor=always) for order in histories()]
    assert sum(history.session.revoked_why is None for history in played) == alive


def test_a_tolerated_late_repeat_gives_exactly_one_refresh() -> None:
    """The one who lags gets one refresh, and nothing more."""
    survivors = [play(order, ONE_LATE_REPEAT) for order in histories()]
    for history in (history for history in survivors if history.session.revoked_why is None):
        assert min(history.answered.values()) == 1


def test_only_accepting_every_predecessor_tolerates_alternation() -> None:
    """There a thief who follows the owner step by step is never detected. Both of our policies detect it."""
    alternating = ("owner", "thief") * (ACTS // 2)
    assert play(alternating, STRICT, always_accepts_predecessor=True).session.revoked_why is None
    assert play(alternating, STRICT).session.revoked_why == "reuse"
    assert play(alternating, ONE_LATE_REPEAT).session.revoked_why == "reuse"


def test_a_thief_without_the_key_of_a_bound_session_gets_nothing_in_any_history() -> None:
    """The thief copies the newest token before each act. In each of the 1,024 histories the owner never notices."""
    for order in product(("owner", "thief"), repeat=ACTS):
        session = bind(a_session(), DeviceKey("{}", "dbsc"), NOW_MS)
        newest = 0
        for minute, who in enumerate(order, start=1):
            now_ms = NOW_MS + minute * MINUTE_MS
            claims = claims_of(session, generation=newest)
            outcome = decide(session, None, claims, now_ms, ONE_LATE_REPEAT, is_proved=who == "owner")
            if who == "thief":
                assert outcome == Challenge(session)
            else:
                assert isinstance(outcome, Rotate)
                session = outcome.session
                newest = session.generation
        assert (session.generation, session.revoked_why) == (order.count("owner"), None)
