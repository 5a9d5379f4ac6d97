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
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import httpx
import msgspec

from ..clock import Clock, monotonic_ms
from ..errors import HandstampError, InvalidToken, SecondFactorRequired, SessionEnded, TooManyAttempts, Unavailable
from ..waiting import pause
from .answers import MAX_ANSWER_BYTES, PROBLEM, SUCCESS, Answer, AnswerLost, require_success
from .flight import Flight
from .freshness import NEW_MS
from .proving import Proofs
from .tokens import Seconds, StoredTokens, Token

_PAUSES_S = (0.1, 0.4, 1.5)
SIGN_IN_S = 15.0
"""Seconds until a request to sign in fails. The service queues passwords for hashing. A lost answer is asked for again."""
_LOGIN_RETRY_MS = 20_000
"""How long a sign-in without an answer is repeated: also after one that timed out. The service remembers it for a minute."""
_T = TypeVar("_T")
_log = logging.getLogger("handstamp.client")


class _TokenAnswer(msgspec.Struct, frozen=True, rename="camel"):
    access_token: Token
    refresh_token: Token
    expires_in: Seconds
    session_id: str
    token_type: str = "Bearer"  # noqa: S105 - the name of a scheme


class _SignInAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """What says whether a sign-in needs another step. A token answer has none of these fields but the lifetime."""

    expires_in: Seconds
    challenge: str = ""
    methods: tuple[str, ...] = ()
    enrol: tuple[str, ...] = ()
    ticket: str = ""


