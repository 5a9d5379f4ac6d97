"""`POST /logout` and `POST /logout-everywhere`: people end this session, or all of theirs."""

from __future__ import annotations

from starlette.responses import Response

from ...errors import CrossSite, SessionEnded
from ..answers import write_nothing
from ..cookies import clear_cookies, clear_ended
from ..edge import Call
from ..operation import ACCESS_ERRORS, BODY_ERRORS, Operation, UseCases
from .shapes import RequestShape, Token


class LogoutRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """Any token of the session, valid, expired or already rotated."""

    refresh_token: Token | None = None
    access_token: Token | None = None


async def logout(use: UseCases, call: Call, body: LogoutRequest | None) -> Response:
    """End the session of every token that came. Answers 204 even without any."""
    tokens = call.all_tokens(body.refresh_token, body.access_token) if body else call.all_tokens()
    await use.sign_out.end_by_tokens(tokens, call.ending_caller)
    return clear_cookies(write_nothing(), call.cookies, bound=call.bound_cookie)


async def logout_everywhere(use: UseCases, call: Call, _: None) -> Response:
    """End every session of this person. Answers 204 again if that is how this session ended."""
    try:
        session, _account = await use.require_session(call)
    except SessionEnded as ended:
        if ended.reason != "logout_everywhere":
            raise
        return clear_ended(write_nothing(), call.cookies, call.identified_by, bound=call.bound_cookie)
    await use.sign_out.end_all(session.subject, call.caller)
    return (
        write_nothing() if session.delivery == "json" else clear_cookies(write_nothing(), call.cookies, bound=call.bound_cookie)
    )


OPERATIONS = (
    Operation(
        method="POST",
        path="/logout",
        run=logout,
        summary="Sign out with any token of the session, or with none",
        body=LogoutRequest,
        body_required=False,
        status=204,
        errors=(*BODY_ERRORS, CrossSite),
        credential="any",
        runs_without_body=True,
        budget="sign_outs",
    ),
    Operation(
        method="POST",
        path="/logout-everywhere",
        run=logout_everywhere,
        summary="End every session of this person",
        status=204,
        errors=(*ACCESS_ERRORS, CrossSite),
        credential="access",
    ),
)
