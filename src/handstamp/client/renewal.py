"""Renews tokens once, however many threads, tasks and processes need them: by a `Flight`, and by the lock of the store.

- Of all callers with the same token, one sends a request.
- The new tokens are saved before they are used.
- Tokens that could not be saved are saved later, without another request.
- Only `session_ended` deletes the tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress

from ..clock import monotonic_ms
from ..errors import ConfigurationError, HandstampError, MissingToken, SessionEnded, Unavailable
from ..forking import ProcessLock, reset_in_child
from .endpoints import ServiceEndpoints
from .flight import Flight
from .freshness import Freshness
from .tokens import StoredTokens, TokenStore

SAVING_S = 5.0
"""Seconds that a waiting caller allows for writing to a disk."""
_MAX_SILENCE_S = 60
_log = logging.getLogger("handstamp.client")


class Renewals:
    """Renews the tokens of one store."""

    def __init__(self, service: ServiceEndpoints, store: TokenStore, freshness: Freshness) -> None:
        """Renew the tokens in `store` at `service`; `freshness` says when they expire."""
        self._service = service
        self._store = store
        self._freshness = freshness
        self.lock_patience_s: float = service.patience_s + SAVING_S
        """Seconds to wait for the lock: as long as another renewal can take."""
        self.patience_s: float = 2 * self.lock_patience_s
        """Seconds that a renewal takes at most."""
        self._guard = ProcessLock()
        self.forget()
        reset_in_child(self, Renewals.forget)  # a forked process has none of the threads

    def forget(self) -> None:
        """Drop what is known of the former tokens: others were saved, or none."""
        self._flights: dict[str, Flight[StoredTokens]] = {}
        self._silent_until_ms = 0
        self._silence = ""
        self._ended: SessionEnded | None = None
        self._unsaved: tuple[str, StoredTokens] | None = None

    def current(self) -> StoredTokens:
        """Return the tokens in the store.

        Raises:
            SessionEnded: They were deleted because their session has ended.
            MissingToken: There are none.
            ConfigurationError: As `load_own`.
        """
        tokens = self.load_own()
        if tokens is None:
            if self._ended is not None:
                raise SessionEnded(self._ended.reason)
            raise MissingToken("No session is stored: call sign_in() first.")
        return tokens

    def load_own(self) -> StoredTokens | None:
        """Return the stored tokens. Raises `ConfigurationError` if they are another service's, and what the store raises."""
        tokens = self._store.load()
        if tokens is not None and tokens.issuer != self._service.issuer:
            raise ConfigurationError(
                f"{self._store!r} holds tokens of {tokens.issuer}, and this is {self._service.issuer}: "
                "give each service a store of its own."
            )
        return tokens

    def join(self, failed: StoredTokens, trace: Mapping[str, str] = {}) -> Flight[StoredTokens]:
        """Return the running renewal of `failed`, or start one, in the trace that these header fields name.

        Its result is newer tokens, from the service or from the store, if another process has saved some. Raises `Unavailable` at
        once if the service did not answer a moment ago.
        """
        left_ms = self._silent_until_ms - monotonic_ms()
        if left_ms > 0:
            raise Unavailable(self._silence, max(1, left_ms // 1000))
        with self._guard:
            flight = self._flights.get(failed.access_token)
            if flight is None or flight.is_done:
                self._flights = {token: other for token, other in self._flights.items() if not other.is_done}
                flight = self._flights[failed.access_token] = Flight(lambda: self._renew(failed, trace))
            return flight

    def _renew(self, failed: StoredTokens, trace: Mapping[str, str]) -> StoredTokens:
        try:
            with self._store.locked(self.lock_patience_s):
                tokens = self._save_late(self.current())
                if tokens.access_token != failed.access_token and self._freshness.stage(tokens) != "over":
                    return tokens  # another thread or process has renewed them
                return self._ask(tokens, trace)
        except Unavailable as problem:
            _log.warning("the tokens could not be renewed, and are kept: %s", problem.why)
            self._silence = problem.why
            self._silent_until_ms = monotonic_ms() + 1000 * min(problem.retry_after_s, _MAX_SILENCE_S)
            raise
        except HandstampError as error:
            _log.info("the tokens could not be renewed: %s", error.code)
            raise

    def _ask(self, tokens: StoredTokens, trace: Mapping[str, str]) -> StoredTokens:
        try:
            new = self._service.refresh(tokens, trace)
        except SessionEnded as ended:
            self._ended = ended
            with suppress(Unavailable):  # a file that cannot be deleted: its refresh token gets the same answer again
                self._store.clear()
            raise
        self._unsaved = tokens.refresh_token, new
        self._store.save(new)
        self._unsaved = None
        return new

    def _save_late(self, tokens: StoredTokens) -> StoredTokens:
        """Save the tokens that could not be saved before, if the store still has those that they replaced.

        The service accepts the old refresh token within the grace period, and once later. After that it is reuse, which ends the
        session.
        """
        if self._unsaved is None:
            return tokens
        old, new = self._unsaved
        if tokens.refresh_token == old:
            self._store.save(new)
            tokens = new
        self._unsaved = None
        return tokens
