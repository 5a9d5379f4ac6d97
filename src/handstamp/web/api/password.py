"""`POST /password`: people change their password."""

from __future__ import annotations

from starlette.responses import Response

from ...errors import CrossSite, ExpiredToken, InsufficientAuthentication, InvalidCredentials, NotFound, SessionEnded
from ..body import require_body
from ..edge import Call
from ..operation import ACCESS_ERRORS, BODY_ERRORS, Operation, UseCases
from ..repeatable import read_repeatable
from .shapes import NewPassword, Password, RequestShape
from .tokens import TokenAnswer, write_pair


class PasswordRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Change the password. An account that has none gets its first one without `currentPassword`, after a fresh sign-in."""

    new_password: NewPassword
    current_password: Password = ""


async def change_password(use: UseCases, call: Call, body: PasswordRequest | None) -> Response:
    """Change the password. Every session ends, and this one is replaced by a new one.

    The same request, sent again, comes with a token of the session that has just ended, and gets the new session again.
    """
    request = None if body is None else read_repeatable(call, "password", body.current_password, body.new_password)
    try:
        session, account = await use.require_session(call)
    except (SessionEnded, ExpiredToken):
        pair = await use.change_password.repeat(call.access_token(), request, call.caller)
        if pair is None:
            raise
    else:
        body = require_body(body)
        pair = await use.change_password(
            session, account, body.current_password, body.new_password, call.caller_with_browser(), request=request
        )
    response = write_pair(pair, call.cookies)
    use.remember_device(response, call, pair)
    return response


OPERATIONS = (
    Operation(
        method="POST",
        path="/password",
        run=change_password,
        summary="Change the password; every other session ends, this one is replaced",
        body=PasswordRequest,
        answer=TokenAnswer,
        errors=(*BODY_ERRORS, *ACCESS_ERRORS, InvalidCredentials, InsufficientAuthentication, CrossSite, NotFound),
        credential="access",
        is_repeatable=True,
    ),
)
