"""The one table from errors to HTTP answers (RFC 9457, RFC 6750 §3), for the service and for verifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NamedTuple, cast

import msgspec

from ..domain.binding import PROOF_ALGORITHMS
from ..domain.reasons import EndReason, sentence_of
from ..errors import (
    AccountExists,
    AdministratorProtected,
    BoundTokenNeedsNonce,
    BoundTokenRefused,
    CredentialLacksScope,
    CrossSite,
    DeletionBlocked,
    EmailNotVerified,
    ExpiredToken,
    FactorRequired,
    HandstampError,
    IdentityTaken,
    Impersonated,
    InsufficientAuthentication,
    InsufficientScope,
    InvalidChallenge,
    InvalidClient,
    InvalidCode,
    InvalidCredentials,
    InvalidDpopProof,
    InvalidFields,
    InvalidPasskey,
    InvalidProviderAnswer,
    InvalidRequest,
    InvalidToken,
    LastWay,
    MissingToken,
    NotFound,
    NotLinked,
    NotReady,
    PersonRequired,
    ProofRequired,
    ProviderRefused,
    ProviderUnavailable,
    RequestTooLarge,
    SecondFactorRequired,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
    UnknownPasskey,
    UnsupportedMediaType,
    UseDpopNonce,
)
from ..text import mark
from .device import CHALLENGE, write_challenge

MEDIA_TYPE = "application/problem+json"


class MethodNotAllowed(InvalidRequest):
    """The path exists and does not allow this method."""


TABLE: dict[type[HandstampError], tuple[int, str]] = {
    InvalidRequest: (400, mark("The request cannot be understood")),
    InvalidFields: (422, mark("Some fields are wrong")),
    RequestTooLarge: (413, mark("The request is too large")),
    MethodNotAllowed: (405, mark("Method not allowed")),
    UnsupportedMediaType: (415, mark("Unsupported media type")),
    MissingToken: (401, mark("No token was sent")),
    InvalidToken: (401, mark("The token is not valid")),
    ExpiredToken: (401, mark("The access token has expired")),
    SessionEnded: (401, mark("The session has ended")),
    InvalidCredentials: (401, mark("Not signed in")),
    InvalidClient: (401, mark("The service is not authenticated")),
    InsufficientScope: (403, mark("Not allowed")),
    CredentialLacksScope: (403, mark("Not allowed")),
    AdministratorProtected: (403, mark("Not allowed")),
    PersonRequired: (403, mark("Not allowed")),
    Impersonated: (403, mark("Not allowed")),
    InsufficientAuthentication: (401, mark("Prove again who you are")),
    InvalidDpopProof: (400, mark("The proof of the key is not valid")),
    UseDpopNonce: (400, mark("The proof of the key is not valid")),
    BoundTokenRefused: (401, mark("The proof of the key is not valid")),
    BoundTokenNeedsNonce: (401, mark("The proof of the key is not valid")),
    ProofRequired: (403, mark("This needs the device that signed in")),
    SecondFactorRequired: (401, mark("The sign-in needs a second factor")),
    LastWay: (409, mark("This is the only way to sign in")),
    FactorRequired: (409, mark("The account must have a second factor")),
    EmailNotVerified: (403, mark("The e-mail address is not verified")),
    CrossSite: (403, mark("The request came from another site's page")),
    UnknownPasskey: (422, mark("The passkey is not known")),
    InvalidPasskey: (422, mark("The passkey is not accepted")),
    NotLinked: (403, mark("This sign-in is not known here")),
    IdentityTaken: (409, mark("This sign-in belongs to another account")),
    ProviderRefused: (403, mark("The other service did not sign you in")),
    InvalidProviderAnswer: (422, mark("The sign-in must begin again")),
    InvalidChallenge: (422, mark("The sign-in must begin again")),
    InvalidCode: (422, mark("The link or code is not accepted")),
    DeletionBlocked: (409, mark("The account cannot be deleted yet")),
    NotFound: (404, mark("Not found")),
    AccountExists: (409, mark("The account exists already")),
    TooManyAttempts: (429, mark("Too many attempts")),
    Unavailable: (503, mark("Not available right now")),
    ProviderUnavailable: (503, mark("Not available right now")),
    HandstampError: (500, mark("Something went wrong on our side")),
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
    parts: Annotated[dict[str, str], msgspec.Meta(description="Which part of the service fails, with /readyz")] = {}


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


_ALGORITHMS = f'algs="{" ".join(PROOF_ALGORITHMS)}"'
Translate = Callable[[str], str]
"""Returns a marked text in the language of the person who reads it."""


def refusal_of(error: HandstampError, *, instance: str, translate: Translate = str) -> Refusal:
    """Return the answer to a request that failed (RFC 9457). It holds what the client may see, and no secret.

    Args:
        error: Why the request failed.
        instance: The id under which the log knows this request.
        translate: For `title`, `detail` and the problems of fields. By default they are English.
    """
    problem = problem_of(error, instance=instance, translate=translate)
    return Refusal(problem.status, headers_of(error), msgspec.json.encode(problem), error.code)


def problem_of(error: HandstampError, *, instance: str, translate: Translate = str) -> Problem:
    """Return an error as the client may see it; the arguments are those of `refusal_of`."""
    status, title = row_of(type(error))
    return Problem(
        type=f"urn:handstamp:problem:{error.code}",
        title=translate(title),
        status=status,
        detail=detail_of(error, translate),
        instance=f"urn:handstamp:request:{instance}",
        code=error.code,
        reason=cast("EndReason | None", error.reason) if isinstance(error, SessionEnded) else None,
        fields=tuple(FieldProblem(name=name, problem=translate(problem)) for name, problem in error.fields)
        if isinstance(error, InvalidFields)
        else (),
        parts=dict(error.parts) if isinstance(error, NotReady) else {},
    )


def detail_of(error: HandstampError, translate: Translate = str) -> str:
    """Return what happened and what to do, for a person."""
    match error:
        case InvalidFields(fields=fields):
            return str(InvalidFields([(name, translate(problem)) for name, problem in fields]))
        case SessionEnded(reason=reason):
            return translate(sentence_of(reason, otherwise=error.args[0]))
        case _:
            return translate(error.args[0]) if error.args else ""


def headers_of(error: HandstampError) -> dict[str, str]:
    """Return the header fields of an error: no cache stores it, and the client learns what to do next (RFC 6750 §3)."""
    sent = {"cache-control": "no-store"}
    match error:
        case MissingToken() | InvalidCredentials():
            sent["www-authenticate"] = "Bearer"  # RFC 6750 §3.1: no error code where no token was sent
        case InvalidToken() | ExpiredToken() | SessionEnded():
            sent["www-authenticate"] = _challenge(error, f'error="invalid_token", error_description="{error.code}"')
        case InvalidClient():
            sent["www-authenticate"] = 'Basic realm="handstamp", charset="UTF-8"'
        case InsufficientScope():
            wanted = f', scope="{error.scope}"' if error.scope else ""
            sent["www-authenticate"] = _challenge(error, f'error="insufficient_scope"{wanted}')
        case InsufficientAuthentication():
            wanted = "" if error.max_age_s is None else f', max_age="{error.max_age_s}"'
            wanted += f', acr_values="{error.acr}"' if error.acr else ""
            sent["www-authenticate"] = _challenge(error, f'error="{error.code}"{wanted}')  # RFC 9470 §3
        case ProofRequired(sid=sid, challenge=challenge) if challenge:
            sent[CHALLENGE] = write_challenge(challenge, sid)
        case InvalidDpopProof() | BoundTokenRefused():
            sent["www-authenticate"] = f'DPoP error="{error.code}", {_ALGORITHMS}'
            if nonce := getattr(error, "nonce", ""):
                sent["dpop-nonce"] = nonce
        case TooManyAttempts() | Unavailable():
            sent["retry-after"] = str(error.retry_after_s)
        case _:
            pass
    return sent


def _challenge(error: HandstampError, parameters: str) -> str:
    """Return a challenge with the scheme of the token that was refused (RFC 6750 §3, RFC 9449 §7.1)."""
    return f"DPoP {parameters}, {_ALGORITHMS}" if error.is_dpop else f"Bearer {parameters}"
