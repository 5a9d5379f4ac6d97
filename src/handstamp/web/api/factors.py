"""`/factors`, `/totp`, `/recovery-codes`: a person's second factors."""

from __future__ import annotations

from typing import Annotated

from starlette.responses import Response

from ...errors import (
    AccountExists,
    CrossSite,
    FactorRequired,
    InsufficientAuthentication,
    InvalidChallenge,
    InvalidCode,
    NotFound,
)
from ...service.accounts.factor_changes import Holder, hold_session
from ...service.parts.one_time import Shown
from ..answers import write_json, write_nothing
from ..body import require_body
from ..edge import Call
from ..operation import ACCESS_ERRORS, BODY_ERRORS, Operation, UseCases
from ..qr import draw_qr
from ..repeatable import read_repeatable
from .second_factor import Code
from .shapes import AnswerShape, Challenge, RequestShape, Ticket, Time, described, utc


class TotpState(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The authenticator app: when it was added, and when its last code was used."""

    created_at: Time
    used_at: Time


class FactorsAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """How the person signs in."""

    has_password: bool
    totp: Annotated[TotpState, described("The authenticator app")] | None
    passkeys: Annotated[int, described("How many passkeys there are")]
    recovery_codes: Annotated[int, described("How many recovery codes are left")]
    required: Annotated[bool, described("Whether the account must have a second factor")]


class EnrolRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Begin. While a sign-in waits for a factor to be added, its `challenge` takes the place of the access token."""

    challenge: Challenge | None = None
    ticket: Ticket | None = None


class TotpAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A new authenticator app, which is not added before its first code confirms it."""

    enrolment: Annotated[str, described("To be sent back with the first code")]
    secret: Annotated[str, described("For people who cannot scan: base32, in groups")]
    uri: Annotated[str, described("What the QR code holds (otpauth)")]
    qr: Annotated[str, described("The QR code as SVG")]

    def __repr__(self) -> str:
        """Return a text without the secret."""
        return "TotpAnswer(****)"


class TotpConfirmRequest(EnrolRequest, frozen=True, kw_only=True, rename="camel"):
    """Add the app with its first code."""

    enrolment: Annotated[str, described("What `POST /totp` has answered", max_length=512)]
    code: Code


class UndoFactorRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Undo what the person has not added, with the link of the mail that told of it."""

    token: Annotated[str, described("The `token` of the link's query", max_length=64)]


class CodesAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """Recovery codes, which cannot be read again; none if there are enough already."""

    recovery_codes: tuple[str, ...]

    def __repr__(self) -> str:
        """Return a text without the codes."""
        return "CodesAnswer(****)"


async def factors(use: UseCases, call: Call, _: None) -> Response:
    """Return the factors of the person."""
    account = (await use.require_session(call))[1]
    found = await use.list_factors(account)
    app = found.totp
    return write_json(
        FactorsAnswer(
            has_password=found.has_password,
            totp=None if app is None else TotpState(created_at=utc(app.created_at_ms), used_at=utc(app.used_at_ms)),
            passkeys=found.factors.passkeys,
            recovery_codes=found.factors.recovery_codes,
            required=found.is_required,
        )
    )


async def begin_totp(use: UseCases, call: Call, body: EnrolRequest | None) -> Response:
    """Make the secret of a new app. Nothing changes before it is confirmed."""
    holder = await hold(use, call, body)
    enrolment = await use.authenticator_app.begin(holder, call.caller)
    return write_json(
        TotpAnswer(
            enrolment=enrolment.sealed, secret=enrolment.secret, uri=enrolment.uri, qr=await draw_qr(enrolment.uri, title="")
        )
    )


async def confirm_totp(use: UseCases, call: Call, body: TotpConfirmRequest | None) -> Response:
    """Add the app, in place of the one before. The first factor brings ten recovery codes."""
    body = require_body(body)
    holder = await hold(use, call, body)
    request = read_repeatable(call, "totp/confirm", body.enrolment, body.code)
    codes = await use.authenticator_app.confirm(holder, body.enrolment, body.code, call.caller, request=request)
    return write_json(CodesAnswer(recovery_codes=tuple(codes)))


async def remove_totp(use: UseCases, call: Call, _: None) -> Response:
    """Remove the app. With the last factor the recovery codes go."""
    await use.authenticator_app.remove(await hold(use, call, None), call.caller)
    return write_nothing()


async def make_recovery_codes(use: UseCases, call: Call, _: None) -> Response:
    """Make ten new codes, which replace all others."""
    holder = await hold(use, call, None)
    codes = await use.replace_recovery_codes(holder, call.caller, request=read_repeatable(call, "recovery-codes"))
    return write_json(CodesAnswer(recovery_codes=tuple(codes)))


async def hold(use: UseCases, call: Call, body: EnrolRequest | None) -> Holder:
    """Return who changes the factors: the session of the access token, or the sign-in of a challenge.

    Raises:
        InsufficientAuthentication: If the proof of the session is too old.
        InvalidChallenge: If the challenge is not accepted.
        MissingToken: If there is neither.
    """
    if body is not None and body.challenge is not None:
        return await use.second_factor.hold(body.challenge, call.caller_with_browser(body.ticket))
    session, account = await use.require_session(call)
    return hold_session(session, account, call.caller)


_CHANGES = (*ACCESS_ERRORS, InsufficientAuthentication, InvalidChallenge, CrossSite, NotFound)


async def undo_factor(use: UseCases, call: Call, body: UndoFactorRequest | None) -> Response:
    """Remove what the person has not added, and all that came with it. The address gets a mail for a new password."""
    use.require_mail()
    await use.undo("undo_factor", Shown(token=require_body(body).token), call.caller)
    return write_nothing()


OPERATIONS = (
    Operation(
        method="GET",
        path="/factors",
        run=factors,
        summary="How the person signs in",
        answer=FactorsAnswer,
        errors=(*ACCESS_ERRORS, NotFound),
        credential="access",
    ),
    Operation(
        method="POST",
        path="/factors/undo",
        run=undo_factor,
        summary="Remove a first way to sign in that the person has not added; every session ends",
        body=UndoFactorRequest,
        status=204,
        errors=(*BODY_ERRORS, InvalidCode, AccountExists, CrossSite, NotFound),
        signs_in=True,
    ),
    Operation(
        method="POST",
        path="/totp",
        run=begin_totp,
        summary="Begin to add an authenticator app",
        body=EnrolRequest,
        body_required=False,
        answer=TotpAnswer,
        errors=(*BODY_ERRORS, *_CHANGES),
        credential="access",
    ),
    Operation(
        method="POST",
        path="/totp/confirm",
        run=confirm_totp,
        summary="Add the authenticator app with its first code",
        body=TotpConfirmRequest,
        answer=CodesAnswer,
        errors=(*BODY_ERRORS, *_CHANGES, InvalidCode),
        credential="access",
        is_repeatable=True,
    ),
    Operation(
        method="DELETE",
        path="/totp",
        run=remove_totp,
        summary="Remove the authenticator app",
        status=204,
        errors=(*_CHANGES, FactorRequired),
        credential="access",
    ),
    Operation(
        method="POST",
        path="/recovery-codes",
        run=make_recovery_codes,
        summary="Get ten new recovery codes",
        answer=CodesAnswer,
        errors=_CHANGES,
        credential="access",
        is_repeatable=True,
    ),
)
