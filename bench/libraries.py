"""The libraries that verify and sign, each with its strictest options, and the bare primitive as the ruler.

Each gets its key once, in the form that it handles fastest. Each has a function that verifies a batch of tokens and one that
signs a batch of claims. Everything that can be prepared is prepared; only the pass over the batch is timed.
"""

from __future__ import annotations

import base64
import hmac
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jwt
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt
from joserfc.errors import JoseError as JoserfcError
from jwt.algorithms import OKPAlgorithm

from handstamp import AccessClaims, HandstampError, Verifier
from handstamp.crypto import jws
from handstamp.crypto.algorithms import Algorithm
from handstamp.crypto.jwk import SigningKey
from handstamp.domain.claims import ACCESS_TYPE

from .timing import Prepare

with warnings.catch_warnings(record=True):  # Authlib warns that joserfc replaces this module in 2.0
    from authlib.jose import JsonWebKey, JsonWebSignature, JsonWebToken
    from authlib.jose.errors import JoseError as AuthlibError
    from authlib.jose.rfc8037.jws_eddsa import EdDSAAlgorithm

BARE, HANDSTAMP, PYJWT, JOSERFC, AUTHLIB = "cryptography alone", "Handstamp", "PyJWT", "joserfc", "Authlib"
REFUSALS = (InvalidSignature, HandstampError, jwt.InvalidTokenError, JoserfcError, AuthlibError)
_KEY_TYPES: Mapping[Algorithm, Literal["EC", "OKP", "RSA", "oct"]] = {
    "ES256": "EC",
    "Ed25519": "OKP",
    "RS256": "RSA",
    "HS256": "oct",
}
_WANTED = ("iat", "exp", "aud", "iss", "sub", "jti")
_LEEWAY_S = 5


class _Ed25519(EdDSAAlgorithm):  # type: ignore[misc] # Authlib has no types
    name = "Ed25519"


# Two libraries only know the name from before RFC 9864.
jwt.register_algorithm("Ed25519", OKPAlgorithm())
JsonWebSignature.register_algorithm(_Ed25519())


def header_of(key: SigningKey) -> dict[str, str]:
    """Return the JWS header of all tokens."""
    return {"alg": key.algorithm, "kid": key.kid, "typ": ACCESS_TYPE}


# --- verifying


def handstamp_verifies(verifier: Verifier) -> Prepare[bytes]:
    """Return Handstamp."""
    return _each(verifier.verify)


def bare_verifies(key: Any) -> Prepare[bytes]:
    """Return the ruler: one call of `cryptography` or `hmac`, with prepared arguments."""

    def prepare(tokens: Sequence[bytes]) -> Callable[[], None]:
        prepared = [_signed_parts(token) for token in tokens]
        calls: Sequence[tuple[Any, ...]] = prepared
        verify = _hmac_verifies(key) if isinstance(key, bytes) else key.verify
        match key:
            case ec.EllipticCurvePublicKey():
                calls = [(_to_der(signature), data, ec.ECDSA(hashes.SHA256())) for signature, data in prepared]
            case rsa.RSAPublicKey():
                calls = [(signature, data, padding.PKCS1v15(), hashes.SHA256()) for signature, data in prepared]

        def go_through() -> None:
            for call in calls:
                verify(*call)

        return go_through

    return prepare


def pyjwt_verifies(key: Any, algorithm: Algorithm, issuer: str) -> Prepare[bytes]:
    """Return PyJWT with every check that it has; it cannot check `typ` and duplicate members."""
    algorithms = [algorithm]
    options: Any = {"require": list(_WANTED), "strict_aud": True}

    def verify(token: str) -> None:
        jwt.decode(token, key, algorithms=algorithms, audience=issuer, issuer=issuer, leeway=_LEEWAY_S, options=options)

    return _each(verify)


def joserfc_verifies(key: Any, algorithm: Algorithm, issuer: str) -> Prepare[bytes]:
    """Return joserfc with the same checks."""
    owned, algorithms = _joserfc_key(key, algorithm), [algorithm]
    registry = joserfc_jwt.JWTClaimsRegistry(leeway=_LEEWAY_S, **_wanted(issuer))

    def verify(token: str) -> None:
        registry.validate(joserfc_jwt.decode(token, owned, algorithms=algorithms).claims)

    return _each(verify)


def authlib_verifies(key: Any, algorithm: Algorithm, issuer: str) -> Prepare[bytes]:
    """Return Authlib with the same checks."""
    owned, library, options = _authlib_key(key, algorithm), JsonWebToken([algorithm]), _wanted(issuer)

    def verify(token: str) -> None:
        library.decode(token, owned, claims_options=options).validate(leeway=_LEEWAY_S)

    return _each(verify)


def expect_refusals(contenders: Mapping[str, Prepare[bytes]], token: bytes) -> None:
    """Raise `RuntimeError` if a library accepts a forged token: its time would not be comparable."""
    signed, signature = token[: token.rindex(b".") + 1], token[token.rindex(b".") + 1 :]
    forged = signed + (b"B" if signature[:1] == b"A" else b"A") + signature[1:]
    for name, prepare in contenders.items():
        try:
            prepare([forged])()
        except REFUSALS:
            continue
        raise RuntimeError(f"{name} took a forged token")


