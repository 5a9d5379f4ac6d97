"""No order of steps, replays and races gives a session without all factors: every sequence of the pieces, and random ones."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from handstamp.domain.attempt import MAX_TRIES, Attempt, AttemptRow, count_try, enrol, judge, row_of, use
from handstamp.domain.factor import FactorPolicy, Factors, Lacking, add_factor, find_lacking
from handstamp.domain.proof import Proof
from tests.builders import MINUTE_MS, NOW_MS, an_account

BROWSER, OTHER = b"browser", b"other"
METHODS: tuple[tuple[str, str | None], ...] = (("pwd", "pwd"), ("otp", None), ("pop", "phr"))
POLICIES = (FactorPolicy(), FactorPolicy(is_required=True), FactorPolicy(roles=("admin",)))


def a_proof(amr: str = "pwd", acr: str | None = "pwd") -> Proof:
    """Return what a first step has proved."""
    return Proof(subject="ada-id", account=an_account(), amr=(amr,), acr=acr, authenticated_at_ms=NOW_MS)


def an_attempt(**fields: object) -> Attempt:
    """Return an attempt that waits for its second step."""
    attempt = Attempt(
        id="attempt-id",
        purpose="second_factor",
        browser_hash=BROWSER,
        created_at_ms=NOW_MS,
        expires_at_ms=NOW_MS + 5 * MINUTE_MS,
        subject="ada-id",
        amr=("pwd",),
        acr="pwd",
    )
    return msgspec.structs.replace(attempt, **fields)


def test_every_first_step_is_held_by_the_gate() -> None:
    """For each way in, each set of factors and each policy: a session begins at once only where nothing is wanted."""
    for (amr, acr), has_totp, passkeys, policy, roles in itertools.product(
        METHODS, (False, True), (0, 2), POLICIES, ((), ("admin",))
    ):
        factors = Factors(has_totp=has_totp, passkeys=passkeys, recovery_codes=3)
        lacking = find_lacking(a_proof(amr, acr), factors, policy, roles)
        wants = factors.is_any or policy.requires(roles)
        assert (lacking is None) == (acr == "phr" or not wants)
        if lacking is not None:
            assert bool(lacking.methods) != bool(lacking.enrol)
            assert bool(lacking.methods) == factors.is_any
            assert ("recovery_code" in lacking.methods) == factors.is_any


def test_recovery_codes_alone_are_no_factor() -> None:
    """They replace one that was lost."""
    assert find_lacking(a_proof(), Factors(recovery_codes=10), FactorPolicy(), ()) is None
    assert Factors(recovery_codes=10).methods == ()


def test_a_factor_completes_a_proof() -> None:
    """Its methods are added, once each."""
    proof = add_factor(a_proof("otp", None), ("otp",), acr="mfa", now_ms=NOW_MS + 1)
    assert (proof.amr, proof.acr, proof.authenticated_at_ms) == (("otp", "mfa"), "mfa", NOW_MS + 1)
    assert find_lacking(proof, Factors(has_totp=True), FactorPolicy(is_required=True), ()) is None


STEPS = ("right", "wrong", "right elsewhere", "right, another purpose", "enrol", "empty")


def run(steps: tuple[str, ...], *, factors: Factors, now_ms: int = NOW_MS) -> list[str]:
    """Return what gave a session, for requests one after the other. It follows `service/signing_in/second_factor.py`."""
    attempt, row = an_attempt(), None
    sessions: list[str] = []
    for step in steps:
        browser = OTHER if step == "right elsewhere" else BROWSER
        purpose = "step_up" if step == "right, another purpose" else "second_factor"
        if judge(attempt, row, purpose=purpose, browser_hash=browser, now_ms=now_ms) != "open":  # type: ignore[arg-type]
            continue
        current: AttemptRow = row or row_of(attempt)
        if step == "enrol":
            if not factors.is_any or current.enrolled:
                row, factors = enrol(current, "totp"), Factors(has_totp=True)
        elif step == "empty":
            if current.enrolled:
                row = use(current, now_ms)
                sessions.append(step)
        else:
            row = count_try(current)
            if step.startswith("right") and factors.is_any:
                row = use(row, now_ms)
                sessions.append(step)
    return sessions


def test_every_sequence_of_steps() -> None:
    """All 1,554 sequences of up to four requests, with and without a factor: at most one session, and never without proof."""
    for has_totp in (True, False):
        for length in range(1, 5):
            for steps in itertools.product(STEPS, repeat=length):
                sessions = run(steps, factors=Factors(has_totp=has_totp))
                assert len(sessions) <= 1
                assert set(sessions) <= {"right", "empty"}
                if "empty" in sessions:
                    assert not has_totp
                    assert "enrol" in steps
                if sessions == ["right"] and not has_totp:
                    assert "enrol" in steps[: steps.index("right")] or "enrol" in steps


@given(st.lists(st.sampled_from(STEPS), max_size=20))
def test_no_more_than_five_codes_are_looked_at(steps: list[str]) -> None:
    """After as many wrong ones even the right one gets nothing."""
    wrong = 0
    for number, step in enumerate(steps):
        wrong += step == "wrong"
        if wrong >= MAX_TRIES and run(tuple(steps[: number + 1]), factors=Factors(has_totp=True)) == []:
            assert run((*steps[: number + 1], "right"), factors=Factors(has_totp=True)) == []


@given(st.integers(-10 * MINUTE_MS, 10 * MINUTE_MS))
def test_an_attempt_lives_five_minutes(later_ms: int) -> None:
    """Clocks may differ by less than a minute."""
    verdict = judge(an_attempt(), None, purpose="second_factor", browser_hash=BROWSER, now_ms=NOW_MS + later_ms)
    assert (verdict == "open") == (-MINUTE_MS <= later_ms < 5 * MINUTE_MS)


def test_lacking_is_one_of_two() -> None:
    """The default says nothing is lacking in particular, which no decision returns."""
    assert Lacking() != find_lacking(a_proof(), Factors(has_totp=True), FactorPolicy(), ())
