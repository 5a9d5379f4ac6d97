"""Tokens and key sets of other issuers, made without the code under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.conformance.builders import b64, compact

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
ALGORITHMS = (*RSA_ALGORITHMS, *CURVES, "EdDSA", "Ed25519")
_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


@cache
def make_rsa(bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """Return an RSA key, the same one for the same arguments: making one is slow."""
    return rsa.generate_private_key(public_exponent=exponent, key_size=bits)


@cache
def make_key(algorithm: str) -> Private:
    """Return the key of an algorithm, the same one for each call."""
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    return ed25519.Ed25519PrivateKey.generate() if algorithm in ("EdDSA", "Ed25519") else make_rsa()


def public_jwk(key: Private, **members: Any) -> dict[str, Any]:
    """Return the public JWK of a key, with these members."""
    match key.public_key():
        case rsa.RSAPublicKey() as public:
            numbers = public.public_numbers()
            size = (numbers.n.bit_length() + 7) // 8
            found = {
                "kty": "RSA",
                "n": b64(numbers.n.to_bytes(size, "big")),
                "e": b64(numbers.e.to_bytes(3, "big").lstrip(b"\0")),
            }
        case ec.EllipticCurvePublicKey() as public:
            point, size = public.public_numbers(), (public.key_size + 7) // 8
            name = {256: "P-256", 384: "P-384", 521: "P-521"}[public.key_size]
            found = {"kty": "EC", "crv": name, "x": b64(point.x.to_bytes(size, "big")), "y": b64(point.y.to_bytes(size, "big"))}
        case public:
            found = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
    return found | members


def signer(key: Private, algorithm: str) -> Callable[[bytes], bytes]:
    """Return a function that signs with a key and an algorithm."""

    def sign(data: bytes) -> bytes:
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(data)
        digest = _HASHES[algorithm[2:]]
        if isinstance(key, rsa.RSAPrivateKey):
            pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
            return key.sign(data, padding.PKCS1v15() if algorithm.startswith("RS") else pss, digest)
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        size = (key.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def foreign_token(claims: Any, *, key: Private, algorithm: str, header: Mapping[str, Any] | None = None) -> str:
    """Return a token over these claims; `header` replaces the usual one."""
    given = {"alg": algorithm, "kid": "key-1"} if header is None else header
    return compact(given, claims, signer(key, algorithm))
