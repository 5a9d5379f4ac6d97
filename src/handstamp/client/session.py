"""The session in a store: begun, used at the service itself, and ended. Every method blocks: it runs in a `Flight`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ..errors import ExpiredToken, InvalidToken, SessionEnded
from .answers import MAX_ANSWER_BYTES, SUCCESS, Answer
from .endpoints import ServiceEndpoints
from .freshness import Freshness
from .renewal import Renewals
from .tokens import StoredTokens, TokenStore


class StoredSession:
    """The one session that a store holds."""

    def __init__(self, service: ServiceEndpoints, store: TokenStore, renewals: Renewals, freshness: Freshness) -> None:
        """Keep the session's tokens in `store`, and renew them by `renewals`."""
        self._service = service
        self._store = store
        self._renewals = renewals
        self._freshness = freshness

    def begin(self, ask: Callable[[StoredTokens | None], StoredTokens]) -> None:
        """Replace the session by the one that `ask` gets from the service. Its argument is the former session."""
        with self._store.locked(self._renewals.lock_patience_s):
            former = self._renewals.load_own()  # an unusable store must fail before a session is started
        self.replace(ask(former))

    def known(self) -> dict[str, str]:
        """Return what shows the service that a person has signed in here before, as a part of a request's body."""
        former = self._renewals.load_own()
        return {} if former is None else {"refreshToken": former.refresh_token}

    def replace(self, tokens: StoredTokens) -> None:
        """Store tokens of another session."""
        with self._store.locked(self._renewals.lock_patience_s):
            self._renewals.load_own()
            self._store.save(tokens)
            self._renewals.forget()

    def end(self) -> None:
        """End the session at the service, then delete its tokens."""
        with self._store.locked(self._renewals.lock_patience_s):
            tokens = self._renewals.load_own()
            if tokens is not None:
                self._service.logout(tokens)
                self._store.clear()
            self._renewals.forget()

    def drop(self) -> None:
        """Delete the tokens of a session that the service has ended."""
        with self._store.locked(self._renewals.lock_patience_s):
            self._store.clear()
            self._renewals.forget()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        limit: int = MAX_ANSWER_BYTES,
        expected: Collection[int] = SUCCESS,
    ) -> Answer:
        """Send a request to the service with the access token, and once more with a new one if it is refused.

        Raises:
            MissingToken: No session is stored.
            SessionEnded: The session has ended, and its tokens are deleted.
            HandstampError: Any other error of the service.
        """
        tokens = self._renewals.current()
        if self._freshness.stage(tokens) == "over":
            tokens = self._renew(tokens)
        try:
            return self._service.call(
                method, path, body, token=tokens.access_token, key=tokens.key, limit=limit, expected=expected
            )
        except (ExpiredToken, InvalidToken, SessionEnded):
            tokens = self._renew(tokens)
            return self._service.call(
                method, path, body, token=tokens.access_token, key=tokens.key, limit=limit, expected=expected
            )

    def _renew(self, tokens: StoredTokens) -> StoredTokens:
        return self._renewals.join(tokens).wait(self._renewals.patience_s)
