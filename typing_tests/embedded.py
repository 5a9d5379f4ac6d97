"""`handstamp.embedded.Handstamp`: what applications write, and the mistakes that a type checker reports."""

from typing import assert_type

from fastapi import FastAPI
from starlette.responses import Response

from handstamp import AccessClaims, HandstampError
from handstamp.embedded import Handstamp, Session, TokenPair

auth = Handstamp(database="sqlite:///app.db", issuer="https://app.example.com/auth")
app = FastAPI(lifespan=auth.lifespan)
app.mount("/auth", auth.asgi)


async def check_correct_use() -> None:
    """Use every method once."""
    async with Handstamp(issuer="https://app.example.com/auth", clock=lambda: 0) as started:
        assert_type(started, Handstamp)
    pair = await auth.sessions.start("ada", claims={"tenant": 7}, roles=["clerk"], delivery="cookie", amr=("pwd", "otp"))
    assert_type(pair, TokenPair)
    assert_type(await auth.sessions.refresh("token", delivery="json"), TokenPair)
    assert_type(await auth.sessions.end("session"), bool)
    assert_type(await auth.sessions.end_all("ada"), int)
    assert_type(await auth.sessions.of("ada"), list[Session])
    assert_type(await auth.verifier.verify_async("token"), AccessClaims)
    assert_type(auth.answer(pair), Response)
    assert_type(auth.answer(HandstampError("refused")), Response)


async def check_mistakes() -> None:
    """Each line is wrong. An ignore that is not needed fails the check."""
    Handstamp(clock=0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Handstamp(claims="tenant")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    auth.answer("ada")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await auth.sessions.start(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await auth.sessions.start("ada", delivery="header")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await auth.sessions.start("ada", claims=["tenant"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await auth.sessions.begin("ada")  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
    auth.answer(auth.sessions.start("ada"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
