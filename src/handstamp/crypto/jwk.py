"""Keys and key sets (RFC 7517, RFC 7518 §6, RFC 8037, RFC 7638).

A key has exactly one algorithm. A signature is checked with the algorithm of the key, never with that of the token. A key set
is checked when it is loaded, so that mistakes show at start-up and not at the first token.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ..errors import ConfigurationError, InvalidToken
from .algorithms import ES256_HALF, MIN_RSA_BITS, MIN_SECRET_BYTES, Algorithm, PrivateKey, PublicKey, make_signer, make_verifier
from .strict import base64url_decode, base64url_encode, json_decode

KID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
"""The members of a JWK that only a private key has (RFC 7518 §6.2.2, §6.3.2)."""


class VerifyingKey:
    """A key that checks signatures of one algorithm. Its `repr` shows only its id and algorithm."""

    __slots__ = ("_key", "algorithm", "kid", "verifies")

    def __init__(self, key: PublicKey | bytes, *, kid: str, algorithm: Algorithm) -> None:
        """Check a key and prepare it for verifying.

        Args:
            key: A public key of `cryptography`, or the bytes of an HS256 secret.
            kid: The id of the key: 1 to 64 characters of A-Z a-z 0-9 . _ -
            algorithm: The one algorithm of the key.

        Raises:
            ConfigurationError: If the key is weak or not of the type that `algorithm` needs, or if `kid` is malformed.
        """
        if KID.fullmatch(kid) is None:
            raise ConfigurationError(f"The key id {kid[:80]!r} is malformed: use 1 to 64 characters of A-Z a-z 0-9 . _ -")
        self.kid: str = kid
        self.algorithm = algorithm
        self._key = key
        self.verifies: Callable[[bytes, bytes], bool] = make_verifier(key, algorithm, kid)
        """Return True if a signature is valid for a signing input. Called with (signing input, signature). Never raises."""

    def __repr__(self) -> str:
        """Return a text without the key."""
        return f"VerifyingKey(kid={self.kid!r}, algorithm={self.algorithm!r})"

    @property
    def is_secret(self) -> bool:
        """True for an HS256 secret, with which a verifier could also sign."""
        return isinstance(self._key, bytes)

    def to_jwk(self) -> dict[str, str]:
        """Return the public JWK (RFC 7517 §4) with `kid`, `alg` and `use`.

        Raises:
            ConfigurationError: If the key is a secret.
        """
        return {**_public_members(self._key), "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> VerifyingKey:
        """Load one JWK.

        Raises:
            ConfigurationError: If the key is weak, private, malformed, or for another purpose than verifying.
        """
        kid = jwk.get("kid")
        if not isinstance(kid, str):
            raise ConfigurationError("A key has no 'kid' to tell it from others: give it one")
        name = f"The key {kid[:80]!r}"
        operations = jwk.get("key_ops", ["verify"])
        if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
            raise ConfigurationError(f"{name} is not for verifying, by its 'use' or 'key_ops'")
        if jwk.get("kty") != "oct" and PRIVATE_MEMBERS & jwk.keys():
            raise ConfigurationError(f"{name} contains its private part: publish only the public members")
        try:
            key, algorithm = _key_from_members(jwk)
        except (KeyError, TypeError, AttributeError, ValueError, UnsupportedAlgorithm, InvalidToken) as problem:
            raise ConfigurationError(f"{name} cannot be read: {type(problem).__name__}") from None
        if jwk.get("alg", algorithm) != algorithm:
            raise ConfigurationError(f"{name} has alg {str(jwk['alg'])[:20]!r}, but a key of its type is for {algorithm}")
        return cls(key, kid=kid, algorithm=algorithm)


class SigningKey:
    """A private key with its id and its one algorithm. Its `repr` shows neither key nor secret."""

    __slots__ = ("_private", "algorithm", "kid", "public", "sign")

    def __init__(self, private: PrivateKey | bytes, *, algorithm: Algorithm, kid: str | None = None) -> None:
        """Check a key and prepare it for signing.

        Args:
            private: A private key of `cryptography`, or the bytes of an HS256 secret.
            algorithm: The one algorithm of the key.
            kid: The id of the key; its thumbprint by default (RFC 7638).

        Raises:
            ConfigurationError: As `VerifyingKey`.
        """
        public = private if isinstance(private, bytes) else private.public_key()
        self._private = private
        self.algorithm = algorithm
        self.kid: str = kid if kid is not None else _thumbprint(public)
        self.public: VerifyingKey = VerifyingKey(public, kid=self.kid, algorithm=algorithm)
        self.sign: Callable[[bytes], bytes] = make_signer(private, algorithm)
        """Return the JWS signature of a signing input (RFC 7518 §3). Called with the signing input."""

    def __repr__(self) -> str:
        """Return a text without the key."""
        return f"SigningKey(kid={self.kid!r}, algorithm={self.algorithm!r})"

    @classmethod
    def generate(cls, algorithm: Algorithm) -> SigningKey:
        """Generate a new key. RS256 takes about a second."""
        match algorithm:
            case "ES256":
                return cls(ec.generate_private_key(ec.SECP256R1()), algorithm=algorithm)
            case "Ed25519":
                return cls(ed25519.Ed25519PrivateKey.generate(), algorithm=algorithm)
            case "RS256":
                return cls(rsa.generate_private_key(public_exponent=65537, key_size=MIN_RSA_BITS), algorithm=algorithm)
            case "HS256":
                return cls(secrets.token_bytes(2 * MIN_SECRET_BYTES), algorithm=algorithm)

    def to_bytes(self) -> bytes:
        """Return the private key (PKCS #8, DER) or the secret. Store it only encrypted, and never log it."""
        if isinstance(self._private, bytes):
            return self._private
        return self._private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @classmethod
    def from_bytes(cls, data: bytes, *, algorithm: Algorithm, kid: str) -> SigningKey:
        """Return the key from the bytes that `to_bytes` returned.

        Raises:
            ConfigurationError: If it is a key of another type than `algorithm` needs.
        """
        if algorithm == "HS256":
            return cls(data, algorithm=algorithm, kid=kid)
        private = serialization.load_der_private_key(data, password=None)
        if not isinstance(private, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey)):
            raise ConfigurationError(f"The signing key {kid!r} is of a type that is not supported")
        return cls(private, algorithm=algorithm, kid=kid)

    @classmethod
    def from_pem(cls, text: str, *, kid: str | None = None) -> SigningKey:
        """Return the key of a PEM file without a password: P-256 (ES256), Ed25519, or RSA from 3072 bits on (RS256).

        Args:
            text: What the file contains.
            kid: The id of the key; its thumbprint by default.

        Raises:
            ConfigurationError: If it is no such key, or `kid` is malformed.
        """
        try:
            private = serialization.load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigurationError("This is no private key in PEM form without a password.") from None
        match private:
            case ec.EllipticCurvePrivateKey():
                return cls(private, algorithm="ES256", kid=kid)
            case ed25519.Ed25519PrivateKey():
                return cls(private, algorithm="Ed25519", kid=kid)
            case rsa.RSAPrivateKey():
                return cls(private, algorithm="RS256", kid=kid)
            case _:
                raise ConfigurationError("This private key is of a type that is not supported.")


