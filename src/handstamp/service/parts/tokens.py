"""Making tokens from a session's row, and reading the ones that come back."""

from __future__ import annotations

from typing import Literal

import msgspec

from ...crypto import jws
from ...crypto.identifiers import new_id
from ...crypto.jwk import KeySet, SigningKey
from ...domain.claims import (
    ACCESS_TYPE,
    REFRESH_TYPE,
    AccessClaims,
    RefreshClaims,
    require_access_ignoring_time,
    require_refresh_ignoring_time,
)
from ...domain.delivery import Delivery
from ...domain.grant import Grant
from ...domain.policy import Policy
from ...domain.session import Session, refresh_expires_at_s
from ...errors import InvalidToken, Unavailable
from ..operating.keys import Keys

MAX_ACCESS_TOKEN_LENGTH = 3800
"""With name and attributes a cookie has at most 4,096 bytes (RFC 6265 §6.1)."""

Decided = Literal["started", "rotated", "repeated", "recovered", "caught_up"]


class TokenPair(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign-in or a refresh answers (RFC 6749 §5.1). Lifetimes are whole seconds from now."""

    access_token: str
    expires_in_s: int
    refresh_token: str
    refresh_expires_in_s: int
    session_id: str
    delivery: Delivery
    outcome: Decided = "started"
    """What was decided: a new session, the next pair, the same refresh token again (at once or late), or a forgotten one."""

    def __repr__(self) -> str:
        """Show whose they are; the tokens are secrets."""
        return f"TokenPair(session_id={self.session_id!r}, delivery={self.delivery!r}, outcome={self.outcome!r})"


class TokenIssuer:
    """Mints and reads both kinds of token for one issuer."""

    def __init__(
        self, *, issuer: str, audience: tuple[str, ...], policy: Policy, keys: Keys, refresh_key: SigningKey, refresh_keys: KeySet
    ) -> None:
        """Take who issues, for whom, for how long, and with which keys."""
        self._issuer = issuer
        self._audience = audience
        self._policy = policy
        self._keys = keys
        self._refresh_key = refresh_key
        self._refresh_keys = refresh_keys

    def mint(self, session: Session, grant: Grant, now_ms: int, *, outcome: Decided = "started") -> TokenPair:
        """Return the session's current refresh token, the same bytes each time, and a fresh access token.

        No access token outlives its session. Raises `Unavailable` for one that no cookie can hold, and whatever the signature
        raises: call it before the commit.
        """
        now_s = now_ms // 1000
        refresh_exp = refresh_expires_at_s(session)
        access_exp = min(now_s + self._policy.access_lifetime_ms // 1000, refresh_exp)
        access = AccessClaims(
            iss=self._issuer,
            aud=self._audience if len(self._audience) > 1 else self._audience[0],
            sub=session.subject,
            client_id=session.client_id,
            iat=now_s,
            exp=access_exp,
            jti=new_id(),
            sid=session.id,
            auth_time=session.authenticated_at_ms // 1000,
            scope=grant.scope,
            roles=grant.roles,
            extra=grant.claims,
        )
        refresh = RefreshClaims(
            iss=self._issuer,
            aud=self._issuer,
            sub=session.subject,
            sid=session.id,
            gen=session.generation,
            iat=session.rotated_at_ms // 1000,
            exp=refresh_exp,
        )
        access_token = jws.sign(access.to_members() if access.extra else access, self._keys.signing_at(now_ms), typ=ACCESS_TYPE)
        if len(access_token) > MAX_ACCESS_TOKEN_LENGTH:
            raise Unavailable(
                f"the access token would have {len(access_token)} characters: grant less scope, fewer roles or claims"
            )
        return TokenPair(
            access_token=access_token,
            expires_in_s=access_exp - now_s,
            refresh_token=jws.sign(refresh, self._refresh_key, typ=REFRESH_TYPE),
            refresh_expires_in_s=refresh_exp - now_s,
            session_id=session.id,
            delivery=session.delivery,
            outcome=outcome,
        )

    def read_refresh(self, token: str) -> RefreshClaims:
        """Return the claims of a refresh token of ours, whatever its time. Raises `InvalidToken`."""
        claims = jws.verify(token, self._refresh_keys, typ=REFRESH_TYPE, shape=RefreshClaims)
        require_refresh_ignoring_time(claims, issuer=self._issuer)
        return claims

    def find_session_id(self, token: str) -> str | None:
        """Return the session that a token of either kind belongs to, whatever its time; None if it is not one of ours.

        For ending sessions alone: whoever holds a token that is over may still sign out with it.
        """
        try:
            return self.read_refresh(token).sid
        except InvalidToken:
            pass
        try:
            claims = jws.verify(token, self._keys.verifying, typ=ACCESS_TYPE, shape=AccessClaims)
            require_access_ignoring_time(claims, issuer=self._issuer, audience=self._audience)
        except InvalidToken:
            return None
        return claims.sid
