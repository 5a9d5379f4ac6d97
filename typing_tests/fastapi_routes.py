"""`handstamp.verify.fastapi.Require`: what applications write, and the mistakes that a type checker reports."""

from collections.abc import Awaitable, Callable
from typing import Annotated, assert_type

from fastapi import Depends, FastAPI

from handstamp import AccessClaims, Verifier
from handstamp.embedded import Handstamp
from handstamp.verify.fastapi import Require

verifier = Verifier("https://auth.example.com", audience="https://api.example.com", check="offline")
require = Require(verifier, trusted_origins=["https://app.example.com"])
app = FastAPI(dependencies=[Depends(require())])


@app.get("/orders")
async def orders(claims: Annotated[AccessClaims, Depends(require(scope="orders:read", role="clerk", check="offline"))]) -> str:
    """Return the subject."""
    return claims.sub


def check_correct_use(auth: Handstamp) -> None:
    """The embedded verifier fits too, and the dependency returns claims."""
    assert_type(Require(auth.verifier)(scope="orders:read"), Callable[..., Awaitable[AccessClaims]])


def check_mistakes() -> None:
    """Each line is wrong. An ignore that is not needed fails the check."""
    Require("https://auth.example.com")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    require("orders:read")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    require(scopes="orders:read")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    require(scope=["orders:read"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    require(check="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
