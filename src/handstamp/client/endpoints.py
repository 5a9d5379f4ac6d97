"""Requests to the service. No other file of the client sends a password or a refresh token.

It does not go through the application's own client, though `httpx.Auth` could. A flow there never hears of a connection that
broke, so it could not ask again; redirects would be followed with the body; a hook that raises for 401 would hide the answer; and
a task that is cancelled would take the answer with it. So each question is one request of a client that lives as long as the
question, in a thread of its own, and is given up at its time whatever the network does. `http` makes that client: what the
application's has of proxies, certificates and transports, this one can have too.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import httpx
import msgspec

from ..clock import Clock, monotonic_ms
from ..errors import (
    HandstampError,
    InvalidCredentials,
    InvalidFields,
    InvalidRequest,
    InvalidToken,
    SessionEnded,
    TooManyAttempts,
    Unavailable,
)
from ..waiting import pause
from .flight import Flight
from .freshness import NEW_MS
from .tokens import Seconds, StoredTokens, Token

PROBLEM = "application/problem+json"
MAX_ANSWER_BYTES = 64 * 1024
MAX_RETRY_AFTER_S = 3600
_PAUSES_S = (0.1, 0.4, 1.5)
_LOGIN_RETRY_MS = 20_000
"""How long a sign-in without an answer is repeated: also after one that timed out. The service remembers it for a minute."""
_T = TypeVar("_T")
_log = logging.getLogger("handstamp.client")


class AnswerLost(Unavailable):
    """No complete answer of the service arrived, so it is unknown whether it did what was requested."""


class Answer(NamedTuple):
    """A complete HTTP answer."""

    url: str
    status: int
    media_type: str
    retry_after: str
    body: bytes


class _TokenAnswer(msgspec.Struct, frozen=True, rename="camel"):
    access_token: Token
    refresh_token: Token
    expires_in: Seconds
    session_id: str


class _FieldProblem(msgspec.Struct, frozen=True):
    name: str
    problem: str


class _Problem(msgspec.Struct, frozen=True):
    code: str
    detail: str = ""
    reason: str | None = None
    fields: tuple[_FieldProblem, ...] = ()


class ServiceEndpoints:
    """The endpoints of a Handstamp service that the client uses."""

    def __init__(self, issuer: str, *, http: Callable[[], httpx.Client], timeout_s: float, grace_s: float, clock: Clock) -> None:
        """Create it without a request.

        Args:
            issuer: The service's URL.
            http: Creates a client for one request.
            timeout_s: Seconds until a request fails.
            grace_s: The service's `HANDSTAMP_GRACE` in seconds: for this long it answers a repeated refresh.
            clock: Returns milliseconds since 1970.
        """
        self.issuer = issuer
        self._http = http
        self._timeout_s = timeout_s
        self._retry_ms = int(grace_s * 850)  # the last request must arrive within the grace period
        self._clock = clock
        self.patience_s: float = self._retry_ms / 1000 + 2 * timeout_s
        """Seconds that `refresh` and `logout` take at most."""

    def login(self, email: str, password: str, *, former: StoredTokens | None, timeout_s: float) -> StoredTokens:
        """Sign in and return the new session's tokens.

        Repeats the request, with the same idempotency key, until an answer arrives: the service begins one session. If it
        allows no repeats, the request is sent once. The refresh token of a former session shows that this device is known, so
        that failed sign-ins elsewhere do not delay it.
        """
        body = {"email": email, "password": password, "delivery": "json"}
        if former is not None:
            body["refreshToken"] = former.refresh_token
        headers = {"idempotency-key": str(uuid.uuid4())}

        def ask() -> StoredTokens:
            obtained_at_ms = self._clock()
            return self._tokens(self._post("/login", body, timeout_s, headers), obtained_at_ms)

        return self._until_answered(ask, _LOGIN_RETRY_MS if self._retry_ms else 0)

    def refresh(self, tokens: StoredTokens) -> StoredTokens:
        """Return the next tokens. Repeats the request until an answer arrives or the grace period is nearly over.

        Raises:
            SessionEnded: The session has ended.
            InvalidToken: The service did not issue the refresh token.
            Unavailable: Any other failure.
        """

        def ask() -> StoredTokens:
            obtained_at_ms = self._clock()  # before the request, so that the token looks older than it is, never younger
            return self._tokens(self._post("/refresh", {"refreshToken": tokens.refresh_token}, self._timeout_s), obtained_at_ms)

        try:
            return self._until_answered(ask, self._retry_ms)
        except (SessionEnded, InvalidToken, Unavailable):
            raise
        except TooManyAttempts as wait:
            raise self._describe_limit(wait) from None
        except HandstampError as problem:
            raise Unavailable(f"{self.issuer} does not renew: {problem}") from None

    def logout(self, tokens: StoredTokens) -> None:
        """End the session. Raises `Unavailable` if the service does not confirm it."""
        body = {"refreshToken": tokens.refresh_token, "accessToken": tokens.access_token}
        try:
            self._until_answered(lambda: self._post("/logout", body, self._timeout_s), self._retry_ms)
        except TooManyAttempts as wait:
            raise self._describe_limit(wait) from None

    def _describe_limit(self, wait: TooManyAttempts) -> Unavailable:
        return Unavailable(f"{self.issuer} limits the number of requests", wait.retry_after_s)

    def tokens_of(self, answer: Mapping[str, object]) -> StoredTokens:
        """Return the tokens of an answer that the application received itself. Raises `msgspec.ValidationError`."""
        return self._stored(msgspec.convert(answer, _TokenAnswer), self._clock() - NEW_MS)

    def _tokens(self, answer: Answer, obtained_at_ms: int) -> StoredTokens:
        try:
            return self._stored(msgspec.json.decode(answer.body, type=_TokenAnswer), obtained_at_ms)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise AnswerLost(f"{answer.url} answered {answer.status} with something else than tokens") from None

    def _stored(self, answer: _TokenAnswer, obtained_at_ms: int) -> StoredTokens:
        return StoredTokens(
            issuer=self.issuer,
            session_id=answer.session_id,
            access_token=answer.access_token,
            refresh_token=answer.refresh_token,
            expires_in_s=answer.expires_in,
            obtained_at_ms=obtained_at_ms,
        )

    def _until_answered(self, ask: Callable[[], _T], retry_ms: int) -> _T:
        give_up_at_ms = monotonic_ms() + retry_ms
        pauses_s = iter(_PAUSES_S)
        while True:
            try:
                return ask()
            except AnswerLost as lost:
                pause_s = next(pauses_s, None)
                if pause_s is None or monotonic_ms() + int(pause_s * 1000) >= give_up_at_ms:
                    raise Unavailable(lost.why) from None
            pause(pause_s)

    def _post(self, path: str, body: Mapping[str, str], timeout_s: float, headers: Mapping[str, str] = {}) -> Answer:
        url = self.issuer + path

        def send() -> Answer:
            return self._send(url, body, headers)

        try:
            flight = Flight(send, daemon=True)
        except Unavailable:  # at exit no thread can be started: send the request in this one
            return require_success(send())
        try:
            answer = flight.wait(timeout_s)
        except TimeoutError:
            raise AnswerLost(f"{url} did not answer within {timeout_s:g} seconds") from None
        return require_success(answer)

    def _send(self, url: str, body: Mapping[str, str], more_headers: Mapping[str, str]) -> Answer:
        answers: list[Answer] = []

        def read(response: httpx.Response) -> None:
            answers.append(_read(url, response))

        with self._http() as client:
            # Our hook comes first: one that raises for a status must not hide the answer.
            client.event_hooks = client.event_hooks | {"response": [read, *client.event_hooks["response"]]}
            headers = {"accept": f"application/json, {PROBLEM}", "accept-encoding": "identity", **more_headers}
            request = client.build_request("POST", url, json=body, headers=headers)
            try:
                client.send(request, auth=None, follow_redirects=False, stream=True).close()
            except AnswerLost:
                raise
            except Exception as problem:  # noqa: BLE001 - of httpx or httpx2, or of a hook
                if not answers:
                    raise AnswerLost(f"{url} did not answer: {problem!r}") from None
                _log.warning("a hook of the client for %s raised %s", url, type(problem).__name__)
        return answers[0]


def _read(url: str, response: httpx.Response) -> Answer:
    data = b""
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            raise AnswerLost(f"{url} answered more than {MAX_ANSWER_BYTES} bytes")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Answer(url, response.status_code, media_type, response.headers.get("retry-after", ""), data)


def require_success(answer: Answer) -> Answer:
    """Return an answer with status 200 or 204. Raises the error that any other answer stands for."""
    if answer.status in {200, 204}:
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


def _error(problem: _Problem, answer: Answer) -> HandstampError:
    match problem.code, answer.status:
        case "session_ended", 401:
            return SessionEnded(problem.reason)
        case "invalid_token", 401:
            return InvalidToken(f"{answer.url} does not know the refresh token: sign in again")
        case "invalid_credentials", 401:
            return InvalidCredentials()
        case "too_many_attempts", 429:
            return TooManyAttempts(_retry_after_s(answer))
        case "invalid_request", _:
            fields = [(field.name, field.problem) for field in problem.fields]
            return InvalidFields(fields) if fields else InvalidRequest(problem.detail)
        case _:
            return Unavailable(f"{answer.url} answered {answer.status} {problem.code}", _retry_after_s(answer))


def _retry_after_s(answer: Answer) -> int:
    """Return the seconds of `Retry-After` (RFC 9110 §10.2.3), at least 1; a date is ignored."""
    text = answer.retry_after
    return min(max(int(text), 1), MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() else 1
