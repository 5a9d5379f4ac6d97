"""What decides whether a sign-in is complete, for every input.

Orders of steps on the real service are in `tests/integration/test_sign_in_orders.py`, crashes in `test_sign_in_crashes.py` there,
races in `test_every_way_in.py` and `test_passkey_races.py`.
"""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from handstamp.domain.attempt import Attempt, judge
from handstamp.domain.factor import FactorPolicy, Factors, Lacking, add_factor, find_lacking
from handstamp.domain.proof import Proof
from tests.builders import MINUTE_MS, NOW_MS, an_account

BROWSER = b"browser"
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


@given(st.integers(-10 * MINUTE_MS, 10 * MINUTE_MS))
def test_an_attempt_lives_five_minutes(later_ms: int) -> None:
    """Clocks may differ by less than a minute."""
    verdict = judge(an_attempt(), None, purpose="second_factor", browser_hash=BROWSER, now_ms=NOW_MS + later_ms)
    assert (verdict == "open") == (-MINUTE_MS <= later_ms < 5 * MINUTE_MS)


def test_lacking_is_one_of_two() -> None:
    """The default says nothing is lacking in particular, which no decision returns."""
    assert Lacking() != find_lacking(a_proof(), Factors(has_totp=True), FactorPolicy(), ())
