"""`handstamp.verify.drf`: what applications write, and the mistakes that a type checker reports."""

from typing import assert_type

from handstamp import AccessClaims
from handstamp.verify.drf import HandstampPermission, Principal, require


def check_correct_use(principal: Principal) -> None:
    """Use what views use."""
    assert_type(require(scope="orders:read", role="clerk", check="feed"), type[HandstampPermission])
    assert_type(principal.claims, AccessClaims)
    assert_type(principal.pk, str)


def check_mistakes() -> None:
    """Each line is wrong. An ignore that is not needed fails the check."""
    require("orders:read")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    require(role=["clerk"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
