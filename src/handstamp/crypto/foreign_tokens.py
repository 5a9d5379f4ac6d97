"""Verify tokens that other issuers have signed: ID tokens and logout tokens of OpenID providers (RFC 7515, RFC 8725).

Their keys are not ours to choose. So more algorithms are accepted than for our own tokens, RSA keys from 2048 bits on, and key
ids of any form. Everything else is as strict: `none` and secrets (HS256) do not exist here, an algorithm must fit the type of the
key and what its publisher says about it, and no claim is returned before the signature has been verified.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ..errors import ConfigurationError, InvalidToken
from .algorithms import is_valid
from .jwk import PRIVATE_MEMBERS
from .jws import UnknownKey
from .strict import base64url_decode, base64url_encode, json_decode

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
"""RFC 7518 §3.3. Larger keys would take long."""
MAX_KEYS = 64
MAX_KEYS_OF_ID = 2
"""How many keys with one id are tried. Trying many takes long, and everybody can send a forged token."""
MAX_HEADER_LENGTH = 4096
_MAX_KID_LENGTH = 256
_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: dict[str, tuple[ec.EllipticCurve, int, str]] = {
    "P-256": (ec.SECP256R1(), 32, "ES256"),
    "P-384": (ec.SECP384R1(), 48, "ES384"),
    "P-521": (ec.SECP521R1(), 66, "ES512"),
}
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_EDDSA = frozenset({"EdDSA", "Ed25519"})
FOREIGN_ALGORITHMS = _RSA | _EDDSA | {algorithm for _, _, algorithm in _CURVES.values()}
"""All signature algorithms that are accepted: RFC 7518 §3.3 to §3.5, RFC 8037."""
_ABSENT = msgspec.Raw()


class ForeignKey(NamedTuple):
    """A public key of another issuer."""

    kid: str
    algorithms: frozenset[str]
    """The algorithms that it is for: one if its publisher says which."""
    issuer: str
    """The issuer that may use it, as Microsoft publishes it; "" if its publisher does not say."""
    verifies: Callable[[str, bytes, bytes], bool]
    """Called with (algorithm, signing input, signature)."""

    def __repr__(self) -> str:
        """Return a short text."""
        return f"ForeignKey(kid={self.kid!r})"


class ForeignKeys:
    """The keys of another issuer, by `kid`. Several may have the same one, or none."""

    __slots__ = ("_all", "_by_kid")

    def __init__(self, keys: Iterable[ForeignKey]) -> None:
        self._all = tuple(keys)
        self._by_kid: dict[str, tuple[ForeignKey, ...]] = {}
        for key in self._all:
            self._by_kid[key.kid] = (*self._by_kid.get(key.kid, ()), key)[:MAX_KEYS_OF_ID]

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._all)

    def find(self, kid: str) -> tuple[ForeignKey, ...] | None:
        """Return the keys with this id, None if there is none. A token without `kid` may be of the only key of the set."""
        if not kid and len(self._all) == 1:
            return self._all
        return self._by_kid.get(kid)

    def without(self, kids: Collection[str]) -> ForeignKeys:
        """Return the set without the keys that have one of these ids."""
        return ForeignKeys(key for key in self._all if key.kid not in kids) if kids else self

    @classmethod
    def from_jwks(cls, document: bytes) -> ForeignKeys:
        """Load a JWK Set (RFC 7517 §5). Keys for another purpose, of unknown types, and weak ones are left out.

        Raises:
            ConfigurationError: If it is no JWK Set, has more than 64 keys, or none that can be used.
        """
        try:
            listed = json_decode(document, dict[str, Any])["keys"]
            if not isinstance(listed, list) or len(listed) > MAX_KEYS:
                raise ConfigurationError(f'expected {{"keys": [...]}} with at most {MAX_KEYS} keys')
            found = [key for jwk in listed if isinstance(jwk, dict) and (key := _read_key(jwk)) is not None]
        except (InvalidToken, KeyError):
            raise ConfigurationError('this is not a JWK Set: expected {"keys": [...]}') from None
        if not found:
            raise ConfigurationError("no key of the JWK Set can be used for verifying")
        return cls(found)


class ForeignToken(NamedTuple):
    """A token whose signature is valid."""

    claims: Mapping[str, Any]
    algorithm: str
    key_issuer: str

    def __repr__(self) -> str:
        """Return a text without the claims."""
        return f"ForeignToken(algorithm={self.algorithm!r})"


class _Header(msgspec.Struct, frozen=True):
    """The members of a JOSE header that are used or refused."""

    alg: str
    kid: str = ""
    typ: str = ""
    crit: msgspec.Raw = _ABSENT
    b64: msgspec.Raw = _ABSENT
    enc: msgspec.Raw = _ABSENT
    zip: msgspec.Raw = _ABSENT


def verify_foreign(
    token: str, keys: ForeignKeys, *, algorithms: Collection[str], typs: Collection[str], max_length: int
) -> ForeignToken:
    """Return what a token says that one of `keys` signed. What the claims say is for the caller to check.

    Args:
        token: A compact JWS.
        keys: The keys of its issuer.
        algorithms: Those that the issuer uses. Others than `FOREIGN_ALGORITHMS` are never accepted.
        typs: The values of `typ` that are accepted, in lower case, without `application/`. "" accepts a header without.
        max_length: The greatest length, in characters.

    Raises:
        UnknownKey: If no key has its `kid`.
        InvalidToken: If form, size, header, `typ`, algorithm, signature or JSON is invalid.
    """
    header, payload, signing_input, signature = _split(token, max_length)
    if header.typ.lower().removeprefix("application/") not in typs:
        raise InvalidToken("typ names another kind of token")
    if header.alg not in FOREIGN_ALGORITHMS or header.alg not in algorithms:
        raise InvalidToken("alg is not one of the issuer's")
    found = keys.find(header.kid)
    if found is None:
        raise UnknownKey(header.kid)
    for key in found:
        if header.alg in key.algorithms and key.verifies(header.alg, signing_input, signature):
            return ForeignToken(json_decode(base64url_decode(payload), dict[str, Any]), header.alg, key.issuer)
    raise InvalidToken("the signature is invalid")


def half_hash(algorithm: str, text: str) -> str:
    """Return the hash of a token or a code as `at_hash` and `c_hash` contain it (OpenID Connect Core §3.1.3.6)."""
    digest = hashes.Hash(hashes.SHA512() if algorithm in _EDDSA else _HASHES[algorithm[2:]])
    digest.update(text.encode())
    hashed = digest.finalize()
    return base64url_encode(hashed[: len(hashed) // 2])


def _split(token: str, max_length: int) -> tuple[_Header, str, bytes, bytes]:
    if len(token) > max_length:
        raise InvalidToken("the token is too long")
    signing_input, _, signature = token.rpartition(".")
    head, _, payload = signing_input.partition(".")
    if len(head) > MAX_HEADER_LENGTH:
        raise InvalidToken("the header is too long")
    if not (head and payload and signature and signing_input.isascii()) or "." in payload:
        raise InvalidToken("not three segments of base64url: unsigned and encrypted tokens are not accepted")
    header = json_decode(base64url_decode(head), _Header)
    if not all(member is _ABSENT for member in (header.crit, header.b64, header.enc, header.zip)):
        raise InvalidToken("crit, b64, enc or zip asks for an extension that is not supported")
    if len(header.kid) > _MAX_KID_LENGTH:
        raise InvalidToken("kid is too long")
    return header, payload, signing_input.encode("ascii"), base64url_decode(signature)


def _read_key(jwk: Mapping[str, Any]) -> ForeignKey | None:
    """Return a key for verifying. None if it is for something else, unknown, weak, malformed, or has its private part."""
    kid, operations = jwk.get("kid", ""), jwk.get("key_ops", ["verify"])
    if (
        not isinstance(kid, str)
        or jwk.get("use", "sig") != "sig"
        or not isinstance(operations, list)
        or "verify" not in operations
    ):
        return None
    if len(kid) > _MAX_KID_LENGTH or PRIVATE_MEMBERS & jwk.keys():
        return None
    try:
        verifies, fitting = _read_members(jwk)
    except (KeyError, TypeError, AttributeError, ValueError, UnsupportedAlgorithm, InvalidToken):
        return None
    said = jwk.get("alg")
    algorithms = fitting if said is None or (str(said) in _EDDSA and fitting is _EDDSA) else fitting & {str(said)}
    issuer = jwk.get("issuer", "")
    return ForeignKey(kid, algorithms, issuer if isinstance(issuer, str) else "-", verifies) if algorithms else None


def _read_members(jwk: Mapping[str, Any]) -> tuple[Callable[[str, bytes, bytes], bool], frozenset[str]]:
    """Return what checks a signature, and the algorithms that fit. Raises many things if the key is malformed."""

    def read_number(name: str) -> int:
        return int.from_bytes(base64url_decode(jwk[name]), "big")

    match jwk["kty"], jwk.get("crv"):
        case "RSA", _:
            public = rsa.RSAPublicNumbers(read_number("e"), read_number("n")).public_key()
            exponent = public.public_numbers().e
            if not MIN_RSA_BITS <= public.key_size <= MAX_RSA_BITS or exponent < 65537 or exponent % 2 == 0:
                raise ValueError("weak")
            return lambda algorithm, data, signature: _rsa_verifies(public, algorithm, data, signature), _RSA
        case "EC", str(name):
            curve, half, algorithm = _CURVES[name]
            if len(base64url_decode(jwk["x"])) != half or len(base64url_decode(jwk["y"])) != half:
                raise ValueError("RFC 7518 §6.2.1.2: a coordinate must have the length of the curve")
            point = ec.EllipticCurvePublicNumbers(read_number("x"), read_number("y"), curve).public_key()
            return lambda algorithm, data, signature: _ec_verifies(point, half, algorithm, data, signature), frozenset(
                {algorithm}
            )
        case "OKP", "Ed25519":
            edwards = ed25519.Ed25519PublicKey.from_public_bytes(base64url_decode(jwk["x"]))
            return lambda _, data, signature: is_valid(lambda: edwards.verify(signature, data)), _EDDSA
        case _:
            raise ValueError("a type that is not supported")


def _rsa_verifies(public: rsa.RSAPublicKey, algorithm: str, data: bytes, signature: bytes) -> bool:
    digest = _HASHES[algorithm[2:]]
    scheme = padding.PKCS1v15() if algorithm.startswith("RS") else padding.PSS(padding.MGF1(digest), digest.digest_size)
    return is_valid(lambda: public.verify(signature, data, scheme, digest))


def _ec_verifies(public: ec.EllipticCurvePublicKey, half: int, algorithm: str, data: bytes, signature: bytes) -> bool:
    if len(signature) != 2 * half:
        return False
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    return is_valid(lambda: public.verify(encode_dss_signature(r, s), data, ec.ECDSA(_HASHES[algorithm[2:]])))
