"""`POST /email/verify` and `POST /email/verify/confirm`: people show that they read the mail of their address."""

from __future__ import annotations

from starlette.responses import Response

from ...errors import CrossSite, InvalidCode, InvalidCredentials, InvalidFields, NotFound
from ...text import mark
from ..answers import write_json
from ..body import require_body
from ..edge import Call
from ..operation import ACCESS_ERRORS, BODY_ERRORS, Operation, UseCases
from .mailed import ConfirmRequest, MailAnswer, browser_of, read_shown, write_mail_sent
from .shapes import AnswerShape, Email, Password, RequestShape


class VerifyRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Ask for the mail again. Without an access token, by a person who cannot sign in yet: with address and password."""

    email: Email | None = None
    password: Password | None = None


class VerifyConfirmRequest(ConfirmRequest, frozen=True, kw_only=True, rename="camel"):
    """Verify the address with the link or the code of the mail."""


class VerifyAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """The address is verified. This does not sign in."""

    email: str
    email_verified: bool


async def email_verify(use: UseCases, call: Call, body: VerifyRequest | None) -> Response:
    """Send the mail that verifies an address. Raises `NotFound` if this service sends no mail."""
    use.require_mail()
    browser = browser_of(call)
    if body is None or (body.email is None and body.password is None):
        session, _ = await use.require_session(call)
        email = await use.verify_address.ask(session.subject, call.caller, browser=browser, device=session.id)
    elif body.email is None or body.password is None:
        raise InvalidFields(
            [("password" if body.password is None else "email", mark("is needed: send both, or an access token"))]
        )
    else:
        earlier = call.earlier_sign_ins()
        email = await use.verify_address.ask_with_password(
            body.email, body.password, call.caller, browser=browser, earlier=earlier
        )
    return write_mail_sent(call, email, browser)


async def email_verify_confirm(use: UseCases, call: Call, body: VerifyConfirmRequest | None) -> Response:
    """Mark the address as verified. Raises `NotFound` if this service sends no mail."""
    use.require_mail()
    account = await use.verify_address.confirm(read_shown(call, require_body(body)), call.caller)
    return write_json(VerifyAnswer(email=account.email, email_verified=account.email_verified))


OPERATIONS = (
    Operation(
        method="POST",
        path="/email/verify",
        run=email_verify,
        summary="Ask for a mail that verifies the address",
        body=VerifyRequest,
        body_required=False,
        answer=MailAnswer,
        status=202,
        errors=(*BODY_ERRORS, *ACCESS_ERRORS, InvalidCredentials, CrossSite, NotFound),
        credential="access",
        signs_in=True,
    ),
    Operation(
        method="POST",
        path="/email/verify/confirm",
        run=email_verify_confirm,
        summary="Verify the address with the link or the code of the mail",
        body=VerifyConfirmRequest,
        answer=VerifyAnswer,
        errors=(*BODY_ERRORS, InvalidCode, CrossSite, NotFound),
        signs_in=True,
    ),
)
