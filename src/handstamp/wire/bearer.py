"""The schemes Bearer (RFC 6750) and DPoP (RFC 9449) of access tokens."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InvalidRequest, InvalidToken
from ..text import mark

_IS_DPOP = {"bearer": False, "dpop": True}
"""The schemes of access tokens."""


def bearer_token(authorization: Sequence[str]) -> str | None:
    """Return the token of the `Authorization` header, or None if there is none of this scheme (RFC 6750 §2.1).

    Args:
        authorization: All values of the header.

    Raises:
        InvalidRequest: The header came more than once.
        InvalidToken: The scheme is there and the token is not.
    """
    token, is_dpop = sent_token(authorization)
    return None if is_dpop else token


BOUND_TOKEN = "A token that is bound to a key, with a new proof in the header `DPoP` (RFC 9449 §7.1)"  # noqa: S105 - no secret
"""What OpenAPI documents say about the scheme `DPoP`."""


def sent_token(authorization: Sequence[str]) -> tuple[str | None, bool]:
    """Return the token of the `Authorization` header, and whether its scheme is DPoP, so that a proof must come along.

    Raises as `bearer_token`. The token is None if there is none of either scheme.
    """
    if len(authorization) > 1:
        raise InvalidRequest(mark("There is more than one Authorization header."))
    if not authorization:
        return None, False
    scheme, _, token = authorization[0].partition(" ")
    is_dpop = _IS_DPOP.get(scheme.lower())
    if is_dpop is None:
        return None, False
    if not token:
        raise InvalidToken("Authorization without a token after its scheme")
    return token.strip(" "), is_dpop
