"""`POST /login/code` and `POST /login/code/confirm`: people sign in with a link or a code that comes by mail."""

from __future__ import annotations

from starlette.responses import Response

from ...errors import CrossSite, InvalidCode, InvalidCredentials, NotFound
from ..body import require_body
from ..edge import Call
from ..operation import BODY_ERRORS, Operation, UseCases
from ..repeatable import read_repeatable
from .mailed import ConfirmRequest, MailAnswer, browser_of, read_shown, write_mail_sent
from .shapes import Email, How, RequestShape, Token
from .tokens import TokenAnswer, choose_delivery, write_signed_in


class LoginCodeRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Ask for a mail with which to sign in. `refreshToken` is that of `/login`: mails to known devices are limited apart."""

    email: Email
    refresh_token: Token | None = None


class LoginCodeConfirmRequest(ConfirmRequest, frozen=True, kw_only=True, rename="camel"):
    """Sign in with the link or the code of the mail. `delivery` says how the session's tokens travel, as for `/login`."""

    delivery: How | None = None


async def login_code(use: UseCases, call: Call, body: LoginCodeRequest | None) -> Response:
    """Send a link and a code, if the address has an account. Raises `NotFound` if signing in by mail is off."""
    use.require_sign_in_by_code()
    body, browser = require_body(body), browser_of(call)
    email = await use.code_sign_in.ask(
        body.email, call.caller, browser=browser, earlier=call.earlier_sign_ins(body.refresh_token)
    )
    return write_mail_sent(call, email, browser)


async def login_code_confirm(use: UseCases, call: Call, body: LoginCodeConfirmRequest | None) -> Response:
    """Sign in, always with a new session, as `/login` does. Raises `NotFound` if signing in by mail is off."""
    use.require_sign_in_by_code()
    body = require_body(body)
    presented, delivery = call.tokens_in_cookies(), choose_delivery(body.delivery, call)
    request = read_repeatable(call, "login/code", body.token or "", body.code or "", delivery)
    pair = await use.code_sign_in(
        read_shown(call, body),
        delivery=delivery,
        caller=call.caller_with_browser(body.ticket),
        presented=presented,
        request=request,
    )
    return write_signed_in(use, call, pair, presented)


OPERATIONS = (
    Operation(
        method="POST",
        path="/login/code",
        run=login_code,
        summary="Ask for a mail with which to sign in",
        body=LoginCodeRequest,
        answer=MailAnswer,
        status=202,
        errors=(*BODY_ERRORS, CrossSite, NotFound),
        signs_in=True,
    ),
    Operation(
        method="POST",
        path="/login/code/confirm",
        run=login_code_confirm,
        summary="Sign in with the link or the code of the mail",
        body=LoginCodeConfirmRequest,
        answer=TokenAnswer,
        errors=(*BODY_ERRORS, InvalidCode, InvalidCredentials, CrossSite, NotFound),
        signs_in=True,
        is_repeatable=True,
    ),
)
