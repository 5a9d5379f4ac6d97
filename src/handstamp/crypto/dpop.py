"""Proofs of programs that they hold the key of a session (DPoP, RFC 9449), for the service and for verifiers."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from ..domain.issuer import origin_of
from ..errors import InvalidDpopProof, InvalidToken, UseDpopNonce
from .identifiers import new_id
from .jwk import SigningKey
from .proofs import ProofKey, read_proof
from .strict import base64url_decode, base64url_encode

WINDOW_S = 300
"""How far the `iat` of a proof without a nonce may be from now."""
MOST_REMEMBERED = 100_000
"""Proofs that one process remembers, so that none is accepted twice there. The oldest are forgotten first."""


class DpopProof(msgspec.Struct, frozen=True, omit_defaults=True):
    """The claims of a proof of a program (RFC 9449 §4.2)."""

    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    htm: str
    htu: str
    iat: int | float
    ath: str = ""
    nonce: str = ""


class DpopKeys:
    """Makes the keys of sessions that are bound, and their proofs: `Auth(..., dpop=DpopKeys())`.

    The private keys are P-256, and are stored beside the tokens.
    """

    def make_key(self) -> str:
        """Return a new private key as text. Store it like a password."""
        return base64url_encode(SigningKey.generate("ES256").to_bytes())

    def prove(self, key: str, *, method: str, url: str, now_s: int, access_token: str = "", nonce: str = "") -> str:
        """Return a new proof for one request, by a text of `make_key`; the other arguments are those of `make_dpop_proof`."""
        return make_dpop_proof(_load_key(key), method=method, url=url, now_s=now_s, access_token=access_token, nonce=nonce)


@lru_cache(16)
def _load_key(text: str) -> SigningKey:
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


def hash_token(access_token: str) -> str:
    """Return the `ath` of an access token (RFC 9449 §4.2)."""
    return base64url_encode(hashlib.sha256(access_token.encode()).digest())


def read_dpop_proof(proof: str, *, method: str, origin: str, path: str, access_token: str = "") -> tuple[DpopProof, ProofKey]:
    """Return the claims of a proof of a program, and its key. The caller checks the time, the nonce, and that it is new.

    Args:
        proof: The value of the one header field `DPoP`.
        method: The method of the request.
        origin: The public origin of the endpoint, as `origin_of` returns it.
        path: The public path of the endpoint, decoded.
        access_token: The access token that came with it, whose hash it must have; "" if there is none (RFC 9449 §4.3).

    Raises:
        InvalidToken: If the proof is invalid, or for another request or token.
    """
    claims, key = read_proof(proof, typ="dpop+jwt", shape=DpopProof)
    if claims.htm != method or not _is_for(claims.htu, origin, path):
        raise InvalidToken(f"the proof is not for {method} {origin}{path}")
    if access_token and claims.ath != hash_token(access_token):
        raise InvalidToken("the proof is for another access token")
    return claims, key


def _is_for(htu: str, origin: str, path: str) -> bool:
    """Return whether `htu` is this URL, without its query and fragment, and normalised (RFC 9449 §4.3, RFC 3986 §6.2)."""
    try:
        return origin_of(htu) == origin and (unquote(urlsplit(htu).path) or "/") == (path or "/")
    except ValueError:
        return False


class Nonces(Protocol):
    """Makes and recognises nonces."""

    def make(self, now_s: int) -> str:
        """Return the nonce of a time, in seconds since 1970."""

    def is_valid(self, nonce: str, now_s: int) -> bool:
        """Return whether a nonce is of now."""


class DpopProofs:
    """Accepts each proof once. It remembers them in this process: another one accepts a copy until its time is over."""

    def __init__(self, origin: str, *, prefix: str = "", nonces: Nonces | None = None) -> None:
        """Create it.

        Args:
            origin: The public origin of the endpoints, as `origin_of` returns it: configured, never that of a forwarded header.
            prefix: The public path below which their paths begin.
            nonces: Makes nonces for programs whose clock is wrong. Without it, the time of a proof must be right.
        """
        self._origin, self._prefix, self._nonces = origin, prefix, nonces
        self._used: dict[bytes, None] = {}
        self._lock = threading.Lock()

    def read(self, proofs: Sequence[str], *, method: str, path: str, now_ms: int, access_token: str = "") -> ProofKey:
        """Return the key of a proof that is valid for a request and new.

        Args:
            proofs: All values of the header field `DPoP`.
            method: The method of the request.
            path: Its path below the prefix, decoded, without query.
            now_ms: The time of the request, in milliseconds since 1970.
            access_token: The access token that came with it, "" if none did.

        Raises:
            InvalidDpopProof: If it is invalid, for another request, or was used.
            UseDpopNonce: If its nonce has expired, or it has none and its time is wrong.
        """
        if len(proofs) != 1:
            raise InvalidDpopProof("not exactly one proof")
        path = self._prefix + path
        try:
            claims, key = read_dpop_proof(proofs[0], method=method, origin=self._origin, path=path, access_token=access_token)
        except InvalidToken as refused:
            raise InvalidDpopProof(refused.why) from None
        self._require_recent(claims, now_ms // 1000)
        self._remember(hashlib.sha256(f"{key.thumbprint}|{claims.jti}".encode()).digest())
        return key

    def _require_recent(self, claims: DpopProof, now_s: int) -> None:
        if self._nonces is not None and claims.nonce:
            if not self._nonces.is_valid(claims.nonce, now_s):
                raise UseDpopNonce(self._nonces.make(now_s))
        elif abs(claims.iat - now_s) > WINDOW_S:
            if self._nonces is not None:
                raise UseDpopNonce(self._nonces.make(now_s))
            raise InvalidDpopProof("its iat is not within five minutes of now")

    def _remember(self, proof: bytes) -> None:
        with self._lock:
            if proof in self._used:
                raise InvalidDpopProof("the proof was used before")
            self._used[proof] = None
            if len(self._used) > MOST_REMEMBERED:
                del self._used[next(iter(self._used))]