class KeySet:
    """The keys that may have signed a token, by `kid`. The set is checked when it is created."""

    __slots__ = ("_by_kid", "find")

    def __init__(self, keys: Iterable[VerifyingKey]) -> None:
        """Check the keys.

        Raises:
            ConfigurationError: If two keys have one `kid`, or if there are both secrets and public keys (RFC 8725 §3.1).
        """
        keys = tuple(keys)
        self._by_kid = {key.kid: key for key in keys}
        if len(self._by_kid) != len(keys):
            raise ConfigurationError("Two keys of the set have the same 'kid': give each its own")
        if len({key.is_secret for key in keys}) > 1:
            raise ConfigurationError("A key set contains either secrets or public keys, never both")
        self.find: Callable[[str], VerifyingKey | None] = self._by_kid.get
        """Return the key with this id, or None. A `kid` is looked up here and used for nothing else (RFC 8725 §3.10)."""

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._by_kid)

    def __eq__(self, other: object) -> bool:
        """Return True if the ids are the same: an id is never used for another key."""
        return isinstance(other, KeySet) and self._by_kid.keys() == other._by_kid.keys()

    def __hash__(self) -> int:
        """Return a hash of the ids."""
        return hash(frozenset(self._by_kid))

    def without(self, kids: Collection[str]) -> KeySet:
        """Return the set without the keys that have one of these ids."""
        return KeySet(key for kid, key in self._by_kid.items() if kid not in kids)

    @property
    def is_secret(self) -> bool:
        """True for a set of HS256 secrets, with which a verifier could also sign."""
        return any(key.is_secret for key in self._by_kid.values())

    @classmethod
    def from_jwks(cls, document: bytes | str) -> KeySet:
        """Load a JWK Set (RFC 7517 §5). Keys of an unknown `kty` are ignored, as §5 requires.

        Raises:
            ConfigurationError: If it is not a JWK Set, or if one of its other keys is invalid.
        """
        try:
            listed = json_decode(document.encode() if isinstance(document, str) else document, dict[str, Any])["keys"]
            supported = [jwk for jwk in listed if jwk.get("kty") in ("EC", "OKP", "RSA", "oct")]
        except (InvalidToken, KeyError, TypeError, AttributeError, UnicodeEncodeError):
            raise ConfigurationError('This is not a JWK Set: expected {"keys": [...]}') from None
        return cls(VerifyingKey.from_jwk(jwk) for jwk in supported)

    def to_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the JWK Set for publication. Secrets are left out, since their readers could sign."""
        return {"keys": [key.to_jwk() for key in self._by_kid.values() if not key.is_secret]}


def _key_from_members(jwk: Mapping[str, Any]) -> tuple[PublicKey | bytes, Algorithm]:
    def read_number(name: str) -> int:
        return int.from_bytes(base64url_decode(jwk[name]), "big")

    match jwk["kty"], jwk.get("crv"):
        case "EC", "P-256":
            if len(base64url_decode(jwk["x"])) != ES256_HALF or len(base64url_decode(jwk["y"])) != ES256_HALF:
                raise ValueError("RFC 7518 §6.2.1.2: a coordinate must have the length of the curve")
            return ec.EllipticCurvePublicNumbers(read_number("x"), read_number("y"), ec.SECP256R1()).public_key(), "ES256"
        case "OKP", "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(base64url_decode(jwk["x"])), "Ed25519"
        case "RSA", _:
            return rsa.RSAPublicNumbers(read_number("e"), read_number("n")).public_key(), "RS256"
        case "oct", _:
            return base64url_decode(jwk["k"]), "HS256"
        case _:
            raise ValueError("a type or curve that is not supported")


def _public_members(key: PublicKey | bytes) -> dict[str, str]:
    match key:
        case ec.EllipticCurvePublicKey():
            point = key.public_numbers()
            x, y = (base64url_encode(number.to_bytes(ES256_HALF, "big")) for number in (point.x, point.y))
            return {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        case ed25519.Ed25519PublicKey():
            return {"kty": "OKP", "crv": "Ed25519", "x": base64url_encode(key.public_bytes_raw())}
        case rsa.RSAPublicKey():
            numbers = key.public_numbers()
            n, e = (base64url_encode(n.to_bytes((n.bit_length() + 7) // 8, "big")) for n in (numbers.n, numbers.e))
            return {"kty": "RSA", "n": n, "e": e}
        case _:
            raise ConfigurationError("A secret key has no public form")


def _thumbprint(key: PublicKey | bytes) -> str:
    """Return the id of a key: RFC 7638 for public keys, a hash of the hash for secrets, which reveals nothing about them."""
    if isinstance(key, bytes):
        return base64url_encode(hashlib.sha256(hashlib.sha256(key).digest()).digest()[:16])
    members = msgspec.json.encode(_public_members(key), order="sorted")
    return base64url_encode(hashlib.sha256(members).digest())
