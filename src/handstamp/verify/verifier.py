"""Verifying an access token (RFC 9068 §4). Plain synchronous code, safe in threads and in event loops."""

from __future__ import annotations

from collections.abc import Callable

from ..clock import Clock, now_ms
from ..crypto import jws
from ..crypto.jwk import KeySet
from ..domain.claims import ACCESS_TYPE, AccessClaims, check_access
from ..domain.policy import MAX_LEEWAY_S


class Verifier:
    """Tells whether an access token of one issuer holds here."""

    def __init__(
        self,
        issuer: str,
        *,
        audience: str | tuple[str, ...],
        keys: KeySet | Callable[[], KeySet],
        leeway_s: int = 5,
        clock: Clock = now_ms,
    ) -> None:
        """Trust tokens of `issuer` for one of `audience`, signed with one of `keys` (a set, or what returns today's set).

        `leeway_s` allows for clocks that differ, at most 60 seconds (RFC 7519 §4.1.4). Raises `ValueError` beyond that.
        """
        if not 0 <= leeway_s <= MAX_LEEWAY_S:
            raise ValueError(f"leeway_s must be between 0 and {MAX_LEEWAY_S}")
        self._issuer = issuer
        self._audience = (audience,) if isinstance(audience, str) else tuple(audience)
        self._keys = keys if callable(keys) else lambda: keys
        self._leeway_s = leeway_s
        self._clock = clock

    def verify(self, token: str, *, now_ms: int | None = None) -> AccessClaims:
        """Return the claims of a token that holds now, or at `now_ms` since 1970.

        Raises `InvalidToken` (whatever is wrong, one error) or `ExpiredToken` (right in everything but its time).
        """
        claims = jws.verify(token, self._keys(), typ=ACCESS_TYPE, shape=AccessClaims)
        now_s = (self._clock() if now_ms is None else now_ms) // 1000
        check_access(claims, issuer=self._issuer, audience=self._audience, now_s=now_s, leeway_s=self._leeway_s)
        return claims
