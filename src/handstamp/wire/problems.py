"""The one table from errors to HTTP answers (RFC 9457, RFC 6750 §3), for the service and for verifiers."""

from __future__ import annotations

from typing import Annotated, NamedTuple, cast

import msgspec

from ..domain.reasons import EndReason, sentence_of
from ..errors import (
    AccountExists,
    CrossSite,
    ExpiredToken,
    HandstampError,
    InsufficientAuthentication,
    InsufficientScope,
    InvalidClient,
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

MEDIA_TYPE = "application/problem+json"


class MethodNotAllowed(InvalidRequest):
    """The path exists and does not allow this method."""


TABLE: dict[type[HandstampError], tuple[int, str]] = {
    InvalidRequest: (400, "The request cannot be understood"),
    InvalidFields: (422, "Some fields are wrong"),
    RequestTooLarge: (413, "The request is too large"),
    MethodNotAllowed: (405, "Method not allowed"),
    UnsupportedMediaType: (415, "Unsupported media type"),
    MissingToken: (401, "No token was sent"),
    InvalidToken: (401, "The token is not valid"),
    ExpiredToken: (401, "The access token has expired"),
    SessionEnded: (401, "The session has ended"),
    InvalidCredentials: (401, "Not signed in"),
    InvalidClient: (401, "The service is not authenticated"),
    InsufficientScope: (403, "Not allowed"),
    InsufficientAuthentication: (401, "Prove again who you are"),
    CrossSite: (403, "The request came from another site's page"),
    NotFound: (404, "Not found"),
    AccountExists: (409, "The account exists already"),
    TooManyAttempts: (429, "Too many attempts"),
    Unavailable: (503, "Not available right now"),
    HandstampError: (500, "Something went wrong on our side"),
}


class FieldProblem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one field."""

    name: str
    problem: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error (RFC 9457). Switch on `code`; show `detail` to people; `instance` is the request's id in the service's log."""

    type: str
    title: str
    status: int
    detail: Annotated[str, msgspec.Meta(description="For people: what happened and what to do")]
    instance: Annotated[str, msgspec.Meta(description="The id of this request in the service's log")]
    code: Annotated[str, msgspec.Meta(description="For programs: switch on this")]
    reason: Annotated[EndReason | None, msgspec.Meta(description="Why the session has ended, with `session_ended`")] = None
    fields: Annotated[tuple[FieldProblem, ...], msgspec.Meta(description="Each field that is wrong, with 422")] = ()


class Refusal(NamedTuple):
    """The answer that an error becomes: HTTP status, header fields without the media type, and a problem as JSON."""

    status: int
    headers: dict[str, str]
    body: bytes
    code: str
    """What is wrong, for programs."""
    media_type: str = MEDIA_TYPE


def row_of(error: type[HandstampError]) -> tuple[int, str]:
    """Return the status and the title of an error."""
    return next(TABLE[kind] for kind in error.__mro__ if kind in TABLE)


def refusal_of(error: HandstampError, *, instance: str) -> Refusal:
    """Return the answer to a request that failed (RFC 9457). It holds what the client may see, and no secret.

    Args:
        error: Why the request failed.
        instance: The id under which the log knows this request.
    """
    problem = problem_of(error, instance=instance)
    return Refusal(problem.status, headers_of(error), msgspec.json.encode(problem), error.code)


def problem_of(error: HandstampError, *, instance: str) -> Problem:
    """Return an error as the client may see it; `instance` is the id under which the log knows the request."""
    status, title = row_of(type(error))
    reason = error.reason if isinstance(error, SessionEnded) else None
    return Problem(
        type=f"urn:handstamp:problem:{error.code}",
        title=title,
        status=status,
        detail=sentence_of(reason, otherwise=str(error)),
        instance=f"urn:handstamp:request:{instance}",
        code=error.code,
        reason=cast("EndReason | None", reason),
        fields=tuple(FieldProblem(name=name, problem=text) for name, text in error.fields)
        if isinstance(error, InvalidFields)
        else (),
    )


def headers_of(error: HandstampError) -> dict[str, str]:
    """Return the header fields of an error: no cache stores it, and the client learns what to do next (RFC 6750 §3)."""
    sent = {"cache-control": "no-store"}
    match error:
        case MissingToken() | InvalidCredentials():
            sent["www-authenticate"] = "Bearer"  # RFC 6750 §3.1: no error code where no token was sent
        case InvalidToken() | ExpiredToken() | SessionEnded():
            sent["www-authenticate"] = f'Bearer error="invalid_token", error_description="{error.code}"'
        case InvalidClient():
            sent["www-authenticate"] = 'Basic realm="handstamp", charset="UTF-8"'
        case InsufficientScope():
            wanted = f', scope="{error.scope}"' if error.scope else ""
            sent["www-authenticate"] = f'Bearer error="insufficient_scope"{wanted}'
        case InsufficientAuthentication():
            wanted = "" if error.max_age_s is None else f', max_age="{error.max_age_s}"'
            wanted += f', acr_values="{error.acr}"' if error.acr else ""
            sent["www-authenticate"] = f'Bearer error="{error.code}"{wanted}'  # RFC 9470 §3
        case TooManyAttempts() | Unavailable():
            sent["retry-after"] = str(error.retry_after_s)
        case _:
            pass
    return sent
