"""Make the tokens of a session, and read tokens that clients send."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from ...crypto import jws
from ...crypto.identifiers import new_id
from ...crypto.jwk import KeySet, SigningKey
from ...crypto.proofs import Challenges, DevicePasses, thumbprint_of
from ...domain.claims import (
    ACCESS_TYPE,
    REFRESH_TYPE,
    AccessClaims,
    ActorClaim,
    Confirmation,
    RefreshClaims,
    require_access_ignoring_time,
    require_refresh_ignoring_time,
)
from ...domain.delivery import DELIVERIES, Delivery
from ...domain.grant import Grant
from ...domain.impersonation import Impersonator
from ...domain.policy import Policy
from ...domain.session import BoundBy, Session, refresh_expires_at_s
from ...errors import InvalidDpopProof, InvalidToken, ProofRequired, Unavailable
from ..operating.keys import Keys

MAX_ACCESS_TOKEN_LENGTH = 3800
"""A cookie has at most 4,096 bytes with its name and attributes (RFC 6265 §6.1)."""

PairOutcome = Literal["started", "rotated", "repeated", "recovered", "caught_up"]


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer tells a browser about the binding of the session to its device (W3C DBSC). Values are "" if there are none.

    Attributes:
        by: How the session is bound, None if it is not.
        registration: What the browser signs with a new key, which then binds the session.
        challenge: What it signs for the next refresh.
        device_pass: The value of the short-lived cookie that the browser renews, where the access token is not one.
    """

    by: BoundBy | None = None
    registration: str = ""
    challenge: str = ""
    device_pass: str = ""

    def __repr__(self) -> str:
        """Return a text without the values."""
        return f"Binding(by={self.by!r})"


UNBOUND = Binding()


