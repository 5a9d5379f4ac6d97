"""RFC 7638, JWK Thumbprint: the default `kid` of a key."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from handstamp.crypto.algorithms import Algorithm
from handstamp.crypto.jwk import SigningKey
from tests.conformance.builders import b64, unb64, vectors

RFC: dict[str, Any] = vectors("rfc.json")
REQUIRED = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}


def thumbprint(jwk: dict[str, Any]) -> str:
    """Compute the SHA-256 thumbprint of a public JWK, step by step as in RFC 7638 §3."""
    required = {name: jwk[name] for name in sorted(REQUIRED[jwk["kty"]])}
    return b64(hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest())


@pytest.mark.parametrize(
    ("jwk", "printed"),
    [
        (RFC["rfc7638_31"]["jwk"], RFC["rfc7638_31"]["thumbprint"]),
        (RFC["rfc8037_a"]["public"], RFC["rfc8037_a"]["thumbprint"]),
    ],
)
def test_this_files_own_function_gives_the_printed_thumbprints(jwk: dict[str, Any], printed: str) -> None:
    """RFC 7638 §3.1 (RSA) and RFC 8037 A.3 (Ed25519): the reference function of this file gives the printed thumbprints."""
    assert thumbprint(jwk) == printed


def test_key_of_the_published_example_is_named_by_the_printed_thumbprint() -> None:
    """RFC 8037 A.3: the Ed25519 key of A.1 gets the printed thumbprint for its `kid`."""
    example = RFC["rfc8037_a"]
    private = ed25519.Ed25519PrivateKey.from_private_bytes(unb64(example["private"]["d"]))
    assert SigningKey(private, algorithm="Ed25519").kid == example["thumbprint"]


@pytest.mark.parametrize("example", [RFC["rfc7515_a3"]["jwk"], RFC["rfc7517_a2_ec"]], ids=["rfc7515-a3", "rfc7517-a2"])
def test_published_ec_key_is_named_by_its_thumbprint(example: dict[str, Any]) -> None:
    """RFC 7638 §3.2: the thumbprint of an EC key covers crv, kty, x and y, but not `d`, `use` or `kid`."""
    private = ec.derive_private_key(int.from_bytes(unb64(example["d"])), ec.SECP256R1())
    assert SigningKey(private, algorithm="ES256").kid == thumbprint(example)


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "RS256"])
def test_key_is_named_by_its_thumbprint(algorithm: Algorithm, signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7638 §3: the default `kid` is the SHA-256 thumbprint of the public key."""
    key = signing_keys[algorithm]
    assert key.kid == thumbprint(key.public.to_jwk())
    assert len(key.kid) == 43


def test_explicit_kid_is_kept(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7638 §1: a `kid` that was given is kept instead of the thumbprint."""
    key = signing_keys["ES256"]
    renamed = SigningKey.from_bytes(key.to_bytes(), algorithm="ES256", kid="2027-01")
    assert renamed.kid == renamed.public.kid == renamed.public.to_jwk()["kid"] == "2027-01"


def test_secret_is_not_named_by_its_thumbprint() -> None:
    """RFC 7638 §7: a thumbprint would let others test guesses of a secret, so a secret's `kid` is not the plain hash."""
    secret = bytes(range(32))
    jwk = json.dumps({"k": b64(secret), "kty": "oct"}, separators=(",", ":")).encode()
    revealing = {b64(hashlib.sha256(jwk).digest()), b64(hashlib.sha256(secret).digest())}
    kid = SigningKey(secret, algorithm="HS256").kid
    assert kid not in revealing
    assert not any(name.startswith(kid[:20]) for name in revealing)
    assert kid == SigningKey(secret, algorithm="HS256").kid != SigningKey(secret[::-1], algorithm="HS256").kid
