"""Authentication for `httpx`: adds access tokens to requests and renews them.

```python
auth = Auth("https://auth.example.com", FileTokens("tokens.json"), origins=["https://api.example.com"])
auth.sign_in("ada@example.com", password)
with httpx.Client(auth=auth, base_url="https://api.example.com") as client:
    client.get("/orders")
```
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, NamedTuple

import httpx
import msgspec

from ..clock import Clock, now_ms
from ..domain.issuer import Issuer
from ..errors import ConfigurationError, SecondFactorRequired, Unavailable
from .accounts import Accounts
from .answers import read_needed
from .challenge import RefusalReason, needs_body, refusal_reason
from .endpoints import SIGN_IN_S, ServiceEndpoints
from .flight import Flight, run, run_async, wait, wait_async
from .freshness import Freshness
from .origins import Origin, parse_issuer, parse_origins, url_origin
from .proving import Proofs
from .renewal import Renewals
from .second_step import ASKING_S, AskProof, Proof, StepUps, UsePasskey, complete, sign_in_with_passkey
from .session import StoredSession
from .tokens import MemoryTokens, StoredTokens, TokenStore

_TRACE = ("traceparent", "tracestate")
"""The header fields of a trace (W3C Trace Context). A renewal belongs to the trace of the request that needs it."""


class _Asking(NamedTuple):
    """A person is asked, who takes longer than a service."""

    flight: Flight[StoredTokens | None]


_Step = httpx.Request | Flight[StoredTokens] | _Asking


class Auth(httpx.Auth):
    """Authenticates the requests of one session: `httpx.Client(auth=auth)`, `httpx.AsyncClient(auth=auth)`, any number of either.

    It adds `Authorization: Bearer …` (RFC 6750 §2.1), or `DPoP …` and a proof (RFC 9449 §7.1), to requests for an allowed
    origin, and leaves all others unchanged. It
    renews the tokens (RFC 6749 §6; rotation as RFC 9700 §4.14.2):

    - in the background, shortly before the access token expires;
    - if a resource server refuses the token. The request is then sent again, provided that its body is in memory. If a server
      refuses the new token too, its refusals are handed back until the token is renewed for another reason.

    Of all threads and tasks, and of all processes that share the store, one renews. Safe in threads, in coroutines (asyncio
    or trio) and after a fork. A request waits for a renewal no longer than its own `read` time-out.

    Requests raise what `httpx` raises, and:

    Raises:
        MissingToken: No session is stored.
        SessionEnded: The session has ended; `reason` says why. The tokens are deleted, which no other error does.
        InvalidToken: The service did not issue the refresh token.
        Unavailable: A renewal is needed and failed. The session is still active; try again after `retry_after_s` seconds.
        ConfigurationError: The stored tokens must not be used.
    """

    _streams_in_memory: ClassVar[tuple[type, ...]] = (httpx.ByteStream,)

    def __init__(
        self,
        issuer: str,
        store: TokenStore | None = None,
        *,
        tokens: Mapping[str, object] | None = None,
        origins: Collection[str] = (),
        http: Callable[[], httpx.Client] | None = None,
        timeout_s: float = 4,
        grace_s: float = 10,
        on_step_up: AskProof | None = None,
        dpop: bool = False,
        clock: Clock = now_ms,
    ) -> None:
        """Create it without a request.

        Args:
            issuer: The service's URL.
            store: Where the tokens are stored, by default in memory.
            tokens: A token answer (`accessToken`, `refreshToken`, …) that the application has received itself. It replaces the
                tokens in the store.
            origins: The origins of the APIs that the access token is for, as `"https://api.example.com"`. The service's own
            origin
                is always allowed.
            http: Creates the client for one request to the service, for example
                `functools.partial(httpx.Client, proxy=…, verify=…)`.
            timeout_s: Seconds until a request to the service fails, 0.1 to 60.
            grace_s: The service's `HANDSTAMP_GRACE` in seconds, 0 to 60. A refresh without an answer is repeated for nearly as
                long; 0 means never.
            on_step_up: Asks the person to prove again who they are, when an API wants it (RFC 9470). The request waits for it,
                and is sent again with a token that carries the proof. Without it, the refusal is handed back.
            dpop: True to bind each new session to a new key (RFC 9449), which is stored beside the tokens. Copies of the tokens
                are worthless without it. An API must know its public URL: `resource=` of its adapter.
            clock: Returns milliseconds since 1970.

        Raises:
            ConfigurationError: A URL is invalid or neither https nor on this machine (RFC 6750 §5.3), or `tokens` is malformed.
            ValueError: A number is out of its bounds.
        """
        if not 0.1 <= timeout_s <= 60:
            raise ValueError("timeout_s must be between 0.1 and 60")
        if not 0 <= grace_s <= 60:
            raise ValueError("grace_s must be between 0 and 60")
        self.issuer: str = parse_issuer(issuer)
        self._origins = {url_origin(httpx.URL(self.issuer)), *parse_origins(origins)}
        self._store = MemoryTokens() if store is None else store
        self._proofs = Proofs(clock, binds=dpop)
        self._service = ServiceEndpoints(
            self.issuer,
            http=http or _client_for(self.issuer),
            timeout_s=timeout_s,
            grace_s=grace_s,
            clock=clock,
            proofs=self._proofs,
        )
        self._freshness = Freshness(clock)
        self._renewed_for: dict[tuple[Origin, RefusalReason], str] = {}
        """The access token that a renewal obtained because an API had refused its predecessor for this reason."""
        self._renewals = Renewals(self._service, self._store, self._freshness)
        self._session = StoredSession(self._service, self._store, self._renewals, self._freshness)
        self._step_ups = StepUps(self._session, self._renewals, on_step_up)
        self._sign_in_patience_s = 3 * SIGN_IN_S + self._renewals.patience_s
        self.accounts: Accounts = Accounts(self._service, self._session, patience_s=self._sign_in_patience_s)
        """Creates accounts, sends and accepts links and codes of mails, and changes the account of the session."""
        if tokens is not None:
            self._session.replace(self._given(tokens))

    def __repr__(self) -> str:
        """Name the service and the store, not the tokens."""
        return f"Auth({self.issuer!r}, {self._store!r})"

    # --- signing in and out

    def sign_in(self, email: str, password: str) -> None:
        """Sign in with `POST /login` and replace the tokens in the store. Takes at most about 35 seconds.

        A lost answer is asked for again, without a second session. A former session stays active: call `sign_out` first to end
        it. Raises what the store raises, and:

        Raises:
            SecondFactorRequired: The password is right, and the sign-in needs another step: see `complete_sign_in`.
            InvalidCredentials: The address and the password do not match.
            TooManyAttempts: Wait `retry_after_s` seconds.
            InvalidFields: The address or the password is malformed.
            Unavailable: The service does not answer.
        """
        run(lambda: self._sign_in(email, password), self._sign_in_patience_s)

    async def sign_in_async(self, email: str, password: str) -> None:
        """Do the same without blocking the event loop. If the task is cancelled, the sign-in may still complete."""
        await run_async(lambda: self._sign_in(email, password), self._sign_in_patience_s)

    def sign_in_with_passkey(self, use: UsePasskey) -> None:
        """Sign in with a passkey alone, and replace the tokens in the store. No address and no password is needed.

        Args:
            use: Has an authenticator use the passkey, for example by `fido2`. It has five minutes.

        Raises:
            InvalidPasskey: The service does not accept the answer, or the challenge has expired.
            UnknownPasskey: The passkey was removed from the account.
            TooManyAttempts: Wait `retry_after_s` seconds.
            Unavailable: The service does not answer.
        """
        run(lambda: sign_in_with_passkey(self._service, self._session, use), ASKING_S + self._sign_in_patience_s)

    async def sign_in_with_passkey_async(self, use: UsePasskey) -> None:
        """Do the same without blocking the event loop."""
        await run_async(lambda: sign_in_with_passkey(self._service, self._session, use), ASKING_S + self._sign_in_patience_s)

    def complete_sign_in(
        self, needed: SecondFactorRequired, *, code: str = "", recovery_code: str = "", passkey: UsePasskey | None = None
    ) -> None:
        """Complete a sign-in with a second factor, and replace the tokens in the store.

        Args:
            needed: What `sign_in` has raised. It says which `methods` the person has.
            code: Six digits of the authenticator app.
            recovery_code: A recovery code instead.
            passkey: A function that has an authenticator use a passkey instead. It has five minutes.

        Raises:
            InvalidCode: The code is not accepted. Try again with the next one.
            InvalidPasskey: The passkey is not accepted.
            InvalidChallenge: The sign-in took too long, or too many codes were wrong: sign in again.
            TooManyAttempts: Wait `retry_after_s` seconds.
            Unavailable: The service does not answer.
        """
        proof = Proof(code=code, recovery_code=recovery_code, passkey=passkey)
        run(lambda: complete(self._service, self._session, needed, proof), self._patience_for(proof))

    async def complete_sign_in_async(
        self, needed: SecondFactorRequired, *, code: str = "", recovery_code: str = "", passkey: UsePasskey | None = None
    ) -> None:
        """Do the same without blocking the event loop."""
        proof = Proof(code=code, recovery_code=recovery_code, passkey=passkey)
        await run_async(lambda: complete(self._service, self._session, needed, proof), self._patience_for(proof))

    def step_up(self, proof: Proof) -> None:
        """Prove again who the person is, in the same session (RFC 9470). The tokens in the store carry it afterwards.

        Raises:
            InvalidCredentials: The password is wrong.
            InvalidCode: The code is not accepted.
            InsufficientAuthentication: The account has a second factor: a password is not enough.
            TooManyAttempts: Wait `retry_after_s` seconds.
            Unavailable: The service does not answer.
        """
        run(lambda: self._step_ups.prove(proof), self._patience_for(proof))

    async def step_up_async(self, proof: Proof) -> None:
        """Do the same without blocking the event loop."""
        await run_async(lambda: self._step_ups.prove(proof), self._patience_for(proof))

    def sign_out(self) -> None:
        """End the session with `POST /logout`, then delete the tokens. Does nothing if no session is stored.

        When it returns, the service accepts neither token any more.

        Raises:
            Unavailable: The service did not confirm it. The tokens stay, so that you can try again; `clear` of the store deletes
                them without the service.
            ConfigurationError: The stored tokens must not be used.
        """
        run(self._session.end, self._renewals.patience_s)

    async def sign_out_async(self) -> None:
        """Do the same without blocking the event loop. If the task is cancelled, the sign-out still completes."""
        await run_async(self._session.end, self._renewals.patience_s)

    # --- what httpx calls

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Run the steps for `httpx.Client`. Raises as documented for the class."""
        steps = self._steps(request)
        step = next(steps)
        with suppress(StopIteration):
            while True:
                if isinstance(step, _Asking):
                    step = steps.send(wait(step.flight, ASKING_S))
                elif isinstance(step, Flight):
                    step = steps.send(wait(step, self._patience_s(request)))
                else:
                    response = yield step
                    if needs_body(response):
                        response.read()
                    step = steps.send(response)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Run the steps for `httpx.AsyncClient`, without blocking the event loop. Raises as documented for the class."""
        steps = self._steps(request)
        step = next(steps)
        with suppress(StopIteration):
            while True:
                if isinstance(step, _Asking):
                    step = steps.send(await wait_async(step.flight, ASKING_S))
                elif isinstance(step, Flight):
                    step = steps.send(await wait_async(step, self._patience_s(request)))
                else:
                    response = yield step
                    if needs_body(response):
                        await response.aread()
                    step = steps.send(response)

    def _steps(self, request: httpx.Request) -> Generator[_Step, Any, None]:
        """Yield requests to send and renewals to wait for. The caller sends back the response or the new tokens."""
        if not self._is_for_us(request.url):
            yield request
            return
        trace = {name: request.headers[name] for name in _TRACE if name in request.headers}
        tokens = self._renewals.current()
        stage = self._freshness.stage(tokens)
        if stage == "due":
            with suppress(Unavailable):  # the service did not answer a moment ago, and the token is still valid
                self._renewals.join(tokens, trace)
        elif stage == "over":
            tokens = yield self._renewals.join(tokens, trace)
        response = yield from self._send(request, tokens)
        while self._lost_token(response):  # httpx limits the number of redirects
            response = yield from self._send(response.request, tokens)
        reason = self._reason_to_renew(response, tokens)
        if reason is not None:
            renewed: StoredTokens = yield self._renewals.join(tokens, trace)
            if renewed.session_id != tokens.session_id:
                return  # the application has signed in meanwhile: the request is not that person's
            self._renewed_for[url_origin(response.request.url), reason] = renewed.access_token
            if not self._is_in_memory(response.request):
                return
            tokens = renewed
            response = yield from self._send(response.request, renewed)  # the last one, if the first was redirected
        asking = self._asking(response, tokens)
        if asking is not None:
            proved: StoredTokens | None = yield asking
            if proved is not None:
                yield from self._send(response.request, proved)

    def _send(self, request: httpx.Request, tokens: StoredTokens) -> Generator[_Step, Any, httpx.Response]:
        """Send a request with the token, and once more if the proof that came with it was refused and another may help."""
        response: httpx.Response = yield self._with_token(request, tokens)
        again, nonce = response.request, response.headers.get("dpop-nonce", "")
        if not tokens.key or response.status_code != 401 or again.headers.get("authorization") != tokens.authorization:
            return response
        challenges = ", ".join(response.headers.get_list("www-authenticate"))
        may_help = self._proofs.learn(challenges, nonce=nonce, date=response.headers.get("date", "")) or (
            "invalid_dpop_proof" in challenges and bool(response.history)  # httpx has followed a redirect with the old proof
        )
        if may_help and self._is_for_us(again.url) and self._is_in_memory(again):
            response = yield self._with_token(again, tokens, nonce)
        return response

    def _with_token(self, request: httpx.Request, tokens: StoredTokens, nonce: str = "") -> httpx.Request:
        request.headers["authorization"] = tokens.authorization
        if tokens.key:
            request.headers["dpop"] = self._proofs.make(
                tokens.key, method=request.method, url=str(request.url), access_token=tokens.access_token, nonce=nonce
            )
        return request

    def _asking(self, response: httpx.Response, tokens: StoredTokens) -> _Asking | None:
        """Return the question to the person, if an API wants a new proof and the request can be sent again."""
        if response.status_code != 401 or response.request.headers.get("authorization") != tokens.authorization:
            return None
        needed = read_needed(", ".join(response.headers.get_list("www-authenticate")))
        if needed is None or not self._is_for_us(response.request.url) or not self._is_in_memory(response.request):
            return None
        flight = self._step_ups.join(tokens, needed)
        return None if flight is None else _Asking(flight)

    def _lost_token(self, response: httpx.Response) -> bool:
        """Return whether `httpx` removed the token in a redirect between our origins, and the target wants one.

        If another host was in between, the request is as that host wants it, and must not get the token.
        """
        request = response.request
        return (
            response.status_code == 401
            and bool(response.history)
            and "authorization" not in request.headers
            and all(self._is_for_us(hop.request.url) for hop in (*response.history, response))
            and self._is_in_memory(request)
        )

    def _reason_to_renew(self, response: httpx.Response, tokens: StoredTokens) -> RefusalReason | None:
        """Return why these tokens were refused, None if they were not or a renewal will not help."""
        request = response.request
        if request.headers.get("authorization") != tokens.authorization or not self._is_for_us(request.url):
            return None  # httpx followed a redirect to another origin, without the token
        reason = refusal_reason(response)
        if reason is None or (reason != "session_ended" and self._freshness.is_new(tokens)):
            return None
        if self._renewed_for.get((url_origin(request.url), reason)) == tokens.access_token:
            return None  # this API refused the last token alike, for example because its clock is wrong
        return reason

    def _is_in_memory(self, request: httpx.Request) -> bool:
        """Return whether a request can be sent again. A body that is a generator or a file is gone."""
        fields = getattr(request.stream, "fields", None)  # of a multipart body
        if isinstance(fields, list):
            return all(isinstance(getattr(field, "file", b""), bytes | str) for field in fields)
        return isinstance(request.stream, self._streams_in_memory)

    def _patience_s(self, request: httpx.Request) -> float:
        """Return for how many seconds a request may wait for new tokens: not longer than for an answer."""
        limit_s = (request.extensions.get("timeout") or {}).get("read")
        return self._renewals.patience_s if limit_s is None else min(limit_s, self._renewals.patience_s)

    def _is_for_us(self, url: httpx.URL) -> bool:
        return url_origin(url) in self._origins

    def _sign_in(self, email: str, password: str) -> None:
        self._session.begin(lambda former: self._service.login(email, password, former=former))

    def _patience_for(self, proof: Proof) -> float:
        """Return for how many seconds a proof may take: with a passkey, a person has to touch something."""
        return self._sign_in_patience_s + (0 if proof.passkey is None else ASKING_S)

    def _given(self, answer: Mapping[str, object]) -> StoredTokens:
        if answer.get("tokenType") == "DPoP":
            raise ConfigurationError("These tokens are bound to a key that this client does not have: call sign_in() instead.")
        try:
            return self._service.tokens_of(answer)
        except msgspec.ValidationError:
            raise ConfigurationError(
                "tokens must be a token answer with accessToken, refreshToken, expiresIn and sessionId: sign in with "
                '"delivery": "json", so that both tokens are in the body.'
            ) from None


def _client_for(issuer: str) -> Callable[[], httpx.Client]:
    """Return a function that creates clients for an issuer."""
    headers = {"user-agent": "handstamp-client"}
    if Issuer(issuer).is_https:
        return partial(httpx.Client, headers=headers)
    # On this machine: without the environment's proxies, which may be remote, and without loading certificates, which is slow.
    return partial(httpx.Client, headers=headers, trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