class ServiceEndpoints:
    """The endpoints of a Handstamp service that the client uses."""

    def __init__(
        self,
        issuer: str,
        *,
        http: Callable[[], httpx.Client],
        timeout_s: float,
        grace_s: float,
        clock: Clock,
        proofs: Proofs,
    ) -> None:
        """Create it without a request.

        Args:
            issuer: The service's URL.
            http: Creates a client for one request.
            timeout_s: Seconds until a request fails.
            grace_s: The service's `HANDSTAMP_GRACE` in seconds: for this long it answers a repeated refresh.
            clock: Returns milliseconds since 1970.
            proofs: Makes the proofs of bound sessions.
        """
        self.issuer = issuer
        self._proofs = proofs
        self._http = http
        self._timeout_s = timeout_s
        self._retry_ms = int(grace_s * 850)  # the last request must arrive within the grace period
        self._clock = clock
        self.patience_s: float = self._retry_ms / 1000 + 2 * timeout_s
        """Seconds that `refresh` and `logout` take at most."""

    def login(self, email: str, password: str, *, former: StoredTokens | None) -> StoredTokens:
        """Sign in and return the new session's tokens.

        The refresh token of a former session shows that this device is known, so that failed sign-ins elsewhere do not delay it.
        """
        body = {"email": email, "password": password}
        return self.sign_in("/login", body if former is None else body | {"refreshToken": former.refresh_token})

    def second_factor(self, body: Mapping[str, object], *, former: StoredTokens | None) -> StoredTokens:
        """Complete a sign-in and return the new session's tokens."""
        known = {} if former is None else {"refreshToken": former.refresh_token}
        key = self._proofs.make_key()

        def ask(headers: Mapping[str, str]) -> StoredTokens:
            obtained_at_ms = self._clock()
            answer = self.call("POST", "/login/second-factor", {**body, **known}, timeout_s=SIGN_IN_S, headers=headers, key=key)
            return self._tokens(answer, obtained_at_ms, key)

        return self.once(ask)

    def sign_in(self, path: str, body: Mapping[str, object]) -> StoredTokens:
        """Send a request that signs in, and return the new session's tokens.

        Repeats the request, with the same idempotency key, until an answer arrives: the service begins one session. If it
        allows no repeats, the request is sent once.
        """
        key = self._proofs.make_key()

        def ask(headers: Mapping[str, str]) -> StoredTokens:
            obtained_at_ms = self._clock()
            answer = self.call("POST", path, {**body, "delivery": "json"}, timeout_s=SIGN_IN_S, headers=headers, key=key)
            return self._tokens(answer, obtained_at_ms, key)

        return self.once(ask)

    def once(self, ask: Callable[[Mapping[str, str]], _T]) -> _T:
        """Return what `ask` returns. It is repeated until an answer arrives, with a header by which the service acts once."""
        headers = {"idempotency-key": str(uuid.uuid4())}
        return self._until_answered(lambda: ask(headers), _LOGIN_RETRY_MS if self._retry_ms else 0)

    def refresh(self, tokens: StoredTokens, trace: Mapping[str, str] = {}) -> StoredTokens:
        """Return the next tokens. Repeats the request until an answer arrives or the grace period is nearly over.

        Args:
            tokens: The current ones.
            trace: The header fields of the trace to which the request belongs (W3C Trace Context).

        Raises:
            SessionEnded: The session has ended.
            InvalidToken: The service did not issue the refresh token.
            Unavailable: Any other failure.
        """

        def ask() -> StoredTokens:
            obtained_at_ms = self._clock()  # before the request, so that the token looks older than it is, never younger
            answer = self.call("POST", "/refresh", {"refreshToken": tokens.refresh_token}, key=tokens.key, headers=trace)
            return self._tokens(answer, obtained_at_ms, tokens.key)

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
            self._until_answered(lambda: self.call("POST", "/logout", body), self._retry_ms)
        except Unavailable:
            raise
        except TooManyAttempts as wait:
            raise self._describe_limit(wait) from None
        except HandstampError as problem:
            raise Unavailable(f"{self.issuer} does not sign out: {problem}") from None

    def _describe_limit(self, wait: TooManyAttempts) -> Unavailable:
        return Unavailable(f"{self.issuer} limits the number of requests", wait.retry_after_s)

    def tokens_of(self, answer: Mapping[str, object]) -> StoredTokens:
        """Return the tokens of an answer that the application received itself. Raises `msgspec.ValidationError`."""
        return self._stored(msgspec.convert(answer, _TokenAnswer), self._clock() - NEW_MS, "")

    def _tokens(self, answer: Answer, obtained_at_ms: int, key: str) -> StoredTokens:
        try:
            found = msgspec.json.decode(answer.body, type=_SignInAnswer)
            if found.challenge:
                raise SecondFactorRequired(
                    found.challenge,
                    methods=found.methods,
                    enrol=found.enrol,
                    expires_in_s=found.expires_in,
                    browser=found.ticket,
                )
            return self._stored(msgspec.json.decode(answer.body, type=_TokenAnswer), obtained_at_ms, key)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise AnswerLost(f"{answer.url} answered {answer.status} with something else than tokens") from None

    def _stored(self, answer: _TokenAnswer, obtained_at_ms: int, key: str) -> StoredTokens:
        return StoredTokens(
            issuer=self.issuer,
            session_id=answer.session_id,
            access_token=answer.access_token,
            refresh_token=answer.refresh_token,
            expires_in_s=answer.expires_in,
            obtained_at_ms=obtained_at_ms,
            key=key if answer.token_type.lower() == "dpop" else "",  # a service with DEVICE_BINDING=off binds nothing
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

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        token: str = "",
        key: str = "",
        timeout_s: float | None = None,
        headers: Mapping[str, str] = {},
        limit: int = MAX_ANSWER_BYTES,
        expected: Collection[int] = SUCCESS,
    ) -> Answer:
        """Send one request and return the answer.

        Args:
            method: The HTTP method.
            path: Where, below the issuer.
            body: What to send as JSON.
            token: The access token to send, if any.
            key: The private key whose proof comes with it, if any.
            timeout_s: Seconds until the request fails, by default as the client was told.
            headers: More headers.
            limit: The largest body to accept, in bytes.
            expected: The statuses of success.

        Raises:
            AnswerLost: No complete answer arrived.
            HandstampError: The error that the answer stands for.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        headers = {"accept": f"application/json, {PROBLEM}", "accept-encoding": "identity", **headers}
        if token:
            headers["authorization"] = f"{'DPoP' if key else 'Bearer'} {token}"
        url = self.issuer + path

        def send() -> Answer:
            if not key:
                return self._send(method, url, body, headers, limit)
            answer = self._send(method, url, body, headers | {"dpop": prove("")}, limit)
            if answer.status in (400, 401) and self._proofs.learn(answer.challenges, nonce=answer.nonce, date=answer.date):
                answer = self._send(method, url, body, headers | {"dpop": prove(answer.nonce)}, limit)
            return answer

        def prove(nonce: str) -> str:
            return self._proofs.make(key, method=method, url=url, access_token=token, nonce=nonce)

        try:
            flight = Flight(send, daemon=True)
        except Unavailable:  # at exit no thread can be started: send the request in this one
            return require_success(send(), expected)
        try:
            answer = flight.wait(timeout_s)
        except TimeoutError:
            raise AnswerLost(f"{url} did not answer within {timeout_s:g} seconds") from None
        return require_success(answer, expected)

    def _send(self, method: str, url: str, body: Mapping[str, object] | None, headers: Mapping[str, str], limit: int) -> Answer:
        answers: list[Answer] = []

        def read(response: httpx.Response) -> None:
            answers.append(_read(url, response, limit))

        with self._http() as client:
            # Our hook comes first: one that raises for a status must not hide the answer.
            client.event_hooks = client.event_hooks | {"response": [read, *client.event_hooks["response"]]}
            request = client.build_request(method, url, json=body, headers=headers)
            try:
                client.send(request, auth=None, follow_redirects=False, stream=True).close()
            except AnswerLost:
                raise
            except Exception as problem:  # noqa: BLE001 - of httpx or httpx2, or of a hook
                if not answers:
                    raise AnswerLost(f"{url} did not answer: {problem!r}") from None
                _log.warning("a hook of the client for %s raised %s", url, type(problem).__name__)
        return answers[0]


def _read(url: str, response: httpx.Response, limit: int) -> Answer:
    data = b""
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > limit:
            raise AnswerLost(f"{url} answered more than {limit} bytes")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    challenges = ", ".join(response.headers.get_list("www-authenticate"))
    retry_after, nonce, date = (response.headers.get(name, "") for name in ("retry-after", "dpop-nonce", "date"))
    return Answer(url, response.status_code, media_type, retry_after, data, challenges, nonce, date)
