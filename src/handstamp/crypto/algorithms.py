"""The signature algorithms of JWS (RFC 7518 §3, RFC 8037): ES256, Ed25519, RS256 and HS256."""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Callable
from typing import Literal, get_args

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hmac import HMAC

from ..errors import ConfigurationError

Algorithm = Literal["ES256", "Ed25519", "RS256", "HS256"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

MIN_RSA_BITS = 3072
MIN_SECRET_BYTES = 32
ES256_HALF = 32
"""Bytes of each half of an ES256 signature, and of each coordinate of a key."""
_ECDSA = ec.ECDSA(hashes.SHA256())
_ECDSA_OF_HASH = ec.ECDSA(Prehashed(hashes.SHA256()))
_DER_FORMS = (
    (b"0D\x02 %b\x02 %b", b"0E\x02 %b\x02!\0%b"),
    (b"0E\x02!\0%b\x02 %b", b"0F\x02!\0%b\x02!\0%b"),
)
"""The DER of R and S that both begin with a byte other than 0, as they nearly always do, by their highest bits.

`encode_dss_signature` makes the same of every other pair, and takes three times as long.
"""

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def make_verifier(key: PublicKey | bytes, algorithm: Algorithm, kid: str) -> Callable[[bytes, bytes], bool]:
    """Return a function that tells whether a signature is valid for a signing input. It never raises.

    Args:
        key: A public key of `cryptography`, or the bytes of an HS256 secret.
        algorithm: The one algorithm of the key.
        kid: The id of the key, for error messages.

    Raises:
        ConfigurationError: If the key is weak or not of the type that `algorithm` needs.
    """
    match key, algorithm:
        case bytes() as secret, "HS256":
            if len(secret) < MIN_SECRET_BYTES:
                raise ConfigurationError(
                    f"The secret {kid!r} is too short: it needs at least {MIN_SECRET_BYTES} bytes (RFC 7518 §3.2)"
                )
            mac = _mac(secret)
            return lambda data, signature: hmac.compare_digest(mac(data), signature)
        case ec.EllipticCurvePublicKey() as public, "ES256" if isinstance(public.curve, ec.SECP256R1):
            return functools.partial(_es256_verifies, public)
        case ed25519.Ed25519PublicKey() as ed, "Ed25519":
            return lambda data, signature: is_valid(lambda: ed.verify(signature, data))
        case rsa.RSAPublicKey() as rs256, "RS256":
            exponent = rs256.public_numbers().e
            if rs256.key_size < MIN_RSA_BITS or exponent < 65537 or exponent % 2 == 0:
                raise ConfigurationError(
                    f"The RSA key {kid!r} is too weak: it needs at least {MIN_RSA_BITS} bits and an odd e ≥ 65537"
                )
            scheme, digest = padding.PKCS1v15(), hashes.SHA256()
            return lambda data, signature: is_valid(lambda: rs256.verify(signature, data, scheme, digest))
        case _:
            raise ConfigurationError(f"The key {kid!r} is not of the type that {algorithm} needs")


def _es256_verifies(public: ec.EllipticCurvePublicKey, data: bytes, signature: bytes) -> bool:
    if len(signature) != 2 * ES256_HALF:  # RFC 7518 §3.4: R and S with 32 bytes each, not DER
        return False
    r, s = signature[:ES256_HALF], signature[ES256_HALF:]
    if r[0] and s[0]:
        der = _DER_FORMS[r[0] >> 7][s[0] >> 7] % (r, s)
    else:
        der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    try:
        public.verify(der, hashlib.sha256(data).digest(), _ECDSA_OF_HASH)
    except InvalidSignature:
        return False
    return True


def is_valid(verify: Callable[[], None]) -> bool:
    """Return False if a call of `cryptography` raises that a signature is invalid."""
    try:
        verify()
    except InvalidSignature:
        return False
    return True


def make_signer(private: PrivateKey | bytes, algorithm: Algorithm) -> Callable[[bytes], bytes]:
    """Return a function that makes the JWS signature of a signing input (RFC 7518 §3).

    Raises:
        ConfigurationError: If the key is of a type that signs none of our algorithms.
    """
    match private:
        case bytes() as secret:
            return _mac(secret)
        case ec.EllipticCurvePrivateKey() as es256:
            return lambda data: _es256_signature(es256, data)
        case ed25519.Ed25519PrivateKey() as ed:
            return ed.sign
        case rsa.RSAPrivateKey() as rs256:
            return lambda data: rs256.sign(data, padding.PKCS1v15(), hashes.SHA256())
    raise ConfigurationError(f"A private key of this type cannot sign {algorithm}")


def _mac(secret: bytes) -> Callable[[bytes], bytes]:
    """Return HMAC-SHA-256 with a secret that is hashed once, not for every token (RFC 2104 §4)."""
    keyed = HMAC(secret, hashes.SHA256())

    def mac(data: bytes) -> bytes:
        copied = keyed.copy()
        copied.update(data)
        return copied.finalize()

    return mac


def _es256_signature(private: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(private.sign(data, _ECDSA))
    return r.to_bytes(ES256_HALF, "big") + s.to_bytes(ES256_HALF, "big")
