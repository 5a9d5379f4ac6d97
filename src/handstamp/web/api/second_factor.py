"""`POST /login/second-factor` and `POST /login/step-up`: the second step of a sign-in, and a new proof in a session."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from ...errors import (
    CrossSite,
    InsufficientAuthentication,
    InvalidChallenge,
    InvalidCode,
    InvalidCredentials,
    NotFound,
)
from ...service.parts.factor_proof import GivenFactor
from ..answers import write_json
from ..body import require_body
from ..edge import Call
from ..operation import ACCESS_ERRORS, BODY_ERRORS, Operation, UseCases
from ..repeatable import read_repeatable
from .shapes import AnswerShape, Challenge, Password, RequestShape, Ticket, Time, Token, described, utc
from .tokens import TokenAnswer, write_signed_in

Code = Annotated[str, described("Six digits of the authenticator app", max_length=32, examples=["123456"])]
RecoveryCode = Annotated[str, described("One of the person's recovery codes", max_length=96)]
Passkey = Annotated[
    dict[str, Any], described("What `navigator.credentials.get` returned, as its `toJSON()` (Web Authentication Level 3 §5.1.8)")
]


class FactorAnswer(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """A second factor: `code`, `recoveryCode`, or `passkey` with the `passkeyChallenge` that it answers."""

    code: Code | None = None
    recovery_code: RecoveryCode | None = None
    passkey: Passkey | None = None
    passkey_challenge: Challenge | None = None
    ticket: Ticket | None = None

    def read(self) -> GivenFactor:
        """Return what was answered."""
        return GivenFactor(
            code=self.code or "",
            recovery_code=self.recovery_code or "",
            passkey="" if self.passkey is None else msgspec.json.encode(self.passkey).decode(),
            challenge=self.passkey_challenge or "",
        )


class SecondFactorRequest(FactorAnswer, frozen=True, kw_only=True, rename="camel"):
    """Complete a sign-in. Without a factor if one was added during this sign-in, which counts as its proof.

    `refreshToken` is that of `/login`. `delivery` was chosen in the first step.
    """

    challenge: Challenge
    refresh_token: Token | None = None


class StepUpRequest(FactorAnswer, frozen=True, kw_only=True, rename="camel"):
    """Prove again who one is: with a second factor, or with the password if the account has none."""

    password: Password | None = None


class StepUpAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The new proof of the session. Its tokens carry it from the next refresh on."""

    acr: Annotated[str, described("How strongly the person has proved who they are: `pwd`, `mfa` or `phr`")]
    amr: Annotated[tuple[str, ...], described("With which methods (RFC 8176)")]
    auth_time: Time


async def second_factor(use: UseCases, call: Call, body: SecondFactorRequest | None) -> Response:
    """Complete a sign-in, always with a new session, as `/login` does."""
    body = require_body(body)
    presented, answer = call.tokens_in_cookies(), body.read()
    content = (body.challenge, answer.code, answer.recovery_code, answer.passkey)
    pair = await use.second_factor(
        body.challenge,
        answer,
        call.caller_with_browser(body.ticket),
        presented=presented,
        earlier=call.earlier_sign_ins(body.refresh_token),
        request=read_repeatable(call, "login/second-factor", *content),
    )
    return write_signed_in(use, call, pair, presented)


async def step_up(use: UseCases, call: Call, body: StepUpRequest | None) -> Response:
    """Renew the proof of the session. Its id, its tokens and its end stay."""
    session, account = await use.require_session(call)
    body = require_body(body)
    answer = body.read()
    after = await use.step_up(
        session,
        account,
        call.caller_with_browser(body.ticket),
        password=body.password or "",
        answer=None if answer == GivenFactor() else answer,
    )
    return write_json(StepUpAnswer(acr=after.acr or "", amr=after.amr, auth_time=utc(after.authenticated_at_ms)))


OPERATIONS = (
    Operation(
        method="POST",
        path="/login/second-factor",
        run=second_factor,
        summary="Complete a sign-in with a second factor",
        body=SecondFactorRequest,
        answer=TokenAnswer,
        errors=(*BODY_ERRORS, InvalidChallenge, InvalidCode, InvalidCredentials, CrossSite),
        signs_in=True,
        is_repeatable=True,
    ),
    Operation(
        method="POST",
        path="/login/step-up",
        run=step_up,
        summary="Prove again who you are, in the same session",
        body=StepUpRequest,
        answer=StepUpAnswer,
        errors=(
            *BODY_ERRORS,
            *ACCESS_ERRORS,
            InvalidCredentials,
            InvalidChallenge,
            InvalidCode,
            InsufficientAuthentication,
            CrossSite,
            NotFound,
        ),
        credential="access",
    ),
)
