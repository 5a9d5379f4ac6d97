"""Find the session of a refresh cookie, for pages that the browser loads without an access token."""

from __future__ import annotations

from ...crypto.proofs import FormTags
from ...domain.account import Account
from ...domain.policy import Policy
from ...domain.rotation import Challenge, Ended, Reuse, decide
from ...domain.session import Session
from ...errors import InvalidToken, SessionEnded
from ...storage.store import Store
from ..parts.caller import Caller
from ..parts.tokens import TokenIssuer
from .refresh import FindEnd, require_way

MOST_PROOFS = 3
"""Proofs of a browser's key that may be made while one form waits for one."""


class Recognise:
    """The use case behind the HTML pages."""

    def __init__(self, *, store: Store, tokens: TokenIssuer, policy: Policy, tags: FormTags) -> None:
        self._store = store
        self._tokens = tokens
        self._policy = policy
        self._tags = tags

    async def __call__(self, token: str, caller: Caller, find_end: FindEnd) -> tuple[Session, Account | None]:
        """Return the living session of a refresh token from a cookie, and its account.

        Nothing is written: loading a page is safe (RFC 9110 §9.2.1). The token is accepted if a refresh would accept it. An old
        copy is refused, but only a refresh with it ends the session.

        Args:
            token: The refresh token.
            caller: The time of the request and where it came from.
            find_end: Finds the credential by which a session that is bound to a device shows that it was proved lately.

        Raises:
            ProofRequired: If the session is bound to a device and the request has no such credential.
            InvalidToken: If the token is invalid or an old copy, or if its session does not use cookies.
            SessionEnded: If the session has ended.
            Unavailable: If the store does not answer.
        """
        claims = self._tokens.read_refresh(token)
        session, account = await self._store.session(claims.sid) or (None, None)
        require_way(session, claims, "cookie")
        was_proved = session is not None and session.bound_key is not None and find_end(session) is not None
        outcome = decide(session, account, claims, caller.now_ms, self._policy, was_proved=was_proved)
        if session is None or isinstance(outcome, Ended):
            raise SessionEnded(outcome.reason if isinstance(outcome, Ended) else "expired")
        if isinstance(outcome, Challenge):
            raise self._tokens.require_proof(session)
        if isinstance(outcome, Reuse) or caller.now_ms >= claims.exp * 1000:
            raise InvalidToken("an old copy of the session's refresh token")
        return session, account

    def tag_form(self, session: Session, token: str, content: str) -> str:
        """Return the tag with which a form comes again, once the browser has proved the key. As `has_proved_since`."""
        generation = max(session.generation, self._tokens.read_refresh(token).gen)  # the row may be older, from a backup
        return self._tags.make(session.id, generation, content)

    def has_proved_since(self, session: Session, token: str, tag: str, content: str) -> bool:
        """Return whether a form came again with its tag and with a refresh token that a proof has made since.

        Only a proof moves on the generation of a session that is bound to its browser.

        Args:
            session: The session.
            token: Its refresh token, which `__call__` has accepted.
            tag: What `tag_form` has returned.
            content: The content of the form. A tag is for one, so that one from the browser's history is worth nothing.
        """
        latest = self._tokens.read_refresh(token).gen
        before = range(max(0, latest - MOST_PROOFS), latest)
        return any(self._tags.is_valid(tag, session.id, generation, content) for generation in before)
