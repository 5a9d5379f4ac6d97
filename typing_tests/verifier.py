"""`handstamp.Verifier`: what applications write, and the mistakes that a type checker reports."""

from typing import Any, assert_type

import handstamp
from handstamp import AccessClaims, KeySet, Verifier, VerifierStatus

ISSUER = "https://auth.example.com"
AUDIENCE = "https://api.example.com"


def check_correct_use(keys: KeySet) -> None:
    """Use every method once."""
    Verifier(ISSUER, audience=(AUDIENCE, "https://other.example.com"), keys=lambda: keys, check="offline")
    with Verifier(ISSUER, audience=AUDIENCE, credential="id:secret", max_staleness_s=12.5) as verifier:
        assert_type(verifier, Verifier)
        claims = verifier.verify("token", check="live")
        assert_type(claims, AccessClaims)
        assert_type(claims.sub, str)
        assert_type(claims.roles, tuple[str, ...])
        assert_type(claims.extra, dict[str, Any])
        assert_type(verifier.status(), VerifierStatus)
        assert_type(verifier.audience, tuple[str, ...])
        assert_type(verifier.wait_until_ready(1), bool)


async def check_correct_async_use(verifier: Verifier) -> None:
    """Use the methods for coroutines."""
    claims = await verifier.verify_async("token")
    assert_type(claims, AccessClaims)
    await verifier.confirm(claims)


async def check_mistakes(verifier: Verifier, claims: AccessClaims) -> None:
    """Each line is wrong. An ignore that is not needed fails the check."""
    handstamp.Verifiers  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
    Verifier(ISSUER)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Verifier(ISSUER, AUDIENCE)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Verifier(ISSUER, audience=AUDIENCE, check="sometimes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Verifier(ISSUER, audience=AUDIENCE, credential=("id", "secret"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    verifier.verify(b"token")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    verifier.verify_async("token").sub  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
    await verifier.verify("token")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    claims.subject  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
    claims.sub = "bob"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
