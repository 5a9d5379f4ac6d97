"""Verify access tokens in the process of the service itself, which reads the store instead of the revocation feed."""

from __future__ import annotations

from collections.abc import Callable

from ..clock import Clock
from ..domain.claims import AccessClaims
from ..errors import ConfigurationError
from ..service.sessions.living import LivingSessions
from ..verify.verifier import Check, Verifier


class LocalVerifier:
    """Replaces a `Verifier`, for example in the adapters. A sign-out takes effect at the next request."""

    def __init__(
        self, ensure_running: Callable[[], object], *, verifier: Verifier, sessions: LivingSessions, clock: Clock
    ) -> None:
        """Create it. `ensure_running` raises while the keys are not loaded."""
        self._ensure_running = ensure_running
        self.issuer: str = verifier.issuer
        self.check: Check = "live"
        self.follows_feed = True
        self.max_staleness_s: float = 0
        self._verifier = verifier
        self._sessions = sessions
        self._clock = clock

    def verify(
        self,
        token: str,  # noqa: ARG002 - as `Verifier`
        *,
        check: Check | None = None,  # noqa: ARG002
        proved: str | None = None,  # noqa: ARG002
        impersonation: bool = False,  # noqa: ARG002
    ) -> AccessClaims:
        """Raise `ConfigurationError`: the store can only be read in a coroutine."""
        raise ConfigurationError("Inside the application, verify in a coroutine: await verify_async(token).")

    async def verify_async(
        self,
        token: str,
        *,
        check: Check | None = None,  # noqa: ARG002 - as `Verifier`
        proved: str | None = None,
        impersonation: bool = False,
    ) -> AccessClaims:
        """Return the claims of a valid token whose session is active. Every `check` is as strict as `live` here.

        Raises:
            Impersonated: If an operator acts in the place of the person, and `impersonation` is False.
            InvalidToken: If the token is not valid.
            ExpiredToken: If it has expired.
            SessionEnded: If its session has ended, with the reason.
            Unavailable: If the store does not answer.
        """
        self._ensure_running()
        now_ms = self._clock()
        claims = self._verifier.verify(token, now_ms=now_ms, proved=proved, impersonation=impersonation)
        await self._sessions.require_living(claims.sid, now_ms)
        return claims

    def now_ms(self) -> int:
        """Return the time by the service's clock, in milliseconds since 1970."""
        return self._clock()

    def is_recent(self, claims: AccessClaims, *, max_age_s: int) -> bool:
        """Return whether the person of verified claims proved who they are at most `max_age_s` seconds ago (RFC 9470)."""
        return self._verifier.is_recent(claims, max_age_s=max_age_s)

    async def confirm(self, claims: AccessClaims) -> None:
        """Raise `SessionEnded` if the session of verified claims has ended, or `Unavailable` if the store does not answer."""
        await self._sessions.require_living(claims.sid, self._clock())
