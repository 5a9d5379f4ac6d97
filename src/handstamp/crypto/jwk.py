"""Keys and key sets (RFC 7517, RFC 7518 §6, RFC 8037, RFC 7638).

A key has exactly one algorithm, and whoever checks a signature takes the algorithm from the key, never from the token. A set
is checked when it is loaded: what is wrong with it shows at start-up, not at the first token.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal, get_args

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hmac import HMAC

from ..errors import ConfigurationError, InvalidToken
from .strict import base64url_decode, base64url_encode, json_decode

Algorithm = Literal["ES256", "Ed25519", "RS256", "HS256"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

MIN_RSA_BITS = 3072
MIN_SECRET_BYTES = 32
KID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ES256_HALF = 32
_ECDSA = ec.ECDSA(hashes.SHA256())
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class VerifyingKey:
    """A key that can check signatures of one algorithm. Its `repr` shows its name only."""

    __slots__ = ("_key", "algorithm", "kid", "verifies")

    def __init__(self, key: PublicKey | bytes, *, kid: str, algorithm: Algorithm) -> None:
        """Take a public key of `cryptography`, or the bytes of an HS256 secret. Raises `ConfigurationError` if it is weak."""
        if KID.fullmatch(kid) is None:
            raise ConfigurationError(f"The key id {kid[:80]!r} must be 1 to 64 characters of A-Z a-z 0-9 . _ -")
        self.kid = kid
        self.algorithm = algorithm
        self._key = key
        self.verifies: Callable[[bytes, bytes], bool] = _checker(key, algorithm, kid)
        """Say whether (signing input, signature) belong together. Never raises."""

    def __repr__(self) -> str:
        """Name the key."""
        return f"VerifyingKey(kid={self.kid!r}, algorithm={self.algorithm!r})"

    @property
    def is_secret(self) -> bool:
        """Whether whoever can verify can also sign."""
        return isinstance(self._key, bytes)

    def to_jwk(self) -> dict[str, str]:
        """Return the public JWK (RFC 7517 §4) with `kid`, `alg` and `use`. Raises `ConfigurationError` for a secret key."""
        return {**_public_members(self._key), "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> VerifyingKey:
        """Load one JWK. Raises `ConfigurationError` for a weak, private, malformed or foreign-purpose key."""
        kid = jwk.get("kid")
        if not isinstance(kid, str):
            raise ConfigurationError("A key without a 'kid' cannot be told from others: give it one")
        name = f"The key {kid[:80]!r}"
        operations = jwk.get("key_ops", ["verify"])
        if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
            raise ConfigurationError(f"{name} is not meant for verifying: its 'use' or 'key_ops' says so")
        if jwk.get("kty") != "oct" and _PRIVATE_MEMBERS & jwk.keys():
            raise ConfigurationError(f"{name} holds its private part: publish only the public members")
        try:
            key, algorithm = _key_from_members(jwk)
        except (KeyError, TypeError, AttributeError, ValueError, UnsupportedAlgorithm, InvalidToken) as problem:
            raise ConfigurationError(f"{name} cannot be read: {type(problem).__name__}") from None
        if jwk.get("alg", algorithm) != algorithm:
            raise ConfigurationError(f"{name} says alg {str(jwk['alg'])[:20]!r}, which is not the {algorithm} of its type")
        return cls(key, kid=kid, algorithm=algorithm)


class SigningKey:
    """A private key with its name and its one algorithm. Its `repr` shows neither key nor secret."""

    __slots__ = ("_private", "algorithm", "kid", "public", "sign")

    def __init__(self, private: PrivateKey | bytes, *, algorithm: Algorithm, kid: str | None = None) -> None:
        """Take a private key of `cryptography`, or an HS256 secret; `kid` defaults to the thumbprint (RFC 7638)."""
        public = private if isinstance(private, bytes) else private.public_key()
        self._private = private
        self.algorithm = algorithm
        self.kid = kid if kid is not None else _thumbprint(public)
        self.public = VerifyingKey(public, kid=self.kid, algorithm=algorithm)
        self.sign: Callable[[bytes], bytes] = _signer(private, algorithm)
        """Return the JWS signature of a signing input (RFC 7518 §3)."""

    def __repr__(self) -> str:
        """Name the key."""
        return f"SigningKey(kid={self.kid!r}, algorithm={self.algorithm!r})"

    @classmethod
    def generate(cls, algorithm: Algorithm) -> SigningKey:
        """Make a new key that nobody has seen; RS256 takes a second or so."""
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
        """Return the private key (PKCS #8, DER) or the secret, for sealing. Never store or log it as it is."""
        if isinstance(self._private, bytes):
            return self._private
        return self._private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @classmethod
    def from_bytes(cls, data: bytes, *, algorithm: Algorithm, kid: str) -> SigningKey:
        """Return the key that `to_bytes` gave. Raises `ConfigurationError` if it is another kind of key."""
        if algorithm == "HS256":
            return cls(data, algorithm=algorithm, kid=kid)
        private = serialization.load_der_private_key(data, password=None)
        if not isinstance(private, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey)):
            raise ConfigurationError(f"The signing key {kid!r} is of a kind that is not supported")
        return cls(private, algorithm=algorithm, kid=kid)


