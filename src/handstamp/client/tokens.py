"""What a signed-in client holds, and where it keeps it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Protocol

import msgspec

from ..errors import ConfigurationError, Unavailable
from ..forking import reset_in_child

Token = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9\-._~+/]+=*\Z", max_length=8192)]
"""What may stand behind `Bearer` (RFC 6750 §2.1): nothing in it can end the header that it is put into."""
Seconds = Annotated[int, msgspec.Meta(ge=1, le=10**9)]


class Tokens(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A session's two tokens as the service answered them (RFC 6749 §5.1), and when. Never shown: `repr` names the session alone.

    `issuer` is the service's URL; the refresh token goes nowhere else. `expires_in_s` is the access token's life in seconds,
    counted from `obtained_at_ms`, milliseconds since 1970 by this machine's clock, right or wrong: only differences are used.
    """

    issuer: str
    session_id: str
    access_token: Token
    refresh_token: Token
    expires_in_s: Seconds
    obtained_at_ms: int

    def __repr__(self) -> str:
        return f"Tokens(session_id={self.session_id!r})"


class TokenStore(Protocol):
    """Where the tokens of one session are. Yours may be a keyring or a database: these four methods are all that is called.

    All may be called from any thread. `load` is called before every request, also in coroutines, so it must be quick.
    Errors that they raise reach whoever made the request: raise those of `handstamp.errors`.
    """

    def load(self) -> Tokens | None:
        """Return what is held, None where nobody is signed in."""

    def save(self, tokens: Tokens) -> None:
        """Replace what is held. Return only once it is as durable as this store can make it: the old token may be dead by now."""

    def clear(self) -> None:
        """Hold nothing any more."""

    def locked(self, patience_s: float) -> AbstractContextManager[None]:
        """Keep everybody who shares what is held from renewing or replacing it, threads and processes, for the length of a block.

        The lock of a process that dies must fall. Raises `Unavailable` if it is not to be had within `patience_s` seconds.
        """


class MemoryTokens:
    """Keeps the tokens in this process and nowhere else. Threads and tasks may share it."""

    def __init__(self) -> None:
        """Create an empty store: nobody is signed in."""
        self._tokens: Tokens | None = None
        self._is_copy = False
        self._lock = threading.Lock()
        reset_in_child(self, MemoryTokens._reset)

    def __repr__(self) -> str:
        return "MemoryTokens()"

    def load(self) -> Tokens | None:
        """Return the tokens, None if nobody is signed in."""
        return self._tokens

    def save(self, tokens: Tokens) -> None:
        """Replace the tokens."""
        self._is_copy, self._tokens = False, tokens

    def clear(self) -> None:
        """Remove the tokens."""
        self._is_copy, self._tokens = False, None

    @contextmanager
    def locked(self, patience_s: float) -> Iterator[None]:
        """Hold the lock under which tokens are renewed or replaced, for the length of a `with` block.

        Raises `Unavailable` if the lock is not free within `patience_s` seconds, and `ConfigurationError` in a process that was
        forked while somebody was signed in: parent and child would renew with copies of one refresh token, which ends the session
        (RFC 9700 §4.14.2).
        """
        if self._is_copy:
            raise ConfigurationError(
                "This process was forked while somebody was signed in. Parent and child would renew with copies of one refresh "
                "token, which ends the session. Keep the tokens in FileTokens, which processes may share, or call clear() on "
                "this store in each process and sign in there."
            )
        if not self._lock.acquire(timeout=patience_s):
            raise Unavailable(f"another thread has been renewing the tokens for {patience_s:g} seconds")
        try:
            yield
        finally:
            self._lock.release()

    def _reset(self) -> None:
        """Mark inherited tokens as a copy, and replace the lock: the thread that held it may not exist in this process."""
        self._is_copy = self._tokens is not None
        self._lock = threading.Lock()
