"""RFC 7518, JSON Web Algorithms: HS256, RS256 and ES256, and RFC 9864's Ed25519, each checked against `cryptography` itself."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from handstamp.crypto.algorithms import ALGORITHMS, Algorithm
from handstamp.crypto.jwk import SigningKey, VerifyingKey
from handstamp.errors import ConfigurationError
from tests.conformance.builders import Issuer, b64, unb64, vectors

DATA = b"signing input"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
WYCHEPROOF: list[dict[str, Any]] = vectors("wycheproof_signatures.json")["testGroups"]


def _private(key: SigningKey) -> Any:
    return serialization.load_der_private_key(key.to_bytes(), password=None, unsafe_skip_rsa_key_validation=True)


def _number(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8))


def test_exactly_four_algorithms_are_supported() -> None:
    """RFC 7518 §3.1, RFC 9864 §2.2: exactly four algorithms exist, by these names; no weaker variant and no alg none."""
    assert ALGORITHMS == ("ES256", "Ed25519", "RS256", "HS256")


def test_hs256_is_hmac_with_sha256(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7518 §3.2: the signature is HMAC SHA-256 over the signing input, all 32 bytes."""
    key = signing_keys["HS256"]
    assert key.sign(DATA) == hmac.new(key.to_bytes(), DATA, hashlib.sha256).digest()


