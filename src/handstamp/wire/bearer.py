"""The Bearer scheme (RFC 6750)."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InvalidRequest, InvalidToken
from ..text import mark


def bearer_token(authorization: Sequence[str]) -> str | None:
    """Return the token of the `Authorization` header, or None if there is none of this scheme (RFC 6750 §2.1).

    Args:
        authorization: All values of the header.

    Raises:
        InvalidRequest: The header came more than once.
        InvalidToken: The scheme is there and the token is not.
    """
    if len(authorization) > 1:
        raise InvalidRequest(mark("There is more than one Authorization header."))
    scheme, _, token = (authorization[0] if authorization else "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    if not token:
        raise InvalidToken("Authorization: Bearer without a token")
    return token.strip(" ")
