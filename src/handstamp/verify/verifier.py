"""Verifying an access token (RFC 9068 §4), and refusing it once its session has ended. Plain synchronous code, safe in threads.

What a verification does, in order: the token is known and still holds, or its signature and claims are checked; its session is
not among those that ended; and where our knowledge of those is too old, or the route wants to know it exactly, the service is
asked. An answer that cannot be had is `Unavailable`: never a yes, and never "signed out".
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self, get_args
from urllib.parse import urlencode

import msgspec

from ..clock import Clock, monotonic_ms, now_ms
from ..crypto import jws
from ..crypto.jwk import KeySet
from ..domain.claims import ACCESS_TYPE, AccessClaims, require_access
from ..domain.issuer import is_private
from ..domain.policy import MAX_LEEWAY_S
from ..errors import ConfigurationError, ExpiredToken, InvalidToken, SessionEnded, Unavailable
from ..forking import reset_in_child
from .cache import Cache
from .fetch import Fetched, basic, fetch
from .jwks import MAX_BYTES, GivenKeys, RemoteKeys, WouldWait
from .revocations import Follower, RevocationSet, session_key

Check = Literal["offline", "feed", "live"]
"""How a route wants to know that the session has not ended: not at all; from the feed, and from the service where that is silent;
from the service each time."""

_CHECKS = get_args(Check)
_MAX_PAGE_BYTES = 8 * 1024 * 1024
_MAX_ANSWER_BYTES = 64 * 1024
_HEARTBEAT_S = 5
_ASK_AGAIN_MS = 500
_SILENCE_MS = 1000
"""After the service did not answer, nobody else waits for it for so long."""


class VerifierStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What to watch: export these numbers to where alarms are made."""

    is_ready: bool
    feed_age_s: float | None
    """How old the knowledge of ended sessions is; None before the first answer, and where no feed is followed."""
    clock_offset_s: float
    """How much the service's clock is ahead of ours, give or take a second: more than `leeway_s` refuses good tokens."""
    entries: int
    """Ended sessions that are held in memory."""
    keys_age_s: float | None
    """How long ago the keys were fetched; None before that, and where keys were given by hand."""
    cached_tokens: int
    problem: str
    """Why the feed or the keys could not be had last, empty if they could. For logs: it names addresses."""


class _Known(msgspec.Struct, frozen=True):
    """A token that held, under which keys, and what to look at when it comes again."""

    claims: AccessClaims
    keys: KeySet
    from_ms: int
    until_ms: int
    session: int


class _Introspected(msgspec.Struct):
    active: bool
    sid: str = ""
    jti: str = ""


