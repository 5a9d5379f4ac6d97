"""The table of `domain.rotation.decide`, row by row."""

from __future__ import annotations

import pytest

from handstamp.domain.binding import DeviceKey, bind
from handstamp.domain.policy import Policy
from handstamp.domain.reasons import RevokedWhy
from handstamp.domain.rotation import CatchUp, Challenge, Ended, Recover, Repeat, Reuse, Rotate, decide
from handstamp.domain.session import Session, revoke
from tests.builders import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, SECOND_MS, a_session, an_account, claims_of

POLICY = Policy()


def rotated(*, generation: int = 7, at_ms: int = NOW_MS, recovered_at_ms: int | None = None) -> Session:
    """Return a session that has been renewed, at `at_ms` for the last time."""
    return a_session(generation=generation, rotated_at_ms=at_ms, recovered_at_ms=recovered_at_ms)


def test_the_current_token_rotates() -> None:
    """The token of the current generation makes the next one, and the row remembers when."""
    session = rotated(generation=7)
    outcome = decide(session, None, claims_of(session), NOW_MS + HOUR_MS, POLICY)
    assert isinstance(outcome, Rotate)
    assert (outcome.session.generation, outcome.session.rotated_at_ms) == (8, NOW_MS + HOUR_MS)
    assert outcome.session.seen_at_ms == NOW_MS + HOUR_MS
    assert outcome.session.expires_at_ms == session.expires_at_ms


@pytest.mark.parametrize("later_ms", [-20 * SECOND_MS, 0, 1, 10 * SECOND_MS])
def test_the_predecessor_within_grace_is_a_repeat(later_ms: int) -> None:
    """A retry within the grace window, also by a node whose clock lags, changes nothing in the row."""
    session = rotated()
    outcome = decide(session, None, claims_of(session, generation=6), NOW_MS + later_ms, POLICY)
    assert outcome == Repeat(session)


def test_the_predecessor_just_after_grace_is_recovered_once() -> None:
    """One millisecond later the same retry uses the one recovery of the interval."""
    session = rotated()
    now_ms = NOW_MS + POLICY.grace_ms + 1
    outcome = decide(session, None, claims_of(session, generation=6), now_ms, POLICY)
    assert isinstance(outcome, Recover)
    assert outcome.session.recovered_at_ms == now_ms
    assert (outcome.session.generation, outcome.session.rotated_at_ms) == (7, NOW_MS)


def test_concurrent_late_repeats_share_one_recovery() -> None:
    """Late retries that arrive within grace of the one that was recovered are repeats of it, not theft."""
    session = rotated(recovered_at_ms=NOW_MS + HOUR_MS)
    at_once = decide(session, None, claims_of(session, generation=6), NOW_MS + HOUR_MS + POLICY.grace_ms, POLICY)
    too_late = decide(session, None, claims_of(session, generation=6), NOW_MS + HOUR_MS + POLICY.grace_ms + 1, POLICY)
    assert at_once == Repeat(session)
    assert isinstance(too_late, Reuse)


def test_a_second_late_repeat_within_the_interval_is_reuse() -> None:
    """Late repeats are limited across generations: the second collision of a day ends the session."""
    session = rotated(generation=9, at_ms=NOW_MS + 2 * HOUR_MS, recovered_at_ms=NOW_MS + HOUR_MS)
    outcome = decide(session, None, claims_of(session, generation=8), NOW_MS + 3 * HOUR_MS, POLICY)
    assert isinstance(outcome, Reuse)
    assert outcome.session.revoked_why == "reuse"


def test_a_late_repeat_is_allowed_again_after_the_interval() -> None:
    """A day later another recovery is allowed."""
    session = rotated(generation=9, at_ms=NOW_MS + 2 * HOUR_MS, recovered_at_ms=NOW_MS + HOUR_MS)
    outcome = decide(session, None, claims_of(session, generation=8), NOW_MS + HOUR_MS + DAY_MS, POLICY)
    assert isinstance(outcome, Recover)


