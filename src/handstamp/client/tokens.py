"""The tokens of a signed-in person, and where they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Protocol

import msgspec

from ..errors import ConfigurationError, Unavailable
from ..forking import ProcessLock, reset_in_child

Token = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9\-._~+/]+=*\Z", max_length=8192)]
"""The characters that RFC 6750 §2.1 allows after `Bearer`: none of them can end the header."""
Seconds = Annotated[int, msgspec.Meta(ge=1, le=10**9)]


class StoredTokens(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The tokens of a session, as the service answered them (RFC 6749 §5.1). `repr` shows the session's id alone.

    Attributes:
        issuer: The service's URL. The refresh token is sent nowhere else.
        session_id: The session.
        access_token: The access token.
        refresh_token: The refresh token.
        expires_in_s: The lifetime of the access token in seconds, from `obtained_at_ms`.
        obtained_at_ms: Milliseconds since 1970 by this machine's clock. Only differences of two readings are used.
        key: The private key to which the session is bound (RFC 9449), "" if it is bound to none.
    """

    issuer: str
    session_id: str
    access_token: Token
    refresh_token: Token
    expires_in_s: Seconds
    obtained_at_ms: int
    key: str = ""

    @property
    def authorization(self) -> str:
        """The value of the `Authorization` header."""
        return f"{'DPoP' if self.key else 'Bearer'} {self.access_token}"

    def __repr__(self) -> str:
        return f"StoredTokens(session_id={self.session_id!r})"


class TokenStore(Protocol):
    """Stores the tokens of one session. Implement these four methods to use a keyring or a database.

    Each may be called from any thread. `load` is called before every request, also in coroutines, so it must be quick. Errors
    reach the caller of the request: raise those of `handstamp.errors`.
    """

    def load(self) -> StoredTokens | None:
        """Return the tokens, None if there are none."""

    def save(self, tokens: StoredTokens) -> None:
        """Replace the tokens. Return once they are as durable as this store can make them: the old ones may be invalid by now."""

    def clear(self) -> None:
        """Delete the tokens."""

    def locked(self, patience_s: float) -> AbstractContextManager[None]:
        """Hold the lock under which tokens are renewed or replaced, for the length of a `with` block.

        It excludes every thread and process that shares the tokens, and is released if the process dies. Raises `Unavailable` if
        it is not free within `patience_s` seconds.
        """


class MemoryTokens:
    """Stores the tokens in this process alone. Threads and tasks may share it."""

    def __init__(self) -> None:
        """Create an empty store."""
        self._tokens: StoredTokens | None = None
        self._is_copy = False
        self._lock = ProcessLock()
        reset_in_child(self, MemoryTokens._reset)

    def __repr__(self) -> str:
        return "MemoryTokens()"

    def load(self) -> StoredTokens | None:
        """Return the tokens, None if there are none."""
        return self._tokens

    def save(self, tokens: StoredTokens) -> None:
        """Replace the tokens."""
        self._is_copy, self._tokens = False, tokens

    def clear(self) -> None:
        """Remove the tokens."""
        self._is_copy, self._tokens = False, None

    @contextmanager
    def locked(self, patience_s: float) -> Iterator[None]:
        """Hold the lock under which tokens are renewed or replaced, for the length of a `with` block.

        Raises `Unavailable` if the lock is not free within `patience_s` seconds, and `ConfigurationError` in a process that was
        forked with an active session: parent and child would renew with copies of one refresh token, which ends the session
        (RFC 9700 §4.14.2).
        """
        if self._is_copy:
            raise ConfigurationError(
                "This process was forked with an active session. Parent and child would renew with copies of one refresh "
                "token, which ends the session. Keep the tokens in FileTokens, which processes may share, or call clear() on "
                "this store in each process and sign in there."
            )
        if not self._lock.acquire(patience_s):
            raise Unavailable(f"another thread has been renewing the tokens for {patience_s:g} seconds")
        try:
            yield
        finally:
            self._lock.release()

    def _reset(self) -> None:
        """Mark inherited tokens as a copy."""
        self._is_copy = self._tokens is not None
