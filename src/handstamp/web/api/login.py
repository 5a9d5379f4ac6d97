"""`POST /login`: people sign in with address and password."""

from __future__ import annotations

from starlette.responses import Response

from ...errors import CrossSite, EmailNotVerified, InvalidCredentials
from ..body import require_body
from ..edge import Call
from ..operation import BODY_ERRORS, Operation, UseCases
from ..repeatable import read_repeatable
from .shapes import Email, How, Password, RequestShape, Token
from .tokens import TokenAnswer, choose_delivery, write_signed_in


class LoginRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Sign in. `delivery` says how the session's tokens travel; the default is `split` for browsers and `json` for others.

    A client that keeps its tokens sends its last `refreshToken`, even an expired one, or an access token as `Authorization:
    Bearer`. The failed sign-ins of other people then do not delay it. That session neither ends nor goes on.
    """

    email: Email
    password: Password
    delivery: How | None = None
    refresh_token: Token | None = None


async def login(use: UseCases, call: Call, body: LoginRequest | None) -> Response:
    """Sign in, always with a new session. A session whose cookies came along is ended, so its cookies are replaced or deleted."""
    body = require_body(body)
    presented = call.tokens_in_cookies()
    delivery = choose_delivery(body.delivery, call)
    request = read_repeatable(call, "login", body.email, body.password, delivery)
    pair = await use.sign_in(
        body.email,
        body.password,
        delivery=delivery,
        caller=call.caller_with_browser(),
        presented=presented,
        earlier=call.earlier_sign_ins(body.refresh_token),
        request=request,
    )
    return write_signed_in(use, call, pair, presented)


OPERATIONS = (
    Operation(
        method="POST",
        path="/login",
        run=login,
        summary="Sign in",
        body=LoginRequest,
        answer=TokenAnswer,
        errors=(*BODY_ERRORS, InvalidCredentials, EmailNotVerified, CrossSite),
        signs_in=True,
        is_repeatable=True,
    ),
)
