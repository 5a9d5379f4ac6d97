"""What our tokens say, and which of them hold.

These checks come after the signature's: see `handstamp.crypto.jws`. They refuse with one error, `InvalidToken`, and only a
token that is right in everything but its time is called `ExpiredToken`.
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
"""The `typ` header of a refresh token: our own, so that neither kind is ever taken for the other (RFC 8725 §3.11)."""

NumericDate = Annotated[int, msgspec.Meta(gt=0, lt=2**53)]
"""Seconds since 1970 as a JSON integer (RFC 7519 §2); a string, a boolean or a fraction is refused."""
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
_NO_CLAIM = "(rest)"
"""What `extra` would be called in a token: nothing that any issuer names a claim. It is filled from the members themselves."""


class AccessClaims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The claims of an access token: all of RFC 9068 §2.2, and `sid`, the session that a sign-out ends.

    `iat`, `exp` and `auth_time` are seconds since 1970; `auth_time` is when the person proved who they are, and stays the same
    over refreshes. `scope` is a space-separated list, empty where there is none. `extra` holds the application's own claims.
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
    scope: str = ""
    roles: tuple[str, ...] = ()
    extra: dict[str, Any] = msgspec.field(default_factory=dict, name=_NO_CLAIM)

    def members(self) -> dict[str, Any]:
        """Return the claims as they stand in the token: those of the application beside ours."""
        ours: dict[str, Any] = msgspec.to_builtins(self)
        extra: dict[str, Any] = ours.pop(_NO_CLAIM, {})
        return extra | ours

    def with_rest_of(self, members: dict[str, Any]) -> AccessClaims:
        """Return the claims with those members of a token that are none of ours in `extra`."""
        rest = {name: value for name, value in members.items() if name not in _OURS}
        return msgspec.structs.replace(self, extra=rest) if rest or self.extra else self

    def copied(self) -> AccessClaims:
        """Return the same claims with an `extra` of their own."""
        return msgspec.structs.replace(self, extra=copy.deepcopy(self.extra) if self.extra else {})


_OURS = frozenset(field.encode_name for field in msgspec.structs.fields(AccessClaims))


class RefreshClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of a refresh token: its session and its generation, and nothing random.

    From the session's row the current token can be made again byte for byte, which is what makes a retry safe.
    """

    iss: Text
    aud: Text
    sub: Text
    sid: Text
    gen: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    iat: NumericDate
    exp: NumericDate


def check_access_but_for_time(claims: AccessClaims, *, issuer: str, audience: Collection[str]) -> None:
    """Raise `InvalidToken` unless `claims` are ours, for one of `audience` (RFC 9068 §4)."""
    if claims.iss != issuer:
        raise InvalidToken("iss is another issuer")
    if claims.aud not in audience if isinstance(claims.aud, str) else not any(name in audience for name in claims.aud):
        raise InvalidToken("aud names another audience")
    if not 0 < claims.exp - claims.iat <= MAX_ACCESS_LIFETIME_MS // 1000:
        raise InvalidToken("exp is not within an hour after iat")


def check_access(claims: AccessClaims, *, issuer: str, audience: Collection[str], now_s: int, leeway_s: int) -> None:
    """Raise `InvalidToken` or `ExpiredToken` unless `claims` hold at `now_s` (RFC 9068 §4, RFC 7519 §4.1.4 to §4.1.6).

    A token is over when `now_s >= exp`; `leeway_s` allows for a verifier whose clock differs.
    """
    check_access_but_for_time(claims, issuer=issuer, audience=audience)
    if claims.iat > now_s + leeway_s:
        raise InvalidToken("iat lies in the future")
    if claims.nbf is not msgspec.UNSET and claims.nbf > now_s + leeway_s:
        raise InvalidToken("nbf lies in the future")
    if now_s >= claims.exp + leeway_s:
        raise ExpiredToken


def check_refresh_but_for_time(claims: RefreshClaims, *, issuer: str) -> None:
    """Raise `InvalidToken` unless `claims` are those of a refresh token of ours. Its time is the caller's to judge."""
    if claims.iss != issuer or claims.aud != issuer:
        raise InvalidToken("iss or aud is another issuer")
