"""Answers of the service: a complete answer of success, or the error that any other answer stands for (RFC 9457)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import NamedTuple

import msgspec

from ..errors import (
    AccountExists,
    EmailNotVerified,
    ExpiredToken,
    FactorRequired,
    HandstampError,
    InsufficientAuthentication,
    InvalidChallenge,
    InvalidCode,
    InvalidCredentials,
    InvalidFields,
    InvalidPasskey,
    InvalidRequest,
    InvalidToken,
    LastWay,
    NotFound,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
    UnknownPasskey,
)

PROBLEM = "application/problem+json"
MAX_ANSWER_BYTES = 64 * 1024
MAX_RETRY_AFTER_S = 3600
SUCCESS = (200, 204)


class AnswerLost(Unavailable):
    """No complete answer of the service arrived, so it is unknown whether it did what was requested."""


class Answer(NamedTuple):
    """A complete HTTP answer."""

    url: str
    status: int
    media_type: str
    retry_after: str
    body: bytes
    challenges: str = ""
    """The fields `WWW-Authenticate`, separated by commas."""
    nonce: str = ""
    """The field `DPoP-Nonce`."""
    date: str = ""
    """The field `Date`."""


_NEEDED = re.compile(r'\berror\s*=\s*"?insufficient_user_authentication\b', re.ASCII)
_PARAMETER = re.compile(r'\b(max_age|acr_values)\s*=\s*"?([A-Za-z0-9._-]{1,64})"?', re.ASCII)


def read_needed(challenges: str) -> InsufficientAuthentication | None:
    """Return how the person must prove again who they are, as `WWW-Authenticate` says (RFC 9470 §3); None if it does not."""
    if not _NEEDED.search(challenges):
        return None
    found = dict(_PARAMETER.findall(challenges))
    max_age = found.get("max_age", "")
    return InsufficientAuthentication(
        max_age_s=int(max_age) if max_age.isdigit() and len(max_age) < 10 else None, acr=found.get("acr_values", "")
    )


class _FieldProblem(msgspec.Struct, frozen=True):
    name: str
    problem: str


class _Problem(msgspec.Struct, frozen=True):
    code: str
    detail: str = ""
    reason: str | None = None
    fields: tuple[_FieldProblem, ...] = ()


def require_success(answer: Answer, expected: Collection[int] = SUCCESS) -> Answer:
    """Return an answer with an expected status. Raises the error that any other answer stands for."""
    if answer.status in expected:
        return answer
    problem = _problem(answer)
    if problem is not None:
        raise _error(problem, answer)
    said = f"{answer.url} answered {answer.status}, and not as Handstamp does"
    if answer.status == 429 or (answer.status == 503 and answer.retry_after):
        raise Unavailable(said, _retry_after_s(answer))
    if answer.status < 500:
        raise Unavailable(f"{said}: is the issuer's URL right?")
    raise AnswerLost(said)  # 502 and 504: a proxy has not received the answer either


def _problem(answer: Answer) -> _Problem | None:
    """Return the problem in an answer (RFC 9457 §3), None if the answer is not from the service."""
    if answer.media_type != PROBLEM:
        return None
    try:
        return msgspec.json.decode(answer.body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


_ERRORS: dict[tuple[str, int], Callable[[_Problem, Answer], HandstampError]] = {
    ("session_ended", 401): lambda problem, _: SessionEnded(problem.reason),
    ("invalid_token", 401): lambda _, answer: InvalidToken(f"{answer.url} does not know the token: sign in again"),
    ("expired_token", 401): lambda *_: ExpiredToken(),
    ("invalid_credentials", 401): lambda *_: InvalidCredentials(),
    ("insufficient_user_authentication", 401): lambda _, answer: read_needed(answer.challenges) or InsufficientAuthentication(),
    ("invalid_challenge", 422): lambda problem, _: InvalidChallenge(detail=problem.detail),
    ("invalid_passkey", 422): lambda problem, _: InvalidPasskey(detail=problem.detail),
    ("unknown_passkey", 422): lambda problem, _: UnknownPasskey(detail=problem.detail),
    ("factor_required", 409): lambda *_: FactorRequired(),
    ("last_way", 409): lambda *_: LastWay(),
    ("email_not_verified", 403): lambda *_: EmailNotVerified(),
    ("not_found", 404): lambda problem, _: NotFound(problem.detail),
    ("account_exists", 409): lambda *_: AccountExists(),
    ("invalid_code", 422): lambda problem, _: InvalidCode(detail=problem.detail),
    ("too_many_attempts", 429): lambda _, answer: TooManyAttempts(_retry_after_s(answer)),
}
"""What the code and the status of a problem stand for."""


def _error(problem: _Problem, answer: Answer) -> HandstampError:
    if problem.code == "invalid_request":
        fields = [(field.name, field.problem) for field in problem.fields]
        return InvalidFields(fields) if fields else InvalidRequest(problem.detail)
    make = _ERRORS.get((problem.code, answer.status))
    if make is None:
        return Unavailable(f"{answer.url} answered {answer.status} {problem.code}", _retry_after_s(answer))
    return make(problem, answer)


def _retry_after_s(answer: Answer) -> int:
    """Return the seconds of `Retry-After` (RFC 9110 §10.2.3), at least 1; a date is ignored."""
    text = answer.retry_after
    return min(max(int(text), 1), MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() else 1
