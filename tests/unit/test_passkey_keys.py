"""Passkeys of hostile authenticators: other keys, certificates, long ids. They are refused before they cost anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP521R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from fido2.cose import ES256, RS256, CoseKey, EdDSA
from webauthn.helpers import encode_cbor

from handstamp.crypto.cose import require_known_key
from handstamp.crypto.passkeys import MAX_ID_BYTES, Passkeys
from handstamp.crypto.seal import MasterSecret
from handstamp.domain.issuer import Issuer
from handstamp.errors import InvalidPasskey
from tests.authenticator import Authenticator, encode

ISSUER = "https://auth.example.com"
CREATION: dict[str, Any] = {"rp": {"id": "auth.example.com"}, "user": {"id": encode(b"h" * 32)}, "challenge": encode(b"c" * 32)}
Key = dict[int, Any]


def of(kind: Any, key: Any) -> Key:
    """Return a public key as a second implementation writes it."""
    return dict(kind.from_cryptography_key(key.public_key()))


P256 = of(ES256, generate_private_key(SECP256R1()))
ED25519 = of(EdDSA, Ed25519PrivateKey.generate())
RSA = of(RS256, generate_rsa(65537, 2048))
HUGE = b"\xff" * 6000


@pytest.mark.parametrize("key", [P256, ED25519, RSA, RSA | {-1: b"\xff" * 512}, RSA | {-2: b"\xff\xff\xff\xff"}])
def test_keys_of_authenticators(key: Key) -> None:
    """Of the three algorithms that are offered."""
    require_known_key(key)


@pytest.mark.parametrize(
    "key",
    [
        {},
        {1: 2},
        P256 | {-3: P256[-2]},  # no point of the curve
        P256 | {-2: bytes(32), -3: bytes(32)},
        P256 | {-2: b"\xff" * 32},
        P256 | {-2: P256[-2][:31]},
        P256 | {-2: HUGE, -3: HUGE},
        P256 | {-2: list(P256[-2])},
        P256 | {-1: 3},
        P256 | {3: -257},
        P256 | {4: [1]},
        dict(CoseKey({1: 2, 3: -7, -1: 3, -2: b"\x01" * 66, -3: b"\x01" * 66})),
        ED25519 | {-2: bytes(31)},
        ED25519 | {-1: 7},
        ED25519 | {3: -7},
        ED25519 | {1: "OKP"},
        RSA | {-1: b"\xff" * 255},
        RSA | {-1: b"\xff" * 513},
        RSA | {-1: HUGE, -2: HUGE},
        RSA | {-1: RSA[-1][:-1] + b"\x00"},
        RSA | {-2: RSA[-1]},
        RSA | {-2: b"\x03"},
        RSA | {-2: b"\x01\x00\x00"},
        RSA | {-2: b""},
        RSA | {-2: [1, 0, 1]},
        RSA | {3: -7},
    ],
)
def test_other_keys(key: Key) -> None:
    """Of another type, size or form. Optional members are not allowed."""
    with pytest.raises(ValueError, match=r"."):
        require_known_key(key)


def test_the_curve_of_the_key_is_that_of_its_algorithm() -> None:
    """ES256 means P-256 here."""
    numbers = generate_private_key(SECP521R1()).public_key().public_numbers()
    with pytest.raises(ValueError, match="another type"):
        require_known_key({1: 2, 3: -7, -1: 3, -2: numbers.x.to_bytes(66), -3: numbers.y.to_bytes(66)})


def hostile(change: Callable[[Authenticator], None] = lambda _: None, **parts: Any) -> dict[str, Any]:
    """Return a creation whose attestation object has other parts than an honest one."""
    device = Authenticator(ISSUER)
    change(device)
    return device.make(CREATION, attestation=parts)


def with_key(key: Key) -> Callable[[Authenticator], None]:
    """Return what gives an authenticator a public key."""

    def change(device: Authenticator) -> None:
        device.public_key = CoseKey(key)

    return change


def with_id(length: int) -> Callable[[Authenticator], None]:
    """Return what gives an authenticator a credential id of so many bytes."""

    def change(device: Authenticator) -> None:
        device.id = b"i" * length

    return change


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (hostile(fmt="packed", attStmt={"alg": -7, "sig": b"s" * 70, "x5c": [b"\x30" * 4000]}), "not asked for"),
        (hostile(fmt="packed", attStmt={"alg": -7, "sig": b"s" * 70, "x5c": []}), "not asked for"),
        (hostile(fmt="tpm"), "not asked for"),
        (hostile(fmt=[]), "TypeError"),
        (hostile(fmt="packed", attStmt={"alg": -7, "sig": b"s" * 8000}), "InvalidRegistrationResponse"),
        (hostile(fmt="packed", attStmt=7), "TypeError"),
        (hostile(with_key(RSA | {-1: HUGE, -2: b"\xff" * 400})), "COSE"),
        (hostile(with_key(P256 | {-3: P256[-2]})), "ValueError"),
        (hostile(with_id(MAX_ID_BYTES + 1)), "a long id"),
        (hostile(with_id(0)), "InvalidRegistrationResponse"),
    ],
)
async def test_hostile_creations(answer: dict[str, Any], why: str) -> None:
    """No certificate is parsed, and no signature is verified with a key that was not looked at."""
    passkeys = Passkeys(Issuer(ISSUER), [], MasterSecret(b"a master secret for the tests of keys"), service_name="Example")
    with pytest.raises(InvalidPasskey) as refused:
        await passkeys.read_creation(json.dumps(answer), CREATION["challenge"])
    assert why in refused.value.why


@pytest.mark.anyio
@pytest.mark.parametrize("key", [P256, ED25519, RSA])
async def test_honest_creations(key: Key) -> None:
    """With each kind of key, and the longest id."""
    passkeys = Passkeys(Issuer(ISSUER), [], MasterSecret(b"a master secret for the tests of keys"), service_name="Example")
    device = Authenticator(ISSUER)
    with_key(key)(device)
    with_id(MAX_ID_BYTES)(device)
    made = await passkeys.read_creation(json.dumps(device.make(CREATION)), CREATION["challenge"])
    assert (len(made.id), made.public_key) == (1364, encode_cbor(key))