class Verifier:
    """Tells whether an access token of one issuer holds here."""

    def __init__(
        self,
        issuer: str,
        *,
        audience: str | tuple[str, ...],
        credential: str | None = None,
        keys: KeySet | Callable[[], KeySet] | None = None,
        check: Check = "feed",
        max_staleness_s: float = 30,
        leeway_s: int = 5,
        cache_size: int = 10_000,
        timeout_s: float = 2,
        service_url: str | None = None,
        clock: Clock = now_ms,
    ) -> None:
        """Trust tokens of `issuer` for one of `audience`.

        `credential` is `"ID:SECRET"` as `handstamp clients create` shows it; `check="offline"` alone works without.
        `keys` is a set, or what returns today's set; without it the keys are fetched from the issuer and kept up to date.
        `check` is what routes want that say nothing else. Knowledge older than `max_staleness_s` seconds is not relied on.
        `leeway_s` allows for clocks that differ, at most 60 seconds (RFC 7519 §4.1.4). `cache_size` tokens are remembered.
        `timeout_s` is how long the service may take to answer. `service_url` is where it is reached, if not at its issuer.

        Nothing is fetched yet. Raises `ConfigurationError`, and `ValueError` for a number out of its bounds.
        """
        if not 0 <= leeway_s <= MAX_LEEWAY_S:
            raise ValueError(f"leeway_s must be between 0 and {MAX_LEEWAY_S}")
        if not 3 <= max_staleness_s <= 3600:  # each question to the feed may take a third of it, in whole seconds
            raise ValueError("max_staleness_s must be between 3 and 3600")
        if not 0.01 <= timeout_s <= 60:
            raise ValueError("timeout_s must be between 0.01 and 60")
        if cache_size < 0:
            raise ValueError("cache_size must not be negative")
        self.issuer = issuer
        self._audience = (audience,) if isinstance(audience, str) else tuple(audience)
        self._leeway_s = leeway_s
        self._max_staleness_ms = int(max_staleness_s * 1000)
        self._timeout_s = timeout_s
        self._clock = clock
        self._url = (service_url or issuer).rstrip("/")
        self._authorization = None if credential is None else basic(credential)
        self._check = self._allowed(check)
        if (keys is None or credential is not None) and not is_private(self._url):
            raise ConfigurationError(f"The service must be reached by https, or on this machine: {self._url} is neither.")
        self._given_keys = keys
        self._wait_s = min(_HEARTBEAT_S, int(max_staleness_s / 3))
        self._cache: Cache[_Known] = Cache(cache_size)
        self._revoked = RevocationSet()
        self._silent_until_ms = 0
        self._last_act: weakref.finalize[[], Verifier] | None = None
        self._begin()
        reset_in_child(self, Verifier._begin)

    def __repr__(self) -> str:
        """Name issuer and audience; the credential is a secret."""
        return f"Verifier({self.issuer!r}, audience={self._audience!r}, check={self._check!r})"

    def verify(self, token: str, *, check: Check | None = None, now_ms: int | None = None) -> AccessClaims:
        """Return the claims of a token that holds now, or at `now_ms` since 1970.

        Mostly this takes microseconds; where the service must be asked it waits, at most `timeout_s` a question. In a coroutine
        use `verify_async`. Raises `InvalidToken` (whatever is wrong, one error), `ExpiredToken` (right in everything but its
        time), `SessionEnded`, and `Unavailable` where the answer cannot be had.
        """
        return self._verify(token, check, now_ms, may_wait=True)

    async def verify_async(self, token: str, *, check: Check | None = None) -> AccessClaims:
        """Do the same without holding up the event loop: what must wait does so on a thread."""
        try:
            return self._verify(token, check, None, may_wait=False)
        except WouldWait:
            return await asyncio.to_thread(self._verify, token, check, None, may_wait=True)

    async def confirm(self, claims: AccessClaims) -> None:
        """Raise `SessionEnded` if the session of claims that were verified before has ended since.

        It asks nobody, so it can be called again and again: for connections that stay open. Raises `Unavailable` where the feed
        has been silent for longer than `max_staleness_s`, or is not followed for want of a credential.
        """
        if session_key(claims.sid) in self._revoked:
            raise SessionEnded
        if not self.hears_of_ends or not self._is_fresh(self._clock(), monotonic_ms()):
            raise Unavailable("the revocation feed is silent")

    @property
    def hears_of_ends(self) -> bool:
        """Whether it follows the revocation feed, for which it needs a credential."""
        return self._authorization is not None

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Fetch the keys and everything that has ended; say whether both are there within `timeout_s` seconds.

        Not needed: until then the service is asked for each token. Use it for a readiness probe, or before taking requests.
        """
        ask_again_ms = monotonic_ms()
        deadline_ms = ask_again_ms + int(timeout_s * 1000)
        if self._authorization is not None:
            self._follower.start()
        while not self.status().is_ready and monotonic_ms() < deadline_ms:
            if not self._keys.is_ready and monotonic_ms() >= ask_again_ms:
                ask_again_ms = monotonic_ms() + _ASK_AGAIN_MS
                self._keys.fetch_in_background()
            if self._follower.stopping.wait(0.02):
                break
        return self.status().is_ready

    def status(self) -> VerifierStatus:
        """Return what to watch."""
        age_ms = self._follower.age_ms(self._clock(), monotonic_ms())
        keys_age_ms = self._keys.age_ms()
        return VerifierStatus(
            is_ready=self._keys.is_ready and (self._authorization is None or self._follower.ready.is_set()),
            feed_age_s=None if age_ms is None else age_ms / 1000,
            clock_offset_s=self._follower.clock_offset_ms / 1000,
            entries=len(self._revoked),
            keys_age_s=None if keys_age_ms is None else keys_age_ms / 1000,
            cached_tokens=len(self._cache),
            problem=self._follower.problem or self._keys.problem,
        )

    def close(self) -> None:
        """Stop following the feed. What is verified afterwards is so by asking the service."""
        self._follower.stopping.set()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""
        self.close()

    # --- one verification

    def _verify(self, token: str, check: Check | None, at_ms: int | None, *, may_wait: bool) -> AccessClaims:
        # This is the path of every request, and costs about a microsecond: clocks are read once.
        now_ms, monotonic = self._clock() if at_ms is None else at_ms, monotonic_ms()
        keys = self._keys.current(monotonic, may_wait=may_wait)
        if not isinstance(token, str):
            raise InvalidToken("not a text")
        known = self._cache.get(token)
        if known is None or known.keys is not keys or not known.from_ms <= now_ms < known.until_ms:
            known = self._verify_anew(token, keys, now_ms, may_wait=may_wait)
        if known.session in self._revoked:
            raise SessionEnded
        check = self._check if check is None else self._allowed(check)
        if check != "offline" and (check == "live" or not self._is_fresh(now_ms, monotonic)):
            self._ask(token, known.claims, may_wait=may_wait)
        return known.claims.copy()  # whoever changes `extra` changes it for nobody else

    def _verify_anew(self, token: str, keys: KeySet, now_ms: int, *, may_wait: bool) -> _Known:
        try:
            claims = jws.verify(token, keys, typ=ACCESS_TYPE, shape=AccessClaims)
        except jws.UnknownKey as unknown:
            newer = self._keys.newer_than(keys, unknown.kid, may_wait=may_wait)
            if newer is keys:
                raise
            claims, keys = jws.verify(token, newer, typ=ACCESS_TYPE, shape=AccessClaims), newer
        require_access(claims, issuer=self.issuer, audience=self._audience, now_s=now_ms // 1000, leeway_s=self._leeway_s)
        from_s = claims.iat if claims.nbf is msgspec.UNSET else max(claims.iat, claims.nbf)
        from_ms, until_ms = (from_s - self._leeway_s) * 1000, (claims.exp + self._leeway_s) * 1000
        known = _Known(claims, keys, from_ms, until_ms, session_key(claims.sid))
        self._cache.put(token, known)
        return known

    def _is_fresh(self, now_ms: int, monotonic: int) -> bool:
        if not self._follower.has_started:
            self._follower.start()
        age_ms = self._follower.age_ms(now_ms, monotonic)
        return age_ms is not None and age_ms <= self._max_staleness_ms

    def _ask(self, token: str, claims: AccessClaims, *, may_wait: bool) -> None:
        """Ask the service whether the token holds there too (RFC 7662)."""
        if monotonic_ms() < self._silent_until_ms:
            raise Unavailable("the service did not answer a moment ago")
        if not may_wait:
            raise WouldWait
        try:
            body = fetch(
                f"{self._url}/introspect",
                timeout_s=self._timeout_s,
                limit=_MAX_ANSWER_BYTES,
                authorization=self._authorization,
                form={"token": token},
            ).body
            answer = msgspec.json.decode(body, type=_Introspected)
        except Unavailable:
            self._silent_until_ms = monotonic_ms() + _SILENCE_MS
            raise
        except (msgspec.MsgspecError, RecursionError):
            raise Unavailable("the service's answer to /introspect is no introspection") from None
        if not answer.active:  # near its end that may be its end, by a clock that differs
            raise ExpiredToken if self._clock() // 1000 >= claims.exp - self._leeway_s else SessionEnded
        if (answer.sid, answer.jti) != (claims.sid, claims.jti):
            raise Unavailable("the service answered for another token")

    def _allowed(self, check: Check) -> Check:
        if check not in _CHECKS:
            raise ConfigurationError(f"check must be one of {', '.join(_CHECKS)}, not {check!r}.")
        if check != "offline" and self._authorization is None:
            raise ConfigurationError(
                f"check={check!r} needs a credential: make one with 'handstamp clients create NAME' and give it as "
                "credential='ID:SECRET'. check='offline' needs none, and lets tokens of ended sessions in until they expire."
            )
        return check

    # --- what goes on beside it

    def _begin(self) -> None:
        """Create the parts that hold locks and threads. Called again in a forked process, which has none of the threads."""
        url, authorization, timeout_s, wait_s = self._url, self._authorization, self._timeout_s, self._wait_s

        def fetch_keys() -> Fetched:
            return fetch(f"{url}/.well-known/jwks.json", timeout_s=timeout_s, limit=MAX_BYTES)

        def fetch_page(cursor: str) -> bytes:
            question = urlencode({"after": cursor, "wait": wait_s})
            whole_s = wait_s + timeout_s
            asked = f"{url}/revocations?{question}"
            return fetch(asked, timeout_s=whole_s, limit=_MAX_PAGE_BYTES, authorization=authorization).body

        # Nothing below holds `self`, so that a verifier that nobody uses any more ends its thread.
        self._silent_until_ms = 0
        self._keys = RemoteKeys(fetch_keys, patience_s=timeout_s) if self._given_keys is None else GivenKeys(self._given_keys)
        self._follower = Follower(fetch_page, self._revoked, self._keys.void, wait_s=wait_s, clock=self._clock)
        if self._last_act is not None:  # the parent's: the thread that held the lock in it does not exist here
            self._last_act.detach()
        self._last_act = weakref.finalize(self, self._follower.stopping.set)
