"""`POST /password`: people change their password."""

from __future__ import annotations

from starlette.responses import Response

from ...errors import CrossSite, InvalidCredentials, NotFound, TooManyAttempts
from ..body import require_body
from ..edge import Call
from ..operation import ACCESS_ERRORS, BODY_ERRORS, Operation, UseCases
from .shapes import NewPassword, Password, RequestShape
from .tokens import TokenAnswer, write_pair


class PasswordRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Change the password."""

    current_password: Password
    new_password: NewPassword


async def change_password(use: UseCases, call: Call, body: PasswordRequest | None) -> Response:
    """Change the password. Every session ends, and this one is replaced by a new one."""
    session, _account = await use.require_session(call)
    body = require_body(body)
    pair = await use.change_password(session, body.current_password, body.new_password, call.caller)
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
        errors=(*BODY_ERRORS, *ACCESS_ERRORS, InvalidCredentials, CrossSite, NotFound, TooManyAttempts),
        credential="access",
    ),
)
