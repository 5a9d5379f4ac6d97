"""RFC 8037, CFRG curves in JOSE, with RFC 9864: the algorithm is named Ed25519, never EdDSA."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, x25519

from handstamp.crypto import jws
from handstamp.crypto.algorithms import Algorithm
from handstamp.crypto.jwk import SigningKey, VerifyingKey
from handstamp.errors import ConfigurationError, InvalidToken
from tests.conformance.builders import Issuer, access_header, b64, members, unb64, vectors

RFC: dict[str, Any] = vectors("rfc.json")["rfc8037_a"]


@pytest.fixture
def published() -> SigningKey:
    """Return the private key of RFC 8037 A.1."""
    return SigningKey(
        ed25519.Ed25519PrivateKey.from_private_bytes(unb64(RFC["private"]["d"])), algorithm="Ed25519", kid="rfc8037"
    )


def test_published_private_key_has_the_published_public_key(published: SigningKey) -> None:
    """RFC 8037 A.1, A.2: the private key has the printed public key, written with kty OKP, crv and x."""
    jwk = published.public.to_jwk()
    assert {name: jwk[name] for name in RFC["public"]} == RFC["public"]
    assert RFC["private"]["x"] == RFC["public"]["x"]


def test_published_signature_verifies_and_is_reproduced(published: SigningKey) -> None:
    """RFC 8037 A.4, A.5: the printed signature verifies, and signing gives it byte for byte."""
    signing_input, _, signature = RFC["token"].rpartition(".")
    assert published.sign(signing_input.encode()) == unb64(signature)
    key = VerifyingKey.from_jwk({**RFC["public"], "kid": "rfc8037"})
    assert key.verifies(signing_input.encode(), unb64(signature))
    assert not key.verifies(signing_input.encode() + b"g", unb64(signature))


def test_published_token_as_a_whole_is_refused() -> None:
    """RFC 8037 A.4, RFC 9864 §2.2: the token has neither `kid` nor `typ`, and its alg is EdDSA, so it is refused."""
    with pytest.raises(InvalidToken) as refused:
        jws.split(RFC["token"])
    assert "missing required field" in refused.value.why


@pytest.mark.parametrize("spelling", ["EdDSA", "ed25519", "ED25519", "Ed448", "Ed25519ph", "ES256"])
def test_token_with_alg_eddsa_is_refused(spelling: str, signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 9864 §2.2: the deprecated name EdDSA is refused; the token must say Ed25519."""
    issuer = Issuer(signing_keys["Ed25519"])
    token = issuer.token(header=access_header(issuer.key, alg=spelling))
    signing_input, _, signature = token.rpartition(".")
    assert issuer.key.public.verifies(signing_input.encode(), unb64(signature))
    assert issuer.refusal(token) == "alg is not the key's algorithm"


def test_token_of_the_full_name_is_accepted(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 9864 §2.2: the fully-specified algorithm is called Ed25519."""
    issuer = Issuer(signing_keys["Ed25519"])
    assert jws.split(issuer.token())[0].alg == "Ed25519"
    assert issuer.accepts(issuer.token()).sub == "account-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": "EdDSA"},
        {"crv": "Ed448"},
        {"crv": "X25519"},
        {"crv": "ed25519"},
        {"kty": "EC"},
        {"x": b64(bytes(31))},
        {"x": b64(bytes(33))},
        {"x": b64(bytes(57))},
        {"d": RFC["private"]["d"]},
    ],
    ids=str,
)
def test_key_that_is_not_ed25519_is_refused(changes: dict[str, str]) -> None:
    """RFC 8037 §2: a key needs kty OKP, crv Ed25519 and an x of 32 bytes; others are refused."""
    right = {**RFC["public"], "kid": "rfc8037", "alg": "Ed25519"}
    assert VerifyingKey.from_jwk(right).algorithm == "Ed25519"
    with pytest.raises(ConfigurationError):
        VerifyingKey.from_jwk(members(right, changes))


def test_other_cfrg_keys_are_refused() -> None:
    """RFC 8037 §3.1, §3.2: Ed448 and X25519 keys are refused."""
    others: list[Any] = [ed448.Ed448PrivateKey.generate(), x25519.X25519PrivateKey.generate()]
    for other in others:
        with pytest.raises(ConfigurationError):
            SigningKey(other, algorithm="Ed25519", kid="other")
        with pytest.raises(ConfigurationError):
            VerifyingKey(other.public_key(), algorithm="Ed25519", kid="other")
