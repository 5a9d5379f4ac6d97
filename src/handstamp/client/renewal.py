"""One refresh for everybody: threads and tasks by a flight, processes by the store's lock.

What is promised here: of those who hold one token, one asks; what the service answers is kept before anybody uses it; an
answer that could not be kept is kept later, without asking again; and nothing but `session_ended` makes the tokens go.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from ..clock import monotonic_ms
from ..errors import ConfigurationError, HandstampError, MissingToken, SessionEnded, Unavailable
from ..forking import reset_in_child
from .flight import Flight
from .freshness import Freshness
from .service import Service
from .tokens import Tokens, TokenStore

SAVING_S = 5.0
"""What the patience of those who wait allows for writing to a disk."""
_MAX_SILENCE_S = 60
_log = logging.getLogger("handstamp.client")


class Renewals:
    """Renews the tokens of one store."""

    def __init__(self, service: Service, store: TokenStore, freshness: Freshness) -> None:
        """Take what it works with."""
        self._service = service
        self._store = store
        self._freshness = freshness
        self.lock_patience_s = service.patience_s + SAVING_S
        """How long the lock is waited for: as long as an honest holder can take."""
        self.patience_s = 2 * self.lock_patience_s
        """How long a renewal takes at most."""
        self._begin()
        reset_in_child(self, Renewals._begin)

    def _begin(self) -> None:
        """Create the parts that hold locks and threads. Called again in a forked process, which has none of the threads."""
        self._guard = threading.Lock()  # held for microseconds, never while anything is waited for
        self.forget()

    def forget(self) -> None:
        """Begin anew with other tokens, or none."""
        self._flights: dict[str, Flight[Tokens]] = {}
        self._silent_until_ms = 0
        self._silence = ""
        self._ended: SessionEnded | None = None
        self._unkept: tuple[str, Tokens] | None = None

    def held(self) -> Tokens:
        """Return the tokens in the store.

        Raises `SessionEnded` if they are gone because their session is, `MissingToken` if there are none, else as `check_store`.
        """
        tokens = self.check_store()
        if tokens is None:
            if self._ended is not None:
                raise SessionEnded(self._ended.reason)
            raise MissingToken("Nobody is signed in here: call sign_in() first.")
        return tokens

    def check_store(self) -> Tokens | None:
        """Return what is in the store. Raises `ConfigurationError` if it is another service's, and what the store raises."""
        tokens = self._store.load()
        if tokens is not None and tokens.issuer != self._service.issuer:
            raise ConfigurationError(
                f"{self._store!r} holds tokens of {tokens.issuer}, and this is {self._service.issuer}: "
                "give each service a store of its own."
            )
        return tokens

    def join(self, failed: Tokens) -> Flight[Tokens]:
        """Return the renewal of `failed` that is under way, or begin it.

        What comes of it are tokens that are better: new, or found in the store, where somebody else has put them meanwhile.
        Raises `Unavailable` at once if the service did not answer a moment ago: nobody else waits for it then.
        """
        left_ms = self._silent_until_ms - monotonic_ms()
        if left_ms > 0:
            raise Unavailable(self._silence, max(1, left_ms // 1000))
        with self._guard:
            flight = self._flights.get(failed.access_token)
            if flight is None or flight.is_over:
                self._flights = {token: other for token, other in self._flights.items() if not other.is_over}
                flight = self._flights[failed.access_token] = Flight(lambda: self._renew(failed))
            return flight

    def _renew(self, failed: Tokens) -> Tokens:
        try:
            with self._store.locked(self.lock_patience_s):
                tokens = self._keep_late(self.held())
                if tokens.access_token != failed.access_token and self._freshness.stage(tokens) != "over":
                    return tokens  # another thread or process was here before
                return self._ask(tokens)
        except Unavailable as problem:
            _log.warning("the tokens could not be renewed, and are kept: %s", problem.why)
            self._silence = problem.why
            self._silent_until_ms = monotonic_ms() + 1000 * min(problem.retry_after_s, _MAX_SILENCE_S)
            raise
        except HandstampError as error:
            _log.info("the tokens could not be renewed: %s", error.code)
            raise

    def _ask(self, tokens: Tokens) -> Tokens:
        try:
            new = self._service.refresh(tokens)
        except SessionEnded as ended:
            self._ended = ended
            with suppress(Unavailable):  # a file that cannot be deleted: whoever tries it hears the same
                self._store.clear()
            raise
        self._unkept = tokens.refresh_token, new
        self._store.save(new)
        self._unkept = None
        return new

    def _keep_late(self, tokens: Tokens) -> Tokens:
        """Keep what was answered when the disk was full, if the store still holds what it followed.

        Asking again with the old token is answered too, within grace and once later. After that it is reuse: the session ends.
        """
        if self._unkept is None:
            return tokens
        old, new = self._unkept
        if tokens.refresh_token == old:
            self._store.save(new)
            tokens = new
        self._unkept = None
        return tokens
