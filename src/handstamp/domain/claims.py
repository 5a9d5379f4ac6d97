"""The claims of our tokens, and the checks that decide whether they are valid.

The signature is checked first: see `handstamp.crypto.jws`. Every check here raises `InvalidToken`. `ExpiredToken` is raised only
for a token that is valid except for its time.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Annotated, Any

import msgspec

from ..errors import ExpiredToken, InvalidToken
from .policy import MAX_ACCESS_LIFETIME_MS

ACCESS_TYPE = "at+jwt"
"""The `typ` header of an access token (RFC 9068 §2.1)."""
REFRESH_TYPE = "rt+jwt"
"""The `typ` header of a refresh token: a value of our own, so that neither kind is accepted as the other (RFC 8725 §3.11)."""

NumericDate = Annotated[int, msgspec.Meta(gt=0, lt=2**53)]
"""Seconds since 1970 as a JSON integer (RFC 7519 §2). Strings, booleans and fractions are refused."""
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
READ, WRITE = "read", "write"
"""The scopes of an operator who acts in the place of a person (`handstamp.domain.impersonation`)."""
_NO_CLAIM = "(rest)"
"""Placeholder member name for `extra`. It never appears in a token: the application's claims are members of their own."""


class Confirmation(msgspec.Struct, frozen=True):
    """The key whose proof must come with a token (RFC 7800 §3.1). `jkt` is its thumbprint (RFC 9449 §6.1)."""

    jkt: Annotated[str, msgspec.Meta(min_length=43, max_length=43)]


class ActorClaim(msgspec.Struct, frozen=True):
    """Who acts in the place of the subject (RFC 8693 §4.1): an operator's account, and their session in which that began."""

    sub: Text
    sid: Text


class AccessClaims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The claims of an access token: all of RFC 9068 §2.2, and `sid`, the id of the session.

    Attributes:
        iat, exp, nbf: Seconds since 1970.
        auth_time: When the person signed in, in seconds since 1970. Refreshes do not change it.
        acr: How strongly, see `handstamp.domain.assurance`; None if the sign-in named no class (RFC 9068 §2.2.1).
        amr: By which methods (RFC 8176).
        actor: The operator who acts in the place of the person, None in tokens of the person. Its name in the token is `act`.
        cnf: The key to which the token is bound (DPoP), None if it is a bearer token.
        scope: A space-separated list, "" if there is none.
        extra: The application's own claims.
    """

    iss: Text
    aud: Text | tuple[Text, ...]
    sub: Text
    client_id: Text
    iat: NumericDate
    exp: NumericDate
    jti: Text
    sid: Text
    auth_time: NumericDate
    nbf: NumericDate | msgspec.UnsetType = msgspec.UNSET
    acr: Text | None = None
    amr: tuple[str, ...] = ()
    cnf: Confirmation | None = None
    actor: ActorClaim | None = msgspec.field(default=None, name="act")
    scope: str = ""
    roles: tuple[str, ...] = ()
    extra: dict[str, Any] = msgspec.field(default_factory=dict, name=_NO_CLAIM)

    @property
    def is_read_only(self) -> bool:
        """Whether an operator acts in the place of the person and may only read."""
        return self.actor is not None and WRITE not in self.scope.split()

    def to_members(self) -> dict[str, Any]:
        """Return the members of the token's JSON object: our claims and those of the application."""
        ours: dict[str, Any] = msgspec.to_builtins(self)
        extra: dict[str, Any] = ours.pop(_NO_CLAIM, {})
        return extra | ours

    def with_rest_of(self, members: dict[str, Any]) -> AccessClaims:
        """Return a copy whose `extra` has the members of a token that are not our claims."""
        rest = {name: value for name, value in members.items() if name not in _OURS}
        return msgspec.structs.replace(self, extra=rest) if rest or self.extra else self

    def copy(self) -> AccessClaims:
        """Return a copy whose `extra` can be changed without changing the original."""
        return msgspec.structs.replace(self, extra=copy.deepcopy(self.extra) if self.extra else {})


_OURS = frozenset(field.encode_name for field in msgspec.structs.fields(AccessClaims))


class RefreshClaims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The claims of a refresh token: its session and its generation. Nothing in it is random.

    So the current token can be made again from the session's row, byte for byte, and a retry gets the same token.
    """

    iss: Text
    aud: Text
    sub: Text
    sid: Text
    gen: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    iat: NumericDate
    exp: NumericDate
    impersonated: bool = False
    """Whether an operator acts in the session: then its tokens do not show that the person has signed in on this device."""


def require_access_ignoring_time(claims: AccessClaims, *, issuer: str, audience: Collection[str]) -> None:
    """Check the claims of an access token except for whether it is valid now (RFC 9068 §4).

    Raises:
        InvalidToken: If the issuer differs, if no audience of the token is in `audience`, or if its lifetime is not positive or
            longer than an hour.
    """
    if claims.iss != issuer:
        raise InvalidToken("iss is another issuer")
    if claims.aud not in audience if isinstance(claims.aud, str) else not any(name in audience for name in claims.aud):
        raise InvalidToken("aud names another audience")
    if not 0 < claims.exp - claims.iat <= MAX_ACCESS_LIFETIME_MS // 1000:
        raise InvalidToken("exp is not within an hour after iat")


def require_access(claims: AccessClaims, *, issuer: str, audience: Collection[str], now_s: int, leeway_s: int) -> None:
    """Check the claims of an access token at `now_s` (RFC 9068 §4, RFC 7519 §4.1.4 to §4.1.6).

    Args:
        claims: Those of a token whose signature is valid.
        issuer: The `iss` that is required.
        audience: The names of which `aud` must have at least one.
        now_s: Seconds since 1970. A token has expired when `now_s >= exp`.
        leeway_s: Seconds by which this machine's clock may differ from the issuer's.

    Raises:
        InvalidToken: As `require_access_ignoring_time`, and if `iat` or `nbf` is in the future.
        ExpiredToken: If all is valid except that the token has expired.
    """
    require_access_ignoring_time(claims, issuer=issuer, audience=audience)
    if claims.iat > now_s + leeway_s:
        raise InvalidToken("iat is in the future")
    if claims.nbf is not msgspec.UNSET and claims.nbf > now_s + leeway_s:
        raise InvalidToken("nbf is in the future")
    if now_s >= claims.exp + leeway_s:
        raise ExpiredToken


def require_key(claims: AccessClaims, thumbprint: str | None) -> AccessClaims:
    """Return the claims of an access token, if the request has proved the key to which it is bound, or it is bound to none.

    Args:
        claims: Those of a valid token.
        thumbprint: That of the key of which the request had a proof; None if it had none.

    Raises:
        InvalidToken: If a bound token came without a proof of its key, or another token with one (RFC 9449 §7.1).
    """
    if (None if claims.cnf is None else claims.cnf.jkt) != thumbprint:
        raise InvalidToken("the token is bound to another key than the request has proved")
    return claims


def require_refresh_ignoring_time(claims: RefreshClaims, *, issuer: str) -> None:
    """Check the issuer and the audience of a refresh token. The caller checks its time.

    Raises:
        InvalidToken: If `iss` or `aud` is not `issuer`.
    """
    if claims.iss != issuer or claims.aud != issuer:
        raise InvalidToken("iss or aud is another issuer")
