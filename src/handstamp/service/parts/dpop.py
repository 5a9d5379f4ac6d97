"""Proofs of programs that they hold the key of a session (DPoP, RFC 9449)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ...crypto.proofs import DpopNonces, ProofKey, read_dpop_proof
from ...domain.issuer import Issuer
from ...errors import InvalidDpopProof, InvalidToken, UseDpopNonce

WINDOW_S = 300
"""How far the `iat` of a proof without a nonce may be from now."""
MOST_REMEMBERED = 100_000
"""Proofs that one process remembers, so that none is accepted twice there. The oldest are forgotten first."""


class DpopProofs:
    """Reads proofs, each once for a process: another node accepts a proof again, until its window or its nonce is over."""

    def __init__(self, nonces: DpopNonces, issuer: Issuer) -> None:
        self._nonces = nonces
        self._issuer = issuer
        self._used: dict[bytes, None] = {}

    def read(self, proofs: Sequence[str], *, method: str, path: str, now_ms: int, access_token: str = "") -> ProofKey:
        """Return the key of a proof that is valid for a request and new.

        Args:
            proofs: All values of the header field `DPoP`.
            method: The method of the request.
            path: Its path below the issuer, without query.
            now_ms: The time of the request, in milliseconds since 1970.
            access_token: The access token that came with it, "" if none did.

        Raises:
            InvalidDpopProof: If it is invalid, for another request, or was used.
            UseDpopNonce: If its nonce has expired, or it has none and its time is wrong.
        """
        if len(proofs) != 1:
            raise InvalidDpopProof("not exactly one proof")
        url, now_s = f"{self._issuer.url}{path}", now_ms // 1000
        try:
            claims, key = read_dpop_proof(proofs[0], method=method, url=url, access_token=access_token)
        except InvalidToken as refused:
            raise InvalidDpopProof(refused.why) from None
        is_recent = self._nonces.is_valid(claims.nonce, now_s) if claims.nonce else abs(claims.iat - now_s) <= WINDOW_S
        if not is_recent:
            raise UseDpopNonce(self._nonces.make(now_s))
        self._remember(hashlib.sha256(f"{key.thumbprint}|{claims.jti}".encode()).digest())
        return key

    def make_nonce(self, now_ms: int) -> str:
        """Return a nonce for the next proof."""
        return self._nonces.make(now_ms // 1000)

    def _remember(self, proof: bytes) -> None:
        if proof in self._used:
            raise InvalidDpopProof("the proof was used before")
        self._used[proof] = None
        if len(self._used) > MOST_REMEMBERED:
            del self._used[next(iter(self._used))]