@pytest.mark.parametrize("generation", [0, 3, 5])
def test_an_older_ancestor_is_reuse_even_within_grace(generation: int) -> None:
    """A token older than the predecessor is never accepted, however recent it is."""
    session = rotated(generation=7)
    outcome = decide(session, None, claims_of(session, generation=generation), NOW_MS, POLICY)
    assert isinstance(outcome, Reuse)
    assert (outcome.session.revoked_why, outcome.session.revoked_at_ms) == ("reuse", NOW_MS)


@pytest.mark.parametrize("generation", [8, 9, 500])
def test_a_token_ahead_of_the_row_is_caught_up_with(generation: int) -> None:
    """Only we can sign, so the database has lost commits. The chain continues after the presented token."""
    session = rotated(generation=7)
    outcome = decide(session, None, claims_of(session, generation=generation), NOW_MS + HOUR_MS, POLICY)
    assert isinstance(outcome, CatchUp)
    assert (outcome.session.generation, outcome.session.rotated_at_ms) == (generation + 1, NOW_MS + HOUR_MS)


def test_a_token_ahead_of_the_row_is_reuse_where_catching_up_is_off() -> None:
    """With the strict setting the session ends, because it is unknown which copy is right."""
    session = rotated(generation=7)
    outcome = decide(session, None, claims_of(session, generation=8), NOW_MS, Policy(catch_up=False))
    assert isinstance(outcome, Reuse)


@pytest.mark.parametrize("later_ms", [0, 1, HOUR_MS])
def test_a_strict_policy_accepts_each_token_once(later_ms: int) -> None:
    """With grace 0 and recovery off every second use is reuse (RFC 9700 §4.14.2 to the letter)."""
    strict = Policy(grace_ms=0, recovery_interval_ms=None)
    session = rotated(generation=7)
    assert isinstance(decide(session, None, claims_of(session, generation=6), NOW_MS + later_ms, strict), Reuse)
    assert isinstance(decide(session, None, claims_of(session), NOW_MS + later_ms, strict), Rotate)


@pytest.mark.parametrize("why", ["logout", "logout_everywhere", "reuse", "password_changed", "disabled", "admin"])
def test_a_revoked_session_refuses_every_generation(why: RevokedWhy) -> None:
    """A revoked session stays revoked and keeps its reason, whichever of its tokens is presented."""
    session = revoke(rotated(generation=7), why, NOW_MS)
    for generation in (0, 6, 7, 8):
        assert decide(session, None, claims_of(session, generation=generation), NOW_MS, POLICY) == Ended(why)


def test_a_missing_session_has_expired() -> None:
    """A missing row was purged after the end of its session."""
    assert decide(None, None, claims_of(a_session()), NOW_MS, POLICY) == Ended("expired")


def test_the_absolute_end_cannot_be_passed() -> None:
    """At `expires_at` the session has expired; one millisecond before, it rotates for the last time."""
    session = rotated(at_ms=NOW_MS + 29 * DAY_MS)
    end_ms = NOW_MS + POLICY.session_lifetime_ms
    assert isinstance(decide(session, None, claims_of(session), end_ms - 1, POLICY), Rotate)
    assert decide(session, None, claims_of(session), end_ms, POLICY) == Ended("expired")


def test_an_idle_session_has_ended() -> None:
    """Idle time counts from the last rotation."""
    session = rotated()
    end_ms = NOW_MS + POLICY.idle_lifetime_ms
    assert isinstance(decide(session, None, claims_of(session), end_ms - 1, POLICY), Rotate)
    assert decide(session, None, claims_of(session), end_ms, POLICY) == Ended("idle")


def test_a_disabled_account_refreshes_nothing() -> None:
    """The account is checked with the row, under the same lock."""
    session = a_session(epoch=3)
    assert isinstance(decide(session, an_account(epoch=3), claims_of(session), NOW_MS, POLICY), Rotate)
    disabled = an_account(epoch=3, disabled_at_ms=NOW_MS)
    assert decide(session, disabled, claims_of(session), NOW_MS, POLICY) == Ended("disabled")
    assert decide(session, None, claims_of(session), NOW_MS, POLICY) == Ended("disabled")


def test_a_session_of_an_earlier_epoch_refreshes_nothing() -> None:
    """A new epoch ends all earlier sessions, even one whose own row was not revoked."""
    session = a_session(epoch=3)
    assert decide(session, an_account(epoch=4), claims_of(session), NOW_MS, POLICY) == Ended("logout_everywhere")


