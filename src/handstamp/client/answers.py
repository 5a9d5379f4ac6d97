"""Answers of the service: a complete answer of success, or the error that any other answer stands for (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import msgspec

from ..errors import (
    AccountExists,
    EmailNotVerified,
    ExpiredToken,
    HandstampError,
    InsufficientAuthentication,
    InvalidCode,
    InvalidCredentials,
    InvalidFields,
    InvalidRequest,
    InvalidToken,
    NotFound,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
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
    ("insufficient_user_authentication", 401): lambda *_: InsufficientAuthentication(),
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
