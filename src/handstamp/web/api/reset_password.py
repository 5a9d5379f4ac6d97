"""`POST /password/reset` and `POST /password/reset/confirm`: people who have forgotten the password choose a new one."""

from __future__ import annotations

from starlette.responses import Response

from ...errors import CrossSite, InvalidCode, NotFound
from ..answers import write_nothing
from ..body import require_body
from ..edge import Call
from ..operation import BODY_ERRORS, Operation, UseCases
from .mailed import ConfirmRequest, MailAnswer, browser_of, read_shown, write_mail_sent
from .shapes import Email, NewPassword, RequestShape, Token


class ResetRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Ask for a mail with which to choose a new password. `refreshToken` is that of `/login`: known devices are limited apart."""

    email: Email
    refresh_token: Token | None = None


class ResetConfirmRequest(ConfirmRequest, frozen=True, kw_only=True, rename="camel"):
    """Choose a new password with the link or the code of the mail."""

    new_password: NewPassword


async def reset_password(use: UseCases, call: Call, body: ResetRequest | None) -> Response:
    """Send a link and a code, if the address has an account. Raises `NotFound` if this service sends no mail."""
    use.require_mail()
    body, browser = require_body(body), browser_of(call)
    earlier = call.earlier_sign_ins(body.refresh_token)
    email = await use.reset_password.ask(body.email, call.caller, browser=browser, earlier=earlier)
    return write_mail_sent(call, email, browser)


async def reset_password_confirm(use: UseCases, call: Call, body: ResetConfirmRequest | None) -> Response:
    """Set the new password and end all sessions. This does not sign in."""
    use.require_mail()
    body = require_body(body)
    await use.reset_password.confirm(read_shown(call, body), body.new_password, call.caller)
    return write_nothing()


OPERATIONS = (
    Operation(
        method="POST",
        path="/password/reset",
        run=reset_password,
        summary="Ask for a mail with which to choose a new password",
        body=ResetRequest,
        answer=MailAnswer,
        status=202,
        errors=(*BODY_ERRORS, CrossSite, NotFound),
        signs_in=True,
    ),
    Operation(
        method="POST",
        path="/password/reset/confirm",
        run=reset_password_confirm,
        summary="Choose a new password with the link or the code of the mail; every session ends",
        body=ResetConfirmRequest,
        status=204,
        errors=(*BODY_ERRORS, InvalidCode, CrossSite, NotFound),
        signs_in=True,
    ),
)