def test_rs256_signature_is_that_of_cryptography(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7518 §3.3: RSASSA-PKCS1-v1_5 with SHA-256, byte for byte, with a key of 3072 bits."""
    key = signing_keys["RS256"]
    private: rsa.RSAPrivateKey = _private(key)
    assert private.key_size == 3072
    assert key.sign(DATA) == private.sign(DATA, padding.PKCS1v15(), hashes.SHA256())
    assert key.public.verifies(DATA, key.sign(DATA))


def test_es256_signatures_interoperate_with_cryptography(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7518 §3.4: ECDSA with P-256 and SHA-256; `cryptography` verifies our signatures, and we verify its."""
    key = signing_keys["ES256"]
    private: ec.EllipticCurvePrivateKey = _private(key)
    ours = key.sign(DATA)
    der = encode_dss_signature(int.from_bytes(ours[:32]), int.from_bytes(ours[32:]))
    private.public_key().verify(der, DATA, ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(private.sign(DATA, ec.ECDSA(hashes.SHA256())))
    assert key.public.verifies(DATA, r.to_bytes(32) + s.to_bytes(32))


def test_es256_signature_is_valid_whatever_its_numbers_begin_with(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7518 §3.4: R and S always have 32 bytes; their DER has more or fewer, by the first bits (X.690 §8.3)."""
    key = signing_keys["ES256"]
    left = {"00", "01", "10", "11", "R begins with 0", "S begins with 0"}
    while left:
        signature = key.sign(DATA)
        r, s = signature[0], signature[32]
        seen = {f"{r >> 7}{s >> 7}"} | ({"R begins with 0"} if not r else set()) | ({"S begins with 0"} if not s else set())
        if left & seen:
            assert key.public.verifies(DATA, signature), seen
            left -= seen


def test_ed25519_signature_is_that_of_cryptography(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 9864 §2.2, RFC 8032: Ed25519 is deterministic, and the signature is the same byte for byte."""
    key = signing_keys["Ed25519"]
    private: ed25519.Ed25519PrivateKey = _private(key)
    assert key.sign(DATA) == private.sign(DATA)


@pytest.mark.parametrize(("algorithm", "length"), [("HS256", 32), ("ES256", 64), ("Ed25519", 64), ("RS256", 384)])
def test_signature_has_the_length_of_its_algorithm(
    algorithm: Algorithm, length: int, signing_keys: dict[Algorithm, SigningKey]
) -> None:
    """RFC 7518 §3.2 to §3.4: every signature of an algorithm has the same length, also with leading zero bytes."""
    key = signing_keys[algorithm]
    assert {len(key.sign(bytes([octet]))) for octet in range(64)} == {length}


def test_junk_is_an_invalid_signature_without_exception(every_issuer: Issuer) -> None:
    """RFC 7515 §5.2: junk of any length is an invalid signature and raises nothing."""
    key = every_issuer.key
    assert key.public.verifies(DATA, key.sign(DATA))
    for length in (*range(66), 71, 72, 255, 256, 383, 384, 385, 4096):
        for octet in (b"\x00", b"\x01", b"\x30", b"\xff"):
            assert not key.public.verifies(DATA, octet * length)


def test_changed_input_invalidates_the_signature(every_issuer: Issuer) -> None:
    """RFC 7515 §5.2: a changed bit of the input or the signature is refused, and so is another key."""
    key = every_issuer.key
    signature = key.sign(DATA)
    assert key.public.verifies(DATA, signature)
    assert not key.public.verifies(DATA + b"\x00", signature)
    assert not key.public.verifies(b"", signature)
    assert not key.public.verifies(DATA, signature + b"\x00")
    assert not key.public.verifies(DATA, signature[:-1])
    for bit in range(8 * len(signature)):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        assert not key.public.verifies(DATA, bytes(changed))
    if key.algorithm != "RS256":
        assert not SigningKey.generate(key.algorithm).public.verifies(DATA, signature)


def test_es256_signature_in_any_other_form_is_refused(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7518 §3.4: a signature is R and S of 32 bytes each; DER, other lengths, zeros and too large values are refused."""
    key = signing_keys["ES256"]
    signature = key.sign(DATA)
    r, s = signature[:32], signature[32:]
    zero, order = bytes(32), P256_ORDER.to_bytes(32)
    assert key.public.verifies(DATA, r + s)
    forms = {
        "DER": encode_dss_signature(int.from_bytes(r), int.from_bytes(s)),
        "63 bytes": signature[1:],
        "63 bytes, cut behind": signature[:-1],
        "65 bytes": b"\x00" + signature,
        "65 bytes, a zero before s": r + b"\x00" + s,
        "65 bytes, longer behind": signature + b"\x00",
        "66 bytes, a zero before each": b"\x00" + r + b"\x00" + s,
        "r is zero": zero + s,
        "s is zero": r + zero,
        "both are zero": zero + zero,
        "r is the order": order + s,
        "s is the order": r + order,
        "r and s the other way round": s + r,
        "all ones": b"\xff" * 64,
        "empty": b"",
    }
    assert [form for form, forged in forms.items() if key.public.verifies(DATA, forged)] == []


def test_rs256_takes_no_other_padding_and_no_other_hash(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7518 §3.3: PSS (PS256) and other hashes (RS384, RS512) are refused, although the key is the same."""
    key = signing_keys["RS256"]
    private: rsa.RSAPrivateKey = _private(key)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    assert key.public.verifies(DATA, private.sign(DATA, padding.PKCS1v15(), hashes.SHA256()))
    assert not key.public.verifies(DATA, private.sign(DATA, pss, hashes.SHA256()))
    assert not key.public.verifies(DATA, private.sign(DATA, padding.PKCS1v15(), hashes.SHA384()))
    assert not key.public.verifies(DATA, private.sign(DATA, padding.PKCS1v15(), hashes.SHA512()))


@pytest.mark.parametrize("length", [0, 1, 16, 31])
def test_hs256_secret_shorter_than_its_hash_is_refused(length: int) -> None:
    """RFC 7518 §3.2: a secret must be at least as long as the hash output."""
    assert VerifyingKey(b"\xa5" * 32, kid="enough", algorithm="HS256").is_secret
    with pytest.raises(ConfigurationError, match="at least 32 bytes"):
        VerifyingKey(b"\xa5" * length, kid="short", algorithm="HS256")
    with pytest.raises(ConfigurationError, match="at least 32 bytes"):
        SigningKey(b"\xa5" * length, kid="short", algorithm="HS256")


@pytest.mark.parametrize("bits", [1024, 2048, 3071])
def test_rsa_key_shorter_than_3072_bits_is_refused(bits: int, signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7518 §3.3 requires 2048 bits or more, and we require 3072; a key of one bit less is refused."""
    right = signing_keys["RS256"].public.to_jwk()
    assert VerifyingKey.from_jwk(right).algorithm == "RS256"
    modulus = int.from_bytes(unb64(right["n"])) >> (3072 - bits) | 1
    with pytest.raises(ConfigurationError, match="at least 3072 bits"):
        VerifyingKey.from_jwk({**right, "n": _number(modulus)})


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 17, 257, 65535, 65536])
def test_rsa_key_of_a_small_or_even_exponent_is_refused(exponent: int, signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7518 §6.3.1.2, FIPS 186-5 A.1.1: small and even exponents are refused; with e = 1 a message is its own signature."""
    right = signing_keys["RS256"].public.to_jwk()
    assert right["e"] == "AQAB"
    with pytest.raises(ConfigurationError):
        VerifyingKey.from_jwk({**right, "e": b64(exponent.to_bytes(3))})


@pytest.mark.parametrize("member", ["x", "y"])
@pytest.mark.parametrize("change", ["shorter", "longer", "other"])
def test_ec_coordinate_that_is_not_32_bytes_on_the_curve_is_refused(
    member: str, change: str, signing_keys: dict[Algorithm, SigningKey]
) -> None:
    """RFC 7518 §6.2.1.2, RFC 8725 §3.4: coordinates must have the curve's length, and the point must lie on the curve."""
    right = signing_keys["ES256"].public.to_jwk()
    assert VerifyingKey.from_jwk(right).algorithm == "ES256"
    octets = unb64(right[member])
    changed = {"shorter": octets[1:], "longer": b"\x00" + octets, "other": octets[:-1] + bytes([octets[-1] ^ 1])}
    with pytest.raises(ConfigurationError, match="cannot be read"):
        VerifyingKey.from_jwk({**right, member: b64(changed[change])})


def test_point_at_infinity_is_refused(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 8725 §3.4: the coordinates 0, 0 are refused."""
    right = signing_keys["ES256"].public.to_jwk()
    assert VerifyingKey.from_jwk(right).algorithm == "ES256"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        VerifyingKey.from_jwk({**right, "x": b64(bytes(32)), "y": b64(bytes(32))})


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()], ids=lambda curve: curve.name)
def test_ec_key_of_another_curve_is_refused(curve: ec.EllipticCurve) -> None:
    """RFC 7518 §3.4: ES256 accepts only P-256, not even another curve of 256 bits."""
    private = ec.generate_private_key(curve)
    with pytest.raises(ConfigurationError, match="not of the type"):
        SigningKey(private, algorithm="ES256", kid="other-curve")
    with pytest.raises(ConfigurationError, match="not of the type"):
        VerifyingKey(private.public_key(), algorithm="ES256", kid="other-curve")


@pytest.mark.parametrize("claimed", ALGORITHMS)
def test_key_has_the_one_algorithm_of_its_type(claimed: Algorithm, every_issuer: Issuer) -> None:
    """RFC 8725 §3.1: each key has exactly one algorithm; constructing it for another one raises."""
    key = every_issuer.key
    private = key.to_bytes() if key.algorithm == "HS256" else _private(key)
    if claimed == key.algorithm:
        assert SigningKey(private, algorithm=claimed, kid="same").public.verifies(DATA, key.sign(DATA))
    else:
        with pytest.raises(ConfigurationError, match="not of the type"):
            SigningKey(private, algorithm=claimed, kid="confused")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_serialised_key_round_trips(algorithm: Algorithm, signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7518 §3.1: a stored and reopened key signs what its public key verifies, and opens under no other algorithm."""
    key = signing_keys[algorithm]
    again = SigningKey.from_bytes(key.to_bytes(), algorithm=algorithm, kid=key.kid)
    assert key.public.verifies(DATA, again.sign(DATA))
    for other in ALGORITHMS:
        if other not in (algorithm, "HS256") and algorithm != "HS256":
            with pytest.raises(ConfigurationError):
                SigningKey.from_bytes(key.to_bytes(), algorithm=other, kid=key.kid)


@pytest.mark.parametrize(
    ("group", "test"),
    [(group, test) for group in WYCHEPROOF for test in group["tests"]],
    ids=[f"{group['algorithm']}-{test['tcId']}-{test['comment']}" for group in WYCHEPROOF for test in group["tests"]],
)
def test_wycheproof_signature_has_the_expected_result(group: dict[str, Any], test: dict[str, Any]) -> None:
    """RFC 7518 §3.3, §3.4, RFC 8032 §5.1.7: edge values, ranges, paddings and malleable forms from Wycheproof."""
    key = VerifyingKey.from_jwk(group["key"])
    assert key.algorithm == group["algorithm"]
    assert key.verifies(bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])) is (test["result"] == "valid")


def test_wycheproof_selection_has_right_and_wrong_ones_for_every_public_algorithm() -> None:
    """RFC 7518 §3.1: the selection contains valid and invalid signatures of each public algorithm."""
    seen = {(group["algorithm"], test["result"]) for group in WYCHEPROOF for test in group["tests"]}
    assert seen == {(algorithm, result) for algorithm in ("ES256", "Ed25519", "RS256") for result in ("valid", "invalid")}


def test_cryptography_refuses_what_we_refuse(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7518 §3.4: `cryptography` raises for an invalid signature, and we return False."""
    key = signing_keys["ES256"]
    private: ec.EllipticCurvePrivateKey = _private(key)
    wrong = encode_dss_signature(1, 1)
    with pytest.raises(InvalidSignature):
        private.public_key().verify(wrong, DATA, ec.ECDSA(hashes.SHA256()))
    assert key.public.verifies(DATA, (1).to_bytes(32) * 2) is False
