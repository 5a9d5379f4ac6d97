"""`POST /login`: people sign in with address and password."""

from __future__ import annotations

from starlette.responses import Response

from ...errors import CrossSite, InvalidCredentials, TooManyAttempts
from ...wire.cross_site import is_from_browser
from ..body import require_body
from ..cookies import clear_cookies
from ..edge import Call
from ..operation import BODY_ERRORS, Operation, UseCases
from .shapes import Email, How, Password, RequestShape
from .tokens import TokenAnswer, write_pair


class LoginRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Sign in. `delivery` says how the session's tokens travel; the default is `split` for browsers and `json` for others."""

    email: Email
    password: Password
    delivery: How | None = None


async def login(use: UseCases, call: Call, body: LoginRequest | None) -> Response:
    """Sign in, always with a new session. A session whose cookies came along is ended, so its cookies are replaced or deleted."""
    body = require_body(body)
    presented = call.tokens_in_cookies()
    pair = await use.sign_in(
        body.email,
        body.password,
        delivery=body.delivery or ("split" if is_from_browser(call.headers.getlist) else "json"),
        caller=call.caller,
        presented=presented,
    )
    response = write_pair(pair, call.cookies)
    return clear_cookies(response, call.cookies, but_for=pair) if presented else response


OPERATIONS = (
    Operation(
        method="POST",
        path="/login",
        run=login,
        summary="Sign in",
        body=LoginRequest,
        answer=TokenAnswer,
        errors=(*BODY_ERRORS, InvalidCredentials, CrossSite, TooManyAttempts),
        signs_in=True,
    ),
)
