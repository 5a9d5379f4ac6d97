"""Verifies access tokens (RFC 9068 §4) and refuses those of ended sessions. Synchronous and thread-safe.

A verification has three steps:

1. The token is in the cache and still valid, or its signature and its claims are verified.
2. Its session is not in the set of ended sessions.
3. If that set is too old, or the route declared `check="live"`, the service is asked (RFC 7662).

If the service does not answer then, the result is `Unavailable`: the token is not accepted, but the session has not ended.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Literal, Self, get_args

import msgspec

from ..clock import Clock, monotonic_ms
from ..clock import now_ms as system_clock
from ..crypto import jws
from ..crypto.jwk import KeySet
from ..domain.assurance import is_recent
from ..domain.claims import ACCESS_TYPE, AccessClaims, require_access, require_key
from ..domain.issuer import is_private
from ..domain.policy import MAX_LEEWAY_S
from ..errors import ConfigurationError, ExpiredToken, Impersonated, InvalidToken, SessionEnded, Unavailable
from ..forking import reset_in_child
from ..waiting import pause, wait_for
from .cache import Cache
from .connections import MAX_IDLE
from .jwks import GivenKeys, Keys, RemoteKeys, WouldWait, parse_keys
from .revocations import Feed, FeedFollower, RevocationSet, session_key
from .service import MAX_WAIT_S, Introspection, RemoteService
from .status import VerifierMeter, VerifierStatus

Check = Literal["offline", "feed", "live"]
"""How a route learns that a session has ended, from the least to the most strict: not at all, from the feed, or from the service
at each request."""

_CHECKS = get_args(Check)
_RETRY_MS = 500
_BACKOFF_MS = 1000
"""For this long after the service did not answer, requests fail at once instead of waiting for it."""
_BOUNDS = {
    "leeway_s": (0, MAX_LEEWAY_S),
    "max_staleness_s": (3, 3600),  # a long poll takes up to a third of it, in whole seconds
    "timeout_s": (0.01, 60),
    "cache_size": (0, math.inf),
}


def require_possible(check: Check, *, follows_feed: bool) -> Check:
    """Return `check`. Raises `ConfigurationError` if it is unknown, or needs a credential that the verifier does not have."""
    if check not in _CHECKS:
        raise ConfigurationError(f"check must be one of {', '.join(_CHECKS)}, not {check!r}.")
    if check != "offline" and not follows_feed:
        raise ConfigurationError(
            f"check={check!r} needs a credential. Create one with 'handstamp credentials create NAME' and pass it as "
            "credential='ID:SECRET'. check='offline' needs none, and accepts tokens of ended sessions until they expire."
        )
    return check


def is_stricter(check: Check, than: Check) -> bool:
    """Return whether one policy asks for more than another."""
    return _CHECKS.index(check) > _CHECKS.index(than)


class _CachedToken(msgspec.Struct, frozen=True, gc=False):
    """A verified token: its claims, the key set that verified it, and when it is valid."""

    claims: AccessClaims
    keys: KeySet
    from_ms: int
    until_ms: int
    session: int


class Verifier:
    """Verifies the access tokens of one issuer. Create one per process; all methods are thread-safe.

    A new verifier sends no request before it is used.

    Args:
        issuer: The service's `HANDSTAMP_ISSUER`, character for character.
        audience: The `aud` to accept; with a tuple, any of them.
        credential: `"ID:SECRET"`, as `handstamp credentials create` prints it. Only `check="offline"` works without one.
        keys: The issuer's keys, or a function that returns them. By default they are fetched and kept up to date.
        check: The policy of routes that do not declare one.
        max_staleness_s: Seconds for which the feed may be silent before the service is asked instead, 3 to 3600.
        leeway_s: Seconds by which clocks may differ, 0 to 60 (RFC 7519 §4.1.4).
        cache_size: The number of verified tokens to keep in memory; 0 keeps none.
        timeout_s: Seconds until a request to the service fails, 0.01 to 60.
        service_url: Where the service is reached from here, by default at its issuer.
        ca_file: A PEM file with the only authorities whose certificates are trusted there, by default the system's.
        clock: Returns milliseconds since 1970.

    Raises:
        ConfigurationError: The credential is malformed or missing, the service's URL is neither https nor on this machine, or
            `ca_file` holds no certificate.
        ValueError: A number is out of its bounds.
    """

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
        ca_file: str | os.PathLike[str] | None = None,
        clock: Clock = system_clock,
    ) -> None:
        _require_bounds(leeway_s=leeway_s, max_staleness_s=max_staleness_s, timeout_s=timeout_s, cache_size=cache_size)
        self.issuer = issuer
        self.audience: tuple[str, ...] = (audience,) if isinstance(audience, str) else tuple(audience)
        """The values of `aud` to accept."""
        self._leeway_s = leeway_s
        self.max_staleness_s: float = max_staleness_s
        """Seconds for which the feed may be silent before the service is asked instead."""
        self._max_staleness_ms = int(max_staleness_s * 1000)
        self._clock = clock
        self.follows_feed: bool = credential is not None
        """True if the verifier learns of ended sessions; it needs a credential for that."""
        self.check: Check = require_possible(check, follows_feed=self.follows_feed)
        """The policy of routes that do not declare one."""
        url = (service_url or issuer).rstrip("/")
        if keys is None or credential is not None:
            _require_private(url)
        wait_s = min(MAX_WAIT_S, int(max_staleness_s / 3))
        self._service = RemoteService(url, credential=credential, timeout_s=timeout_s, wait_s=wait_s, ca_file=ca_file)
        self._keys: Keys = (
            RemoteKeys(self._service.fetch_keys, parse=parse_keys, timeout_s=timeout_s) if keys is None else GivenKeys(keys)
        )
        self._cache: Cache[_CachedToken] = Cache(cache_size)
        self._revoked = RevocationSet()
        self._unreachable_until_ms = 0
        self._finalizer: weakref.finalize[[], Verifier] | None = None
        self._connect()
        reset_in_child(self, Verifier._connect)

    def __repr__(self) -> str:
        """Name the issuer and the audience, not the credential."""
        return f"Verifier({self.issuer!r}, audience={self.audience!r}, check={self.check!r})"

    def verify(
        self,
        token: str,
        *,
        check: Check | None = None,
        now_ms: int | None = None,
        proved: str | None = None,
        impersonation: bool = False,
    ) -> AccessClaims:
        """Return the claims of a valid token.

        It takes microseconds unless the service must be asked: then it blocks for at most `timeout_s` per request. Use
        `verify_async` in coroutines.

        Args:
            token: The access token.
            check: How to learn that the session has ended, by default the verifier's `check`.
            now_ms: The time to verify for, in milliseconds since 1970; by default the clock's.
            proved: The thumbprint of the key of which the request had a proof (RFC 9449). A token that is bound to a key is valid
                with that one alone, never as a bearer token, and another token never with one. "any" skips this check, for
                those who ask about a token that they have not been sent.
            impersonation: True to accept tokens with which an operator acts in the place of a person. Say so only if you look at
                `claims.actor`: the operator may change nothing if `claims.is_read_only`. The adapters do.

        Raises:
            Impersonated: An operator acts in the place of the person, and `impersonation` is False.
            InvalidToken: The token is malformed, forged, bound to another key, or for another issuer or audience.
            ExpiredToken: The token was valid and has expired.
            SessionEnded: The session of the token has ended.
            Unavailable: The keys cannot be fetched, or the service must be asked and does not answer.
            ConfigurationError: `check` needs a credential and the verifier has none.
        """
        while True:
            try:
                return self._verify(token, check, now_ms, proved, impersonation=impersonation, may_wait=True)
            except WouldWait as missing:
                self._keys.wait(missing.kid)

    async def verify_async(
        self, token: str, *, check: Check | None = None, proved: str | None = None, impersonation: bool = False
    ) -> AccessClaims:
        """Do the same as `verify` without blocking the event loop (asyncio or trio): what has to wait runs in a thread."""
        try:
            return self._verify(token, check, None, proved, impersonation=impersonation, may_wait=False)
        except WouldWait:
            pass  # so that an error of the thread is not shown as one that happened while this one was handled
        try:
            waiting = self._threads.submit(self.verify, token, check=check, proved=proved, impersonation=impersonation)
        except RuntimeError as problem:  # at exit, or at the system's limit
            raise Unavailable(f"no thread can be started: {problem}") from None
        return await wait_for(waiting)

    def now_ms(self) -> int:
        """Return the time by the verifier's clock, in milliseconds since 1970."""
        return self._clock()

    def is_recent(self, claims: AccessClaims, *, max_age_s: int) -> bool:
        """Return whether the person of verified claims proved who they are at most `max_age_s` seconds ago (RFC 9470).

        The verifier's leeway counts in their favour.
        """
        return is_recent(claims, self._clock(), max_age_s=max_age_s, leeway_s=self._leeway_s)

    async def confirm(self, claims: AccessClaims) -> None:
        """Raise an error if the session of verified claims has ended since. Sends no request, so it can be called often.

        Raises:
            SessionEnded: The session has ended.
            Unavailable: The feed has been silent for more than `max_staleness_s`, or is not followed for lack of a credential.
        """
        is_fresh = self.follows_feed and self._is_fresh(self._clock(), monotonic_ms())
        if session_key(claims.sid) in self._revoked:
            raise SessionEnded
        if not is_fresh:
            raise Unavailable("the revocation feed is silent")

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Fetch the keys and all ended sessions; return whether that was done within `timeout_s` seconds.

        Calling it is optional: until the verifier is ready, it asks the service about each token.
        """
        retry_at_ms = monotonic_ms()
        deadline_ms = retry_at_ms + int(timeout_s * 1000)
        if self.follows_feed:
            self._feed.start()
        while not self.status().is_ready and monotonic_ms() < deadline_ms:
            if not self._keys.is_ready and monotonic_ms() >= retry_at_ms:
                retry_at_ms = monotonic_ms() + _RETRY_MS
                self._keys.fetch_in_background()
            if self._feed.is_stopped:
                break
            pause(0.02)
        return self.status().is_ready

    def status(self) -> VerifierStatus:
        """Return the state of the verifier, for metrics and readiness probes."""
        age_ms = self._feed.age_ms(self._clock(), monotonic_ms())
        keys_age_ms = self._keys.age_ms()
        return VerifierStatus(
            is_ready=self._keys.is_ready and (not self.follows_feed or self._feed.is_ready),
            feed_age_s=None if age_ms is None else age_ms / 1000,
            clock_offset_s=self._feed.clock_offset_ms / 1000,
            entries=len(self._revoked),
            keys_age_s=None if keys_age_ms is None else keys_age_ms / 1000,
            cached_tokens=len(self._cache),
            problem=self._feed.problem or self._keys.problem,
        )

    def measure(self, meter: VerifierMeter) -> None:
        """Report to a meter from now on. `handstamp.verify.metrics` has one for Prometheus.

        The methods that are measured are replaced in this object, so that a verifier without a meter spends no time on it.
        """
        self._verify = meter.count_verifications(self._verify)  # type: ignore[method-assign]
        self._verify_signature = meter.count_signatures(self._verify_signature)  # type: ignore[method-assign]
        self._service.time_request = meter.time_request

    def close(self) -> None:
        """Stop following the feed. A closed verifier still works: it asks the service about each token."""
        self._feed.stop()

    def __enter__(self) -> Self:
        """Return the verifier."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the verifier."""
        self.close()

    # --- one verification

    def _verify(
        self, token: str, check: Check | None, at_ms: int | None, proved: str | None, *, impersonation: bool, may_wait: bool
    ) -> AccessClaims:
        # Every request comes through here and should cost about a microsecond, so each clock is read once.
        now_ms, monotonic = self._clock() if at_ms is None else at_ms, monotonic_ms()
        check = self.check if check is None else require_possible(check, follows_feed=self.follows_feed)
        windows = self._revoked.windows
        # Before the keys and the set are read: what the feed brings meanwhile does not make older readings recent.
        must_ask = check != "offline" and (check == "live" or not self._is_fresh(now_ms, monotonic))
        keys = self._keys.current(monotonic)
        if not isinstance(token, str):
            raise InvalidToken("the token is not a string")
        cached = self._cache.get(token)
        if cached is None or cached.keys is not keys or not cached.from_ms <= now_ms < cached.until_ms:
            cached = self._verify_signature(token, keys, now_ms)
            if cached.claims.actor is not None and not impersonation:
                raise Impersonated
        for window in windows:
            if cached.session in window:
                raise SessionEnded
        if windows is not self._revoked.windows:
            # One was added after the look-up began, or dropped because time has leapt. A meter counts this as one verification.
            return Verifier._verify(self, token, check, at_ms, proved, impersonation=impersonation, may_wait=may_wait)
        if must_ask:
            self._require_active(token, cached.claims, may_wait=may_wait)
        claims = cached.claims.copy()  # a caller that changes `extra` must not change the cache
        return claims if proved == "any" else require_key(claims, proved)

    def _verify_signature(self, token: str, keys: KeySet, now_ms: int) -> _CachedToken:
        """Verify the signature and the claims of a token, and put it into the cache if the person uses it."""
        try:
            claims = jws.verify(token, keys, typ=ACCESS_TYPE, shape=AccessClaims)
        except jws.UnknownKey as unknown:
            self._keys.require_unknown(unknown.kid, keys)
            raise
        require_access(claims, issuer=self.issuer, audience=self.audience, now_s=now_ms // 1000, leeway_s=self._leeway_s)
        from_s = claims.iat if claims.nbf is msgspec.UNSET else max(claims.iat, claims.nbf)
        from_ms, until_ms = (from_s - self._leeway_s) * 1000, (claims.exp + self._leeway_s) * 1000
        verified = _CachedToken(claims, keys, from_ms, until_ms, session_key(claims.sid))
        if claims.actor is None:  # the others are rare, and so a cached token needs no look at it
            self._cache.put(token, verified)
        return verified

    def _is_fresh(self, now_ms: int, monotonic: int) -> bool:
        """Return whether the set of ended sessions is recent enough to rely on."""
        if not self._feed.has_started:
            self._feed.start()
        age_ms = self._feed.age_ms(now_ms, monotonic)
        return age_ms is not None and age_ms <= self._max_staleness_ms

    def _require_active(self, token: str, claims: AccessClaims, *, may_wait: bool) -> None:
        """Ask the service whether a token is still valid there (RFC 7662)."""
        if monotonic_ms() < self._unreachable_until_ms:
            raise Unavailable("the service did not answer a moment ago")
        if not may_wait:
            raise WouldWait
        try:
            answer = self._introspect(token)
        except Unavailable:
            self._unreachable_until_ms = monotonic_ms() + _BACKOFF_MS
            raise
        if not answer.active:  # in the last seconds of a token's life, the service's clock may say that it has expired
            raise ExpiredToken if self._clock() // 1000 >= claims.exp - self._leeway_s else SessionEnded
        if (answer.sid, answer.jti) != (claims.sid, claims.jti):
            raise Unavailable("the service answered for another token")

    # --- the service

    def _connect(self) -> None:
        """Create what sends requests. Called again in a forked process, which has none of its parent's threads."""
        self._unreachable_until_ms = 0
        self._service.forget_connections()
        # Of its own: if the service hangs, name look-ups and other work of the event loop's threads go on.
        self._threads = ThreadPoolExecutor(MAX_IDLE, "handstamp-verify")
        self._feed: Feed = FeedFollower(
            self._service.fetch_page, self._revoked, self._keys.void, wait_s=self._service.wait_s, clock=self._clock
        )
        self._introspect: Callable[[str], Introspection] = self._service.introspect
        if self._finalizer is not None:
            self._finalizer()  # a thread of the parent may live on here, if it is a greenlet
        self._finalizer = weakref.finalize(self, self._feed.stop)


def _require_bounds(**numbers: float) -> None:
    for name, number in numbers.items():
        least, most = _BOUNDS[name]
        if not least <= number <= most:
            raise ValueError(f"{name} must be between {least} and {most}")


def _require_private(url: str) -> None:
    if not is_private(url):
        raise ConfigurationError(f"The service must be reached by https, or on this machine: {url} is neither.")