class TokenPair(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a sign-in or a refresh (RFC 6749 §5.1).

    Attributes:
        expires_in_s, refresh_expires_in_s: Seconds from now until the tokens expire.
        delivery: How the tokens travel to the client.
        outcome: Why the pair was made: a new session, the next pair, the same refresh token again (at once or late), or a
            generation that the database had lost.
        binding: What a browser is told about the binding to its device.
        impersonator: The operator who acts in the session in the place of its person, None in those of the person.
    """

    access_token: str
    expires_in_s: int
    refresh_token: str
    refresh_expires_in_s: int
    session_id: str
    subject: str
    delivery: Delivery
    outcome: PairOutcome = "started"
    binding: Binding = UNBOUND
    impersonator: Impersonator | None = None

    @property
    def token_type(self) -> str:
        """How the access token is sent: `Bearer`, or `DPoP` with a proof (RFC 9449 §5)."""
        return "DPoP" if self.binding.by == "dpop" else "Bearer"

    def __repr__(self) -> str:
        """Return a text without the tokens."""
        return f"TokenPair(session_id={self.session_id!r}, delivery={self.delivery!r}, outcome={self.outcome!r})"


class SessionName(NamedTuple):
    """The id and the subject of a session, as one of its tokens names them, and whether an operator acts in it."""

    id: str
    subject: str
    is_impersonated: bool = False


class TokenIssuer:
    """Makes and reads the access and refresh tokens of one issuer."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: tuple[str, ...],
        policy: Policy,
        keys: Keys,
        refresh_key: SigningKey,
        refresh_keys: KeySet,
        challenges: Challenges,
        passes: DevicePasses,
    ) -> None:
        """Create it.

        Args:
            issuer: The `iss` of the tokens.
            audience: The `aud` of access tokens, one name or more.
            policy: The lifetimes.
            keys: The keys for access tokens.
            refresh_key: The key that signs refresh tokens.
            refresh_keys: The keys with which a refresh token may be signed.
            challenges: Makes what a browser has to sign.
            passes: Makes the passes of bound sessions.
        """
        self._issuer = issuer
        self._audience = audience
        self._policy = policy
        self._keys = keys
        self._refresh_key = refresh_key
        self._refresh_keys = refresh_keys
        self._challenges = challenges
        self._passes = passes
        self._invites_browsers = policy.device_binding != "off" and issuer.startswith("https:")  # else browsers bind nothing

    def mint(
        self,
        session: Session,
        grant: Grant,
        now_ms: int,
        *,
        outcome: PairOutcome = "started",
        until_s: int | None = None,
        gives_pass: bool = True,
        invites: bool = False,
    ) -> TokenPair:
        """Return the session's current refresh token, with the same bytes each time, and a new access token.

        The access token expires no later than the refresh token. Call this before the commit: if it fails, the session's row must
        not have changed.

        Args:
            session: The row after the decision.
            grant: The scopes, roles and claims of the access token.
            now_ms: Milliseconds since 1970.
            outcome: Why the pair is made.
            until_s: When the access token must have expired, in seconds since 1970; None if the lifetimes alone decide.
            gives_pass: False if the request has proved no key: then the browser keeps the pass that it has.
            invites: True to invite the browser to bind the session, if it can be bound and is not.

        Raises:
            Unavailable: If no signing key is active, or if the access token is too long for a cookie.
        """
        now_s, by = now_ms // 1000, session.impersonator
        refresh_exp = refresh_expires_at_s(session)
        access_exp = min(now_s + self._policy.access_lifetime_ms // 1000, refresh_exp)
        if until_s is not None:
            access_exp = min(access_exp, until_s)
        binding = UNBOUND
        if session.bound_by is not None:
            binding = self._describe_binding(session, access_exp if gives_pass else None)
        elif invites and self._invites_browsers and DELIVERIES[session.delivery].refresh_is_cookie:
            binding = Binding(registration=self._challenges.make(session.id, "start"))
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
            acr=session.acr,
            amr=session.amr,
            cnf=Confirmation(thumbprint_of(session.bound_key)) if session.bound_by == "dpop" and session.bound_key else None,
            actor=None if by is None else ActorClaim(sub=by.account_id, sid=by.sid),
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
            impersonated=by is not None,
        )
        access_token = jws.sign(access.to_members() if access.extra else access, self._keys.signing_at(now_ms), typ=ACCESS_TYPE)
        if len(access_token) > MAX_ACCESS_TOKEN_LENGTH:
            raise Unavailable(f"the access token would have {len(access_token)} characters: grant fewer scopes, roles or claims")
        return TokenPair(
            access_token=access_token,
            expires_in_s=access_exp - now_s,
            refresh_token=jws.sign(refresh, self._refresh_key, typ=REFRESH_TYPE),
            refresh_expires_in_s=refresh_exp - now_s,
            session_id=session.id,
            subject=session.subject,
            delivery=session.delivery,
            outcome=outcome,
            binding=binding,
            impersonator=by,
        )

    def _describe_binding(self, session: Session, pass_until_s: int | None) -> Binding:
        if session.bound_by != "dbsc":
            return Binding(by=session.bound_by)
        made = ""
        if pass_until_s is not None and not DELIVERIES[session.delivery].access_is_cookie:
            made = self._passes.make(session.id, pass_until_s)
        return Binding(by="dbsc", challenge=self._challenges.make(session.id, session.generation), device_pass=made)

    def require_proof(self, session: Session) -> ProofRequired | InvalidDpopProof:
        """Return the error for a request that has not proved the key of a bound session, with what its browser has to sign."""
        if session.bound_by != "dbsc":
            return InvalidDpopProof("no proof of the session's key")
        return ProofRequired(session.id, self._challenges.make(session.id, session.generation))

    def read_refresh(self, token: str) -> RefreshClaims:
        """Return the claims of a refresh token, whether it has expired or not.

        Raises:
            InvalidToken: If it is not a refresh token of this issuer.
        """
        claims = jws.verify(token, self._refresh_keys, typ=REFRESH_TYPE, shape=RefreshClaims)
        require_refresh_ignoring_time(claims, issuer=self._issuer)
        return claims

    def find_session(self, token: str) -> SessionName | None:
        """Return the session that a token of either kind names, expired or not. None if the token is not valid here.

        Only for ending sessions, for recognising devices and for requests that are sent again: people may sign out with an
        expired token.
        """
        try:
            refresh = self.read_refresh(token)
            return SessionName(refresh.sid, refresh.sub, refresh.impersonated)
        except InvalidToken:
            pass
        try:
            claims = jws.verify(token, self._keys.verifying, typ=ACCESS_TYPE, shape=AccessClaims)
            require_access_ignoring_time(claims, issuer=self._issuer, audience=self._audience)
        except InvalidToken:
            return None
        return SessionName(claims.sid, claims.sub, claims.actor is not None)