# --- signing: a pass over a batch returns the last token


def handstamp_signs(key: SigningKey) -> Prepare[AccessClaims]:
    """Return Handstamp."""
    return _each_signed(lambda claims: jws.sign(claims, key, typ=ACCESS_TYPE), AccessClaims.copy)


def bare_signs(private: Any, key: SigningKey) -> Prepare[AccessClaims]:
    """Return the ruler, which gets the bytes to sign."""
    arguments: tuple[Any, ...] = ()
    match private:
        case ec.EllipticCurvePrivateKey():
            arguments = (ec.ECDSA(hashes.SHA256()),)
        case rsa.RSAPrivateKey():
            arguments = (padding.PKCS1v15(), hashes.SHA256())

    def signing_input(claims: AccessClaims) -> bytes:
        parts = (header_of(key), claims)
        return b".".join(base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=") for part in parts)

    if isinstance(private, bytes):
        return _each_signed(lambda data: hmac.digest(private, data, "sha256"), signing_input)
    return _each_signed(lambda data: private.sign(data, *arguments), signing_input)


def pyjwt_signs(private: Any, key: SigningKey) -> Prepare[AccessClaims]:
    """Return PyJWT."""
    header = header_of(key)
    return _each_signed(
        lambda claims: jwt.encode(claims, private, algorithm=key.algorithm, headers=header), AccessClaims.to_members
    )


def joserfc_signs(private: Any, key: SigningKey) -> Prepare[AccessClaims]:
    """Return joserfc."""
    owned, algorithms, header = _joserfc_key(private, key.algorithm), [key.algorithm], header_of(key)
    return _each_signed(lambda claims: joserfc_jwt.encode(header, claims, owned, algorithms=algorithms), AccessClaims.to_members)


def authlib_signs(private: Any, key: SigningKey) -> Prepare[AccessClaims]:
    """Return Authlib, without its search for passwords and card numbers in the claims, which no other library has."""
    owned, library, header = _authlib_key(private, key.algorithm), JsonWebToken([key.algorithm]), header_of(key)
    return _each_signed(lambda claims: library.encode(header, claims, owned, check=False), AccessClaims.to_members)


def expect_tokens(contenders: Mapping[str, Prepare[AccessClaims]], claims: AccessClaims, verifier: Verifier) -> None:
    """Raise `InvalidToken` if a library signs an invalid token: its time would not be comparable."""
    for name, prepare in contenders.items():
        signed = prepare([claims])()
        if name != BARE:
            verifier.verify(signed.decode("ascii") if isinstance(signed, bytes) else str(signed))


# --- helpers


def _each(verify: Callable[[str], object]) -> Prepare[bytes]:
    """Return a function that verifies each token as a new string, as a web server creates it from a header."""

    def prepare(tokens: Sequence[bytes]) -> Callable[[], None]:
        texts = [token.decode("ascii") for token in tokens]

        def go_through() -> None:
            for text in texts:
                verify(text)

        return go_through

    return prepare


def _each_signed(sign: Callable[[Any], Any], ready: Callable[[AccessClaims], Any]) -> Prepare[AccessClaims]:
    """Return a function that signs each set of claims, in the form that `sign` needs."""

    def prepare(batch: Sequence[AccessClaims]) -> Callable[[], object]:
        inputs = [ready(claims) for claims in batch]

        def go_through() -> object:
            signed = None
            for one in inputs:
                signed = sign(one)
            return signed

        return go_through

    return prepare


def _wanted(issuer: str) -> dict[str, Any]:
    here = {"essential": True, "value": issuer}
    return {name: here if name in {"iss", "aud"} else {"essential": True} for name in _WANTED}


def _joserfc_key(key: Any, algorithm: Algorithm) -> Any:
    return joserfc_jwk.import_key(_encoded(key), _KEY_TYPES[algorithm])


def _authlib_key(key: Any, algorithm: Algorithm) -> Any:
    return JsonWebKey.import_key(_encoded(key), {"kty": _KEY_TYPES[algorithm]})


def _encoded(key: Any) -> bytes:
    if isinstance(key, bytes):
        return key
    pem = serialization.Encoding.PEM
    if hasattr(key, "private_bytes"):
        encoded: bytes = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    else:
        encoded = key.public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _hmac_verifies(secret: bytes) -> Callable[[bytes, bytes], bool]:
    def verify(signature: bytes, data: bytes) -> bool:
        if not hmac.compare_digest(hmac.digest(secret, data, "sha256"), signature):
            raise InvalidSignature
        return True

    return verify


def _signed_parts(token: bytes) -> tuple[bytes, bytes]:
    data, _, signature = token.rpartition(b".")
    return base64.urlsafe_b64decode(signature + b"=="), data


def _to_der(signature: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
