"""Verifying access tokens in the process of the service itself: nobody has to tell it what ended, it looks."""

from __future__ import annotations

from collections.abc import Callable

from ..clock import Clock
from ..domain.claims import AccessClaims
from ..errors import ConfigurationError
from ..service.sessions.living import LivingSessions
from ..verify.verifier import Check, Verifier


class LocalVerifier:
    """Stands where a `Verifier` does, in the adapters for instance, and sees a sign-out on the very next request."""

    def __init__(
        self, ensure_running: Callable[[], object], *, verifier: Verifier, sessions: LivingSessions, clock: Clock
    ) -> None:
        """Take what checks the token and what knows its session, and what raises while there are no keys yet."""
        self._ensure_running = ensure_running
        self.issuer = verifier.issuer
        self.follows_feed = True
        self._verifier = verifier
        self._sessions = sessions
        self._clock = clock

    def verify(
        self,
        token: str,  # noqa: ARG002 - as `Verifier`
        *,
        check: Check | None = None,  # noqa: ARG002
    ) -> AccessClaims:
        """Raise `ConfigurationError`: the store can be asked in a coroutine only."""
        raise ConfigurationError("Inside the application, verify in a coroutine: await verify_async(token).")

    async def verify_async(self, token: str, *, check: Check | None = None) -> AccessClaims:  # noqa: ARG002 - as `Verifier`
        """Return the claims of a token whose session lives. `check` is always as good as `live` here.

        Raises `InvalidToken`, `ExpiredToken`, `SessionEnded` with its reason, `Unavailable`.
        """
        self._ensure_running()
        now_ms = self._clock()
        claims = self._verifier.verify(token, now_ms=now_ms)
        await self._sessions.require_living(claims.sid, now_ms)
        return claims

    async def confirm(self, claims: AccessClaims) -> None:
        """Raise `SessionEnded` unless the session of claims that were verified before still lives, or `Unavailable`."""
        await self._sessions.require_living(claims.sid, self._clock())
