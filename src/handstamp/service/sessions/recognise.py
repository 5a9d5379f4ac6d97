"""Recognise: whose session a refresh cookie stands for, for pages that a browser asks for by itself."""

from __future__ import annotations

from ...domain.account import Account
from ...domain.policy import Policy
from ...domain.rotation import Ended, Reuse, decide
from ...domain.session import Session
from ...errors import InvalidToken, SessionEnded
from ...storage.store import Store
from ..parts.caller import Caller
from ..parts.tokens import TokenIssuer


class Recognise:
    """The use case behind the pages, which hold no access token."""

    def __init__(self, *, store: Store, tokens: TokenIssuer, policy: Policy) -> None:
        """Take what it works with."""
        self._store = store
        self._tokens = tokens
        self._policy = policy

    async def __call__(self, token: str, caller: Caller) -> tuple[Session, Account | None]:
        """Return the living session, and its account, of a refresh token that came as a cookie.

        Nothing is renewed and nothing written: looking at a page is safe (RFC 9110 §9.2.1). The token is taken where renewing
        would take it; an old copy is refused here and ends its session where it is used to renew. Raises `InvalidToken`,
        `SessionEnded`, `Unavailable`.
        """
        claims = self._tokens.read_refresh(token)
        session, account = await self._store.session(claims.sid) or (None, None)
        if session is not None and (session.subject != claims.sub or session.delivery == "json"):
            raise InvalidToken("presented by another way than its session's, or for another subject")
        outcome = decide(session, account, claims, caller.now_ms, self._policy)
        if session is None or isinstance(outcome, Ended):
            raise SessionEnded(outcome.reason if isinstance(outcome, Ended) else "expired")
        if isinstance(outcome, Reuse) or caller.now_ms >= claims.exp * 1000:
            raise InvalidToken("an old copy of the session's refresh token")
        return session, account
