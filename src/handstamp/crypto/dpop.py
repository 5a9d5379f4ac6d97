"""Proofs of programs that they hold the key of a session (DPoP, RFC 9449), for the service and for verifiers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from ..domain.claims import AccessClaims, require_key
from ..domain.issuer import origin_of
from ..errors import BoundTokenNeedsNonce, BoundTokenRefused, InvalidDpopProof, InvalidToken, UseDpopNonce
from .identifiers import new_id
from .jwk import SigningKey
from .proofs import ProofKey, read_proof
from .strict import base64url_decode, base64url_encode
from .used_proofs import UsedProofs

WINDOW_S = 300
"""How far the `iat` of a proof without a nonce may be from now."""
_AS_IT_IS = re.compile(r"/[A-Za-z0-9/._~-]*", re.ASCII).fullmatch
"""Recognises a path that is the same in a URL."""


class DpopProof(msgspec.Struct, frozen=True, omit_defaults=True):
    """The claims of a proof of a program (RFC 9449 §4.2)."""

    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    htm: str
    htu: str
    iat: int | float
    ath: str = ""
    nonce: str = ""


class Proved(msgspec.Struct, frozen=True, gc=False):
    """A proof that is valid for a request. Whether it is new is not known yet."""

    key: ProofKey
    jti: str
    made_s: float
    """When it was made, in seconds since 1970."""


def make_dpop_key() -> str:
    """Return a new private key (P-256) as text. Store it like a password."""
    return base64url_encode(SigningKey.generate("ES256").to_bytes())


@lru_cache(16)
def load_dpop_key(text: str) -> SigningKey:
    """Return the key whose text `make_dpop_key` has returned."""
    return SigningKey.from_bytes(base64url_decode(text), algorithm="ES256", kid="dpop")


def make_dpop_proof(key: SigningKey, *, method: str, url: str, now_s: int, access_token: str = "", nonce: str = "") -> str:
    """Return a new proof for one request (RFC 9449 §4.2).

    Args:
        key: An ES256 key.
        method: The method of the request.
        url: Its URL; query and fragment are left out.
        now_s: The time, in seconds since 1970.
        access_token: The access token that is sent with it, if any.
        nonce: What the service has asked to be signed, if it has.
    """
    public = key.public.to_jwk()
    header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": {name: public[name] for name in ("kty", "crv", "x", "y")}}
    htu = url.partition("#")[0].partition("?")[0]
    claims: dict[str, str | int] = {"jti": new_id(), "htm": method, "htu": htu, "iat": now_s}
    if access_token:
        claims["ath"] = hash_token(access_token)
    if nonce:
        claims["nonce"] = nonce
    signing_input = f"{base64url_encode(msgspec.json.encode(header))}.{base64url_encode(msgspec.json.encode(claims))}"
    return f"{signing_input}.{base64url_encode(key.sign(signing_input.encode()))}"


@lru_cache(1024)  # about 1 KB each: a program sends its token with each request until it expires
def hash_token(access_token: str) -> str:
    """Return the `ath` of an access token (RFC 9449 §4.2)."""
    return base64url_encode(hashlib.sha256(access_token.encode()).digest())


def _is_for(htu: str, origin: str, path: str) -> bool:
    """Return whether `htu` is this URL, without its query and fragment, and normalised (RFC 9449 §4.3, RFC 3986 §6.2)."""
    if htu == origin + path and _AS_IT_IS(path):
        return True
    try:
        return origin_of(htu) == origin and (unquote(urlsplit(htu).path) or "/") == (path or "/")
    except ValueError:
        return False


class Nonces(Protocol):
    """Makes and recognises nonces."""

    def make(self, now_s: int) -> str:
        """Return the nonce of a time, in seconds since 1970."""

    def find_time(self, nonce: str, now_s: int) -> int | None:
        """Return when a nonce that is valid now was made, in seconds since 1970; None if it is not valid."""


class DpopProofs:
    """Checks the proofs of requests, and accepts each once for a bound session.

    It remembers them in this process: another one accepts a copy until its time is over.
    """

    def __init__(self, origin: str, *, prefix: str = "", nonces: Nonces | None = None) -> None:
        """Create it.

        Args:
            origin: The public origin of the endpoints, as `origin_of` returns it: configured, never that of a forwarded header.
            prefix: The public path below which their paths begin.
            nonces: Makes nonces for programs whose clock is wrong. Without it, the time of a proof must be right.
        """
        self._origin, self._prefix, self._nonces = origin, prefix, nonces
        self._used = UsedProofs(kept_s=2 * WINDOW_S)

    def check(self, proofs: Sequence[str], *, method: str, path: str, now_ms: int, access_token: str = "") -> Proved:
        """Return a proof that is valid for a request (RFC 9449 §4.3).

        Args:
            proofs: All values of the header field `DPoP`.
            method: The method of the request.
            path: Its path below the prefix, decoded, without query.
            now_ms: The time of the request, in milliseconds since 1970.
            access_token: The access token that came with it, whose hash it must have; "" if none did.

        Raises:
            InvalidDpopProof: If it is invalid, or for another request.
            UseDpopNonce: If its nonce has expired, or it has none and its time is wrong.
        """
        if len(proofs) != 1:
            raise InvalidDpopProof("not exactly one proof")
        try:
            claims, key = read_proof(proofs[0], typ="dpop+jwt", shape=DpopProof)
        except InvalidToken as refused:
            raise InvalidDpopProof(refused.why) from None
        if claims.htm != method or not _is_for(claims.htu, self._origin, self._prefix + path):
            raise InvalidDpopProof(f"the proof is not for {method} {self._origin}{self._prefix}{path}")
        if access_token and claims.ath != hash_token(access_token):
            raise InvalidDpopProof("the proof is for another access token")
        return Proved(key, claims.jti, self._find_time(claims, now_ms // 1000))

    def use(self, proved: Proved, thumbprint: str, now_ms: int) -> None:
        """Remember a proof by the key of a session, so that it is not accepted again.

        Raises:
            InvalidDpopProof: If another key than that of this thumbprint made it, or it was used before.
        """
        if proved.key.thumbprint != thumbprint:
            raise InvalidDpopProof("the proof is of another key")
        if not self._used.use(proved.key.thumbprint, proved.jti, proved.made_s, now_ms // 1000):
            raise InvalidDpopProof("the proof was used before")

    def require(
        self, claims: AccessClaims, token: str, proofs: Sequence[str], *, method: str, path: str, now_ms: int
    ) -> ProofKey:
        """Return the key of a bound access token, whose new proof the request has.

        Args:
            claims: Those of the token, which is valid.
            token: The token, which came with the scheme DPoP.
            proofs: As in `check`.
            method: As in `check`.
            path: As in `check`.
            now_ms: As in `check`.

        Raises:
            InvalidToken: If the token is bound to another key or to none (RFC 9449 §7.1).
            BoundTokenRefused: If the proof is not valid for this request and token, or was used.
            BoundTokenNeedsNonce: If it needs a nonce.
        """
        if claims.cnf is None:
            raise InvalidToken("a token that is bound to no key came with the scheme DPoP")
        try:
            proved = self.check(proofs, method=method, path=path, now_ms=now_ms, access_token=token)
            require_key(claims, proved.key.thumbprint)
            self.use(proved, claims.cnf.jkt, now_ms)
        except UseDpopNonce as refused:
            raise BoundTokenNeedsNonce(refused.why, refused.nonce) from None
        except InvalidDpopProof as refused:
            raise BoundTokenRefused(refused.why) from None
        return proved.key

    def _find_time(self, claims: DpopProof, now_s: int) -> float:
        """Return when a proof was made, if that is recent. With a nonce, its `iat` does not matter (RFC 9449 §8)."""
        if self._nonces is not None and claims.nonce:
            made_s = self._nonces.find_time(claims.nonce, now_s)
            if made_s is not None:
                return made_s
        elif abs(claims.iat - now_s) <= WINDOW_S:
            return claims.iat
        if self._nonces is not None:
            raise UseDpopNonce(self._nonces.make(now_s))
        raise InvalidDpopProof("its iat is not within five minutes of now")
