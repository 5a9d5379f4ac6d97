"""`handstamp.testing`: what the tests of applications write, and the mistakes that a type checker reports."""

from typing import assert_type

from handstamp import Verifier
from handstamp.testing import LocalIssuer, SignedIn, VirtualClock


def check_correct_use(handstamp_issuer: LocalIssuer, handstamp_clock: VirtualClock) -> None:
    """Use what tests use."""
    ada = handstamp_issuer.signed_in("ada", scope="orders:read", roles=["clerk"], claims={"tenant": 7}, lifetime_s=60)
    assert_type(ada, SignedIn)
    assert_type(ada.headers, dict[str, str])
    assert_type(ada.cookies, dict[str, str])
    assert_type(handstamp_issuer.expired(), SignedIn)
    assert_type(handstamp_issuer.ended("bob"), SignedIn)
    assert_type(handstamp_issuer.verifier, Verifier)
    handstamp_clock.advance(seconds=0.5)
    assert_type(handstamp_clock(), int)
    with handstamp_issuer.outage():
        ada.sign_out()
    with LocalIssuer(clock=handstamp_clock) as issuer:
        assert_type(issuer, LocalIssuer)


def check_mistakes(handstamp_issuer: LocalIssuer, handstamp_clock: VirtualClock) -> None:
    """Each line is wrong. An ignore that is not needed fails the check."""
    LocalIssuer("https://auth.example.com")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    handstamp_issuer.signed_in(role="clerk")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    handstamp_issuer.signed_in(claims=["tenant"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    handstamp_issuer.signed_in().headers()  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
    handstamp_clock.advance(60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
