"""The one table from errors to what goes out: status, title and headers (RFC 9457, RFC 6750 §3)."""

from __future__ import annotations

from typing import cast

import structlog
from starlette.responses import Response

from ..crypto.identifiers import new_id
from ..domain.session import EndReason
from ..errors import (
    AccountExists,
    CrossSite,
    ExpiredToken,
    HandstampError,
    InsufficientScope,
    InvalidCredentials,
    InvalidFields,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    NotFound,
    RequestTooLarge,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
    UnsupportedMediaType,
)
from .messages import FieldProblem, Problem
from .transport import write_json

MEDIA_TYPE = "application/problem+json"
TABLE: dict[type[HandstampError], tuple[int, str]] = {
    InvalidRequest: (400, "The request cannot be understood"),
    InvalidFields: (422, "Some fields are wrong"),
    RequestTooLarge: (413, "The request is too large"),
    UnsupportedMediaType: (415, "This media type is not read here"),
    MissingToken: (401, "No token was sent"),
    InvalidToken: (401, "The token is not valid"),
    ExpiredToken: (401, "The access token is over"),
    SessionEnded: (401, "The session has ended"),
    InvalidCredentials: (401, "Not signed in"),
    InsufficientScope: (403, "Not allowed"),
    CrossSite: (403, "Refused: another site's page asked"),
    NotFound: (404, "Not found"),
    AccountExists: (409, "The account exists"),
    TooManyAttempts: (429, "Too many attempts"),
    Unavailable: (503, "Not available right now"),
    HandstampError: (500, "Something went wrong on our side"),
}
REASONS = {
    "logout": "You signed out.",
    "logout_everywhere": "You signed out everywhere.",
    "reuse": "You were signed out because an old copy of your key was used. If that was not you, change your password.",
    "idle": "You were signed out because you had not been here for a long time.",
    "expired": "You were signed out because this sign-in has reached its end.",
    "password_changed": "You were signed out because your password was changed.",
    "disabled": "You were signed out because the account was disabled.",
    "admin": "You were signed out by the people who run this service.",
}
_log = structlog.get_logger("handstamp.web")


class MethodNotAllowed(InvalidRequest):
    """The path is right and the method is not: the edge's own, since only HTTP has methods."""


TABLE[MethodNotAllowed] = (405, "Not with this method")


def status_of(error: type[HandstampError]) -> int:
    """Return the status that an error goes out with."""
    return next(TABLE[kind][0] for kind in error.__mro__ if kind in TABLE)


def write_problem(error: HandstampError) -> Response:
    """Return an error as the client may see it. What only the log may see goes there, under the same request id."""
    instance = new_id()
    status, title = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    if isinstance(error, InvalidToken | Unavailable) or status >= 500:
        level = _log.warning if status >= 500 else _log.info
        level("request_failed", code=error.code, why=getattr(error, "why", ""), instance=instance)
    problem = Problem(
        type=f"urn:handstamp:problem:{error.code}",
        title=title,
        status=status,
        detail=REASONS.get(error.reason, str(error)) if isinstance(error, SessionEnded) else str(error),
        instance=f"urn:handstamp:request:{instance}",
        code=error.code,
        reason=cast("EndReason", error.reason) if isinstance(error, SessionEnded) else None,
        fields=tuple(FieldProblem(name=name, problem=text) for name, text in error.fields)
        if isinstance(error, InvalidFields)
        else (),
    )
    response = write_json(problem, status, MEDIA_TYPE)
    challenge = _challenge(error)
    if challenge is not None:
        response.headers["www-authenticate"] = challenge
    if isinstance(error, TooManyAttempts | Unavailable):
        response.headers["retry-after"] = str(error.retry_after_s)
    return response


def _challenge(error: HandstampError) -> str | None:
    match error:
        case MissingToken() | InvalidCredentials():
            return "Bearer"  # RFC 6750 §3.1: no error code where no token was sent
        case InvalidToken() | ExpiredToken() | SessionEnded():
            return f'Bearer error="invalid_token", error_description="{error.code}"'
        case InsufficientScope():
            return 'Bearer error="insufficient_scope"'
        case _:
            return None