class KeySet:
    """The keys that may have signed a token, by `kid`. Checked as a whole when it is made."""

    __slots__ = ("_by_kid",)

    def __init__(self, keys: Iterable[VerifyingKey]) -> None:
        """Raise `ConfigurationError` for two keys of one `kid`, or for secrets and public keys together (RFC 8725 §3.1)."""
        keys = tuple(keys)
        self._by_kid = {key.kid: key for key in keys}
        if len(self._by_kid) != len(keys):
            raise ConfigurationError("Two keys of the set have the same 'kid'")
        if len({key.is_secret for key in keys}) > 1:
            raise ConfigurationError("A key set holds either secrets or public keys, never both")

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._by_kid)

    def __eq__(self, other: object) -> bool:
        """Say whether the names are the same: a name stands for one key for ever."""
        return isinstance(other, KeySet) and self._by_kid.keys() == other._by_kid.keys()

    def __hash__(self) -> int:
        """Go by the names too."""
        return hash(frozenset(self._by_kid))

    def find(self, kid: str) -> VerifyingKey | None:
        """Return the key of that name. A `kid` is looked up here and used for nothing else (RFC 8725 §3.10)."""
        return self._by_kid.get(kid)

    def without(self, kids: Collection[str]) -> KeySet:
        """Return the set without the keys of those names."""
        return KeySet(key for kid, key in self._by_kid.items() if kid not in kids)

    @property
    def is_secret(self) -> bool:
        """Whether whoever can verify with it can also sign."""
        return any(key.is_secret for key in self._by_kid.values())

    @classmethod
    def from_jwks(cls, document: bytes | str) -> KeySet:
        """Load a JWK Set (RFC 7517 §5). Keys of a type that we do not know are passed over, as §5 says; others must be right."""
        try:
            listed = json_decode(document.encode() if isinstance(document, str) else document, dict[str, Any])["keys"]
            known = [jwk for jwk in listed if jwk.get("kty") in ("EC", "OKP", "RSA", "oct")]
        except (InvalidToken, KeyError, TypeError, AttributeError, UnicodeEncodeError):
            raise ConfigurationError('This is not a JWK Set: expected {"keys": [...]}') from None
        return cls(VerifyingKey.from_jwk(jwk) for jwk in known)

    def to_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the set for publication. Secrets are left out: whoever read them could sign."""
        return {"keys": [key.to_jwk() for key in self._by_kid.values() if not key.is_secret]}


def _checker(key: PublicKey | bytes, algorithm: Algorithm, kid: str) -> Callable[[bytes, bytes], bool]:
    match key, algorithm:
        case bytes() as secret, "HS256":
            if len(secret) < MIN_SECRET_BYTES:
                raise ConfigurationError(f"The secret of {kid!r} must have at least {MIN_SECRET_BYTES} bytes (RFC 7518 §3.2)")
            mac = _mac(secret)
            return lambda data, signature: hmac.compare_digest(mac(data), signature)
        case ec.EllipticCurvePublicKey() as public, "ES256" if isinstance(public.curve, ec.SECP256R1):
            return functools.partial(_es256_verifies, public)
        case ed25519.Ed25519PublicKey() as ed, "Ed25519":
            return lambda data, signature: _holds(lambda: ed.verify(signature, data))
        case rsa.RSAPublicKey() as rs256, "RS256":
            exponent = rs256.public_numbers().e
            if rs256.key_size < MIN_RSA_BITS or exponent < 65537 or exponent % 2 == 0:
                raise ConfigurationError(f"The RSA key {kid!r} must have at least {MIN_RSA_BITS} bits and e ≥ 65537")
            scheme, digest = padding.PKCS1v15(), hashes.SHA256()
            return lambda data, signature: _holds(lambda: rs256.verify(signature, data, scheme, digest))
        case _:
            raise ConfigurationError(f"The key {kid!r} is not of the type that {algorithm} needs")


def _es256_verifies(public: ec.EllipticCurvePublicKey, data: bytes, signature: bytes) -> bool:
    if len(signature) != 2 * _ES256_HALF:  # RFC 7518 §3.4: R and S, 32 bytes each, and never DER
        return False
    r = int.from_bytes(signature[:_ES256_HALF], "big")
    s = int.from_bytes(signature[_ES256_HALF:], "big")
    return _holds(lambda: public.verify(encode_dss_signature(r, s), data, _ECDSA))


def _holds(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except InvalidSignature:
        return False
    return True


def _signer(private: PrivateKey | bytes, algorithm: Algorithm) -> Callable[[bytes], bytes]:
    match private:
        case bytes() as secret:
            return _mac(secret)
        case ec.EllipticCurvePrivateKey() as es256:
            return lambda data: _es256_signature(es256, data)
        case ed25519.Ed25519PrivateKey() as ed:
            return ed.sign
        case rsa.RSAPrivateKey() as rs256:
            return lambda data: rs256.sign(data, padding.PKCS1v15(), hashes.SHA256())
    raise ConfigurationError(f"No private key of this type signs {algorithm}")


def _mac(secret: bytes) -> Callable[[bytes], bytes]:
    """Return HMAC-SHA-256 with a secret that is worked into it once, not for each token (RFC 2104 §4)."""
    keyed = HMAC(secret, hashes.SHA256())

    def mac(data: bytes) -> bytes:
        copied = keyed.copy()
        copied.update(data)
        return copied.finalize()

    return mac


def _es256_signature(private: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(private.sign(data, _ECDSA))
    return r.to_bytes(_ES256_HALF, "big") + s.to_bytes(_ES256_HALF, "big")


def _key_from_members(jwk: Mapping[str, Any]) -> tuple[PublicKey | bytes, Algorithm]:
    def number(name: str) -> int:
        return int.from_bytes(base64url_decode(jwk[name]), "big")

    match jwk["kty"], jwk.get("crv"):
        case "EC", "P-256":
            if len(base64url_decode(jwk["x"])) != _ES256_HALF or len(base64url_decode(jwk["y"])) != _ES256_HALF:
                raise ValueError("RFC 7518 §6.2.1.2: coordinates have the length of the curve")
            return ec.EllipticCurvePublicNumbers(number("x"), number("y"), ec.SECP256R1()).public_key(), "ES256"
        case "OKP", "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(base64url_decode(jwk["x"])), "Ed25519"
        case "RSA", _:
            return rsa.RSAPublicNumbers(number("e"), number("n")).public_key(), "RS256"
        case "oct", _:
            return base64url_decode(jwk["k"]), "HS256"
        case _:
            raise ValueError("a type or curve that is not supported")


def _public_members(key: PublicKey | bytes) -> dict[str, str]:
    match key:
        case ec.EllipticCurvePublicKey():
            point = key.public_numbers()
            x, y = (base64url_encode(number.to_bytes(_ES256_HALF, "big")) for number in (point.x, point.y))
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
    """RFC 7638 for public keys; a secret is named by a hash of its hash, which tells nothing of it."""
    if isinstance(key, bytes):
        return base64url_encode(hashlib.sha256(hashlib.sha256(key).digest()).digest()[:16])
    members = msgspec.json.encode(_public_members(key), order="sorted")
    return base64url_encode(hashlib.sha256(members).digest())
