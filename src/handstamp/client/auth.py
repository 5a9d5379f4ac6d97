"""`httpx` requests that carry an access token, and a session that lives as long as it can.

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
from typing import Any, TypeVar

import httpx
import msgspec

from ..clock import Clock, now_ms
from ..domain.issuer import Issuer
from ..errors import ConfigurationError, Unavailable
from .challenge import must_be_read, refusal
from .flight import Flight
from .freshness import Freshness
from .origins import origin_of, sound_issuer, sound_origins
from .renewal import Renewals
from .service import Service
from .tokens import MemoryTokens, Tokens, TokenStore

_SIGN_IN_S = 15.0
"""How long a sign-in may take: the service hashes passwords one after the other, and has a queue for it."""
_T = TypeVar("_T")
_Step = httpx.Request | Flight[Tokens]


class Auth(httpx.Auth):
    """Signs requests of one person's session: `httpx.Client(auth=auth)`, `httpx.AsyncClient(auth=auth)`, any number of either.

    To requests for an allowed origin it adds `Authorization: Bearer …` (RFC 6750 §2.1); all others pass as they are. It renews
    the tokens (RFC 6749 §6; rotation as RFC 9700 §4.14.2) in the background shortly before the access token is over, and once
    where a resource server says that it is; then the request is sent once more, if its body is in memory. However many threads
    and tasks there are, and processes if they share the store, one of them renews. Safe in threads, in coroutines of asyncio,
    and after a fork.

    A request raises `MissingToken` while nobody is signed in, `SessionEnded` with its reason once the session is over (the tokens
    are then forgotten; nothing else makes them go), `InvalidToken` if the service does not know the refresh token; these three
    are kinds of `NotSignedIn`. It raises `Unavailable` with `retry_after_s` where a renewal is needed and not to be had (nobody
    is signed out: try again), and `ConfigurationError` for tokens that must not be used. What `httpx` raises, it still does.
    """

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
        clock: Clock = now_ms,
    ) -> None:
        """Take the service's URL, and where the tokens are kept, by default in memory.

        `tokens` is a token answer (`accessToken`, `refreshToken`, …) that was got elsewhere; it replaces what the store holds.
        `origins` are those of the APIs that the access token is for, as `"https://api.example.com"`; the service's own is one.
        `http` makes the client that asks the service, say `functools.partial(httpx.Client, proxy=…, verify=…)`; each is used for
        one question. `timeout_s` is how many seconds the service may take to answer it, 0.1 to 60. `grace_s` is the service's
        `HANDSTAMP_GRACE` in seconds: a lost answer is asked for again until shortly before it is over; 0 means never.

        Nothing is asked yet. Raises `ConfigurationError` for a URL by which tokens could be read on their way (RFC 6750 §5.3)
        or that is none, and for `tokens` that are no token answer; `ValueError` for a number out of its bounds; and with
        `tokens` what the store raises.
        """
        if not 0.1 <= timeout_s <= 60:
            raise ValueError("timeout_s must be between 0.1 and 60")
        if not 0 <= grace_s <= 60:
            raise ValueError("grace_s must be between 0 and 60")
        self.issuer = sound_issuer(issuer)
        self._origins = {origin_of(httpx.URL(self.issuer)), *sound_origins(origins)}
        self._store = MemoryTokens() if store is None else store
        self._service = Service(
            self.issuer, http=http or _client_for(self.issuer), timeout_s=timeout_s, grace_s=grace_s, clock=clock
        )
        self._freshness = Freshness(clock)
        self._renewals = Renewals(self._service, self._store, self._freshness)
        if tokens is not None:
            self._replace(self._given(tokens))

    def __repr__(self) -> str:
        """Name the service and the store; the tokens are their owner's."""
        return f"Auth({self.issuer!r}, {self._store!r})"

    # --- signing in and out

    def sign_in(self, email: str, password: str) -> None:
        """Sign in with `POST /login` and keep the new session's tokens instead of what the store holds.

        A session that was held goes on without its tokens: `sign_out` first if it should not. Takes at most some 15 seconds.
        Raises `InvalidCredentials`, `TooManyAttempts` with `retry_after_s`, `InvalidFields`, `Unavailable`, and what the store
        raises.
        """
        _wait(Flight(lambda: self._sign_in(email, password)), _SIGN_IN_S + self._renewals.patience_s)

    async def sign_in_async(self, email: str, password: str) -> None:
        """Do the same without holding up the event loop. A task that is cancelled meanwhile may be signed in all the same."""
        await _wait_async(Flight(lambda: self._sign_in(email, password)), _SIGN_IN_S + self._renewals.patience_s)

    def sign_out(self) -> None:
        """End the session with `POST /logout`, then forget the tokens. Does nothing while nobody is signed in.

        When it returns, both tokens are dead at the service. Raises `Unavailable` if the service did not say so: the tokens are
        kept then, to try again (`clear` of the store forgets them without the service); and `ConfigurationError` as requests do.
        """
        _wait(Flight(self._sign_out), self._renewals.patience_s)

    async def sign_out_async(self) -> None:
        """Do the same without holding up the event loop. What was begun goes on if the task is cancelled."""
        await _wait_async(Flight(self._sign_out), self._renewals.patience_s)

    # --- what httpx calls

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Drive the steps for `httpx.Client`; waits where a renewal must be waited for. Raises as the class says."""
        steps = self._steps(request)
        step = next(steps)
        with suppress(StopIteration):
            while True:
                if isinstance(step, Flight):
                    step = steps.send(_wait(step, self._renewals.patience_s))
                else:
                    response = yield step
                    if must_be_read(response):
                        response.read()
                    step = steps.send(response)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Drive the same steps for `httpx.AsyncClient`, without holding up the event loop. Raises as the class says."""
        steps = self._steps(request)
        step = next(steps)
        with suppress(StopIteration):
            while True:
                if isinstance(step, Flight):
                    step = steps.send(await _wait_async(step, self._renewals.patience_s))
                else:
                    response = yield step
                    if must_be_read(response):
                        await response.aread()
                    step = steps.send(response)

    def _steps(self, request: httpx.Request) -> Generator[_Step, Any, None]:
        """Yield the requests to send, and the renewals to wait for; take the response, or the new tokens, of each."""
        if not self._is_for_us(request.url):
            yield request
            return
        tokens = self._renewals.held()
        stage = self._freshness.stage(tokens)
        if stage == "due":
            with suppress(Unavailable):  # it was so a moment ago; the token still opens everything
                self._renewals.join(tokens)
        elif stage == "over":
            tokens = yield self._renewals.join(tokens)
        response: httpx.Response = yield _bearing(request, tokens)
        if self._was_refused(response, tokens):
            tokens = yield self._renewals.join(tokens)
            if isinstance(request.stream, httpx.ByteStream):  # else what was sent cannot be sent again
                yield _bearing(request, tokens)

    def _was_refused(self, response: httpx.Response, tokens: Tokens) -> bool:
        """Say whether these tokens were refused, for a reason that a renewal may heal or explain."""
        asked = response.request
        if asked.headers.get("authorization") != _bearer(tokens) or not self._is_for_us(asked.url):
            return False  # a redirect led elsewhere, and the token was left behind (httpx does that)
        why = refusal(response)
        return why == "session_ended" or (why is not None and not self._freshness.is_new(tokens))

    def _is_for_us(self, url: httpx.URL) -> bool:
        return origin_of(url) in self._origins

    # --- what is done in threads

    def _sign_in(self, email: str, password: str) -> None:
        with self._store.locked(self._renewals.lock_patience_s):
            self._renewals.check_store()  # what refuses to be used does so before a session is made
        self._replace(self._service.login(email, password, timeout_s=_SIGN_IN_S))

    def _replace(self, tokens: Tokens) -> None:
        with self._store.locked(self._renewals.lock_patience_s):
            self._renewals.check_store()
            self._store.save(tokens)
            self._renewals.forget()

    def _sign_out(self) -> None:
        with self._store.locked(self._renewals.lock_patience_s):
            tokens = self._renewals.check_store()
            if tokens is not None:
                self._service.logout(tokens)
                self._store.clear()
            self._renewals.forget()

    def _given(self, answer: Mapping[str, object]) -> Tokens:
        try:
            return self._service.tokens_of(answer)
        except msgspec.ValidationError:
            raise ConfigurationError(
                "tokens must be a token answer with accessToken, refreshToken, expiresIn and sessionId: sign in with "
                '"delivery": "json", so that both tokens are in the body.'
            ) from None


def _bearer(tokens: Tokens) -> str:
    return f"Bearer {tokens.access_token}"


def _bearing(request: httpx.Request, tokens: Tokens) -> httpx.Request:
    request.headers["authorization"] = _bearer(tokens)
    return request


def _wait(flight: Flight[_T], patience_s: float) -> _T:
    try:
        return flight.wait(patience_s)
    except TimeoutError:
        raise Unavailable("it takes too long") from None


async def _wait_async(flight: Flight[_T], patience_s: float) -> _T:
    try:
        return await flight.wait_async(patience_s)
    except TimeoutError:
        raise Unavailable("it takes too long") from None


def _client_for(issuer: str) -> Callable[[], httpx.Client]:
    """Return what makes clients for an issuer."""
    headers = {"user-agent": "handstamp-client"}
    if Issuer(issuer).is_https:
        return partial(httpx.Client, headers=headers)
    # On this machine: without the environment's proxies, which may be elsewhere, and without certificates, which take a while.
    return partial(httpx.Client, headers=headers, trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