def test_a_session_of_a_subject_without_account_needs_none() -> None:
    """Applications with their own users have sessions without an account row."""
    session = a_session(epoch=None, subject="42")
    assert isinstance(decide(session, None, claims_of(session), NOW_MS, POLICY), Rotate)


# --- sessions that are bound to a device

BOUND = bind(rotated(generation=7), DeviceKey('{"kty":"EC"}', "dbsc"), NOW_MS)


@pytest.mark.parametrize("generation", [0, 6, 7, 8, 500])
@pytest.mark.parametrize("later_ms", [0, HOUR_MS, 14 * DAY_MS - 1])
@pytest.mark.parametrize("policy", [POLICY, Policy(grace_ms=0, recovery_interval_ms=None, catch_up=False)])
def test_without_its_proof_a_bound_session_does_nothing(generation: int, later_ms: int, policy: Policy) -> None:
    """Whatever copy of the token is presented: no new pair, and no end, so that a copy is no weapon against the owner either."""
    outcome = decide(BOUND, None, claims_of(BOUND, generation=generation), NOW_MS + later_ms, policy)
    assert outcome == Challenge(BOUND)


def test_with_its_proof_a_bound_session_follows_the_table() -> None:
    """The current token rotates, its predecessor within grace is a repeat, and a lost commit is caught up with.

    A browser signs a challenge of the generation: there a repeat uses the proof up, too.
    """
    program = bind(rotated(generation=7), DeviceKey('{"kty":"EC"}', "dpop"), NOW_MS)
    rows: list[tuple[Session, int, type[object], int]] = [
        (BOUND, 7, Rotate, 8),
        (BOUND, 6, Rotate, 8),
        (BOUND, 8, CatchUp, 9),
        (program, 7, Rotate, 8),
        (program, 6, Repeat, 7),
        (program, 8, CatchUp, 9),
    ]
    for session, generation, kind, after in rows:
        outcome = decide(session, None, claims_of(session, generation=generation), NOW_MS, POLICY, is_proved=True)
        assert isinstance(outcome, kind)
        assert not isinstance(outcome, Ended)
        assert (outcome.session.bound_key, outcome.session.generation) == (session.bound_key, after)
    strict = decide(BOUND, None, claims_of(BOUND, generation=8), NOW_MS, Policy(catch_up=False), is_proved=True)
    assert isinstance(strict, Reuse)


@pytest.mark.parametrize("generation", [0, 3, 5, 6])
@pytest.mark.parametrize("policy", [POLICY, Policy(grace_ms=0, recovery_interval_ms=None)])
def test_an_old_copy_with_the_proof_is_the_device_itself(generation: int, policy: Policy) -> None:
    """A restored profile of the browser has an old token and the right key. It continues, as often as it happens."""
    session = BOUND
    for minute in (1, 2, 3):
        now_ms = NOW_MS + minute * MINUTE_MS
        outcome = decide(session, None, claims_of(session, generation=generation), now_ms, policy, is_proved=True)
        assert isinstance(outcome, Recover)
        session = outcome.session
        assert (session.generation, session.recovered_at_ms, session.revoked_why) == (7 + minute, now_ms, None)


@pytest.mark.parametrize("is_proved", [False, True])
def test_the_end_of_a_session_comes_before_its_proof(is_proved: bool) -> None:
    """A session that has ended says so, whether the key was proved or not, so that the browser stops asking."""
    ended = revoke(BOUND, "logout", NOW_MS)
    assert decide(ended, None, claims_of(ended), NOW_MS, POLICY, is_proved=is_proved) == Ended("logout")


def test_a_proof_changes_nothing_for_a_session_that_is_not_bound() -> None:
    """Nobody can skip the rules of theft by sending a proof along."""
    session = rotated(generation=7)
    for generation in (0, 5, 6, 7, 8):
        for later_ms in (0, HOUR_MS):
            plain = decide(session, None, claims_of(session, generation=generation), NOW_MS + later_ms, POLICY)
            assert plain == decide(
                session, None, claims_of(session, generation=generation), NOW_MS + later_ms, POLICY, is_proved=True
            )
