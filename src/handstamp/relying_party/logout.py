"""What a logout token must say before it ends sessions (OpenID Connect Back-Channel Logout 1.0 §2.6)."""

from __future__ import annotations

from ..crypto.foreign_tokens import ForeignToken
from ..domain.provider import ProviderLogout
from ..errors import InvalidToken
from .id_token import LEEWAY_S, MAX_SUBJECT_LENGTH, check_origin, read_subject, read_text, read_time
from .issuers import IssuerRule

EVENT = "http://schemas.openid.net/event/backchannel-logout"
TYPES = ("logout+jwt", "jwt", "")
"""The `typ` that is recommended, and what issuers write that do not follow the recommendation."""
MAX_LOGOUT_TOKEN_LENGTH = 8192
MAX_AGE_S = 600
"""An older token is refused, whatever its `exp` says: until then its `jti` must be remembered."""


def read_logout_token(token: ForeignToken, issuers: IssuerRule, *, provider: str, client_id: str, now_s: int) -> ProviderLogout:
    """Return what a logout token says, whose signature is valid.

    Raises:
        InvalidToken: If it is not of the provider, not for this service, not a logout token, or not valid now.
    """
    claims = token.claims
    check_origin(token, issuers, client_id)
    if "nonce" in claims:
        raise InvalidToken("nonce: this is an ID token")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise InvalidToken("events does not name a logout")
    issued, expires = read_time(claims, "iat"), read_time(claims, "exp")
    if not now_s - MAX_AGE_S < issued <= now_s + LEEWAY_S or expires <= now_s - LEEWAY_S:
        raise InvalidToken("the token is not valid at this time")
    if "nbf" in claims and read_time(claims, "nbf") > now_s + LEEWAY_S:
        raise InvalidToken("nbf is in the future")
    token_id = read_text(claims, "jti", most=MAX_SUBJECT_LENGTH)
    session_id = read_text(claims, "sid", most=MAX_SUBJECT_LENGTH)
    if not token_id:
        raise InvalidToken("jti is missing or malformed")
    if "sid" in claims and not session_id:
        raise InvalidToken("sid is malformed")
    subject = read_subject(claims) if "sub" in claims else ""
    if not (subject or session_id):
        raise InvalidToken("there is neither sub nor sid")
    return ProviderLogout(
        provider=provider,
        issuer=str(claims["iss"]),
        subject=subject,
        session_id=session_id,
        token_id=token_id,
        issued_at_ms=int(issued * 1000),
        expires_at_ms=int((min(expires + LEEWAY_S, issued + MAX_AGE_S)) * 1000),
    )
