"""RFC 7515, JSON Web Signature: the compact form, its header, and the examples of appendix A."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from handstamp.crypto import jws
from handstamp.crypto.jwk import KeySet, SigningKey, VerifyingKey
from handstamp.crypto.strict import base64url_decode, base64url_encode
from handstamp.domain.claims import ACCESS_TYPE, AccessClaims
from handstamp.errors import ConfigurationError, InvalidToken
from tests.conformance.builders import Issuer, access_header, plain_refusal, unb64, vectors

RFC: dict[str, Any] = vectors("rfc.json")


def _public(example: str) -> VerifyingKey:
    jwk = {name: value for name, value in RFC[example]["jwk"].items() if name != "d"}
    return VerifyingKey.from_jwk({**jwk, "kid": "example"})


def _parts(token: str) -> tuple[bytes, bytes]:
    signing_input, _, signature = token.rpartition(".")
    return signing_input.encode(), unb64(signature)


@pytest.mark.parametrize("example", ["rfc7515_a1", "rfc7515_a3"])
def test_signature_of_the_published_example_verifies(example: str) -> None:
    """RFC 7515 A.1 (HS256) and A.3 (ES256): the printed signature verifies for the printed token and for no other."""
    key = _public(example)
    signing_input, signature = _parts(RFC[example]["token"])
    assert key.verifies(signing_input, signature)
    assert not key.verifies(signing_input + b"A", signature)
    assert not key.verifies(signing_input, bytes([signature[0] ^ 1]) + signature[1:])


def test_published_hs256_signature_is_reproduced() -> None:
    """RFC 7515 A.1.1: HMAC is deterministic, and signing gives the printed signature."""
    example = RFC["rfc7515_a1"]
    signing_input, signature = _parts(example["token"])
    assert SigningKey(unb64(example["jwk"]["k"]), algorithm="HS256", kid="example").sign(signing_input) == signature


def test_published_es256_private_key_signs_for_its_public_key() -> None:
    """RFC 7515 A.3.1: a signature made with the printed private key verifies with the printed public key."""
    jwk = RFC["rfc7515_a3"]["jwk"]
    private = ec.derive_private_key(int.from_bytes(unb64(jwk["d"])), ec.SECP256R1())
    signature = SigningKey(private, algorithm="ES256", kid="example").sign(b"any input")
    assert _public("rfc7515_a3").verifies(b"any input", signature)


def test_published_rs256_key_of_2048_bits_is_refused_though_its_signature_is_right() -> None:
    """RFC 7515 A.2: the printed signature is valid, but the key is shorter than the 3072 bits that we require."""
    example = RFC["rfc7515_a2"]
    signing_input, signature = _parts(example["token"])
    numbers = rsa.RSAPublicNumbers(int.from_bytes(unb64(example["jwk"]["e"])), int.from_bytes(unb64(example["jwk"]["n"])))
    numbers.public_key().verify(signature, signing_input, padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(ConfigurationError, match="at least 3072 bits"):
        _public("rfc7515_a2")


def test_published_unsecured_example_is_refused() -> None:
    """RFC 7515 A.5: a token with alg none and an empty signature is refused."""
    with pytest.raises(InvalidToken, match=r"^The token is not valid here\.$") as refused:
        jws.split(RFC["rfc7515_a5"]["token"])
    assert refused.value.why == "not three segments of base64url"


@pytest.mark.parametrize("example", ["rfc7515_a6", "rfc7515_a7"])
def test_published_json_serialisation_is_refused(example: str, issuer: Issuer) -> None:
    """RFC 7515 A.6 and A.7: the general and the flattened JSON serialisation are refused (§7.2 makes them optional)."""
    assert issuer.refusal(json.dumps(RFC[example])) == "not three segments of base64url"


@pytest.mark.parametrize("example", ["rfc7515_a1", "rfc7515_a2", "rfc7515_a3"])
def test_published_example_as_a_whole_is_refused_for_its_header(example: str) -> None:
    """RFC 7515 A.1 to A.3: the examples have no `kid` (A.2 and A.3 also no `typ`), and we require both."""
    with pytest.raises(InvalidToken) as refused:
        jws.split(RFC[example]["token"])
    assert "missing required field" in refused.value.why


def test_base64url_follows_appendix_c() -> None:
    """RFC 7515 appendix C: the octets 3 236 255 224 193 encode to A-z_4ME, without padding."""
    octets = bytes(RFC["rfc7515_c"]["octets"])
    assert base64url_encode(octets) == RFC["rfc7515_c"]["text"]
    assert base64url_decode(RFC["rfc7515_c"]["text"]) == octets


@pytest.mark.parametrize("length", range(1, 10))
def test_base64url_round_trips(length: int) -> None:
    """RFC 7515 §2: decoding reverses encoding, at every length modulo three."""
    for octet in (0x00, 0x3E, 0xFB, 0xFF):
        assert base64url_decode(base64url_encode(bytes([octet]) * length)) == bytes([octet]) * length


@pytest.mark.parametrize(
    "text",
    ["", "A-z_4ME=", "A-z_4ME\n", "\nA-z_4ME", "A-z_4ME ", "A-z_ 4ME", "A+z_4ME", "A-z/4ME", "A-z_4MF", "A-z_4", "A-z_4M\u00c9"],
)
def test_base64url_has_one_spelling(text: str) -> None:
    """RFC 7515 §2: padding, line breaks, white space, other characters and excess characters are refused."""
    assert base64url_decode("A-z_4ME") == bytes(RFC["rfc7515_c"]["octets"])
    with pytest.raises(InvalidToken):
        base64url_decode(text)


def test_token_is_signed_and_verified_with_every_algorithm(every_issuer: Issuer) -> None:
    """RFC 7515 §5.1, §5.2: `verify` accepts what `sign` returns, with unchanged claims."""
    claims = every_issuer.accepts(every_issuer.token())
    token = jws.sign(claims, every_issuer.key, typ=ACCESS_TYPE)
    assert jws.verify(token, every_issuer.keys, typ=ACCESS_TYPE, shape=AccessClaims) == claims
    assert json.loads(unb64(token.split(".")[0])) == access_header(every_issuer.key)


def test_token_is_sent_in_url_safe_characters_only(every_issuer: Issuer) -> None:
    """RFC 7515 §3.1: header, payload and signature are base64url, joined by two periods."""
    token = jws.sign(every_issuer.accepts(every_issuer.token()), every_issuer.key, typ=ACCESS_TYPE)
    assert token.count(".") == 2
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_every_single_changed_character_is_refused(every_issuer: Issuer) -> None:
    """RFC 7515 §5.2: a token with any one character replaced is refused."""
    token = every_issuer.token()
    every_issuer.accepts(token)
    for position, old in enumerate(token):
        new = "B" if old == "A" else "A"
        with pytest.raises(InvalidToken):
            every_issuer.accepts(token[:position] + new + token[position + 1 :])


def test_every_truncation_is_refused(issuer: Issuer) -> None:
    """RFC 7515 §5.2: every proper prefix of a token is refused."""
    token = issuer.token()
    issuer.accepts(token)
    for length in range(len(token)):
        with pytest.raises(InvalidToken):
            issuer.accepts(token[:length])


def test_signature_of_another_token_is_refused(every_issuer: Issuer) -> None:
    """RFC 7515 §5.2: the signature covers header and payload together."""
    payload = {**json.loads(unb64(every_issuer.token().split(".")[1])), "sub": "account-2"}
    other = every_issuer.token(payload=payload)
    assert every_issuer.accepts(other).sub == "account-2"
    mixed = ".".join((*every_issuer.token().split(".")[:2], other.split(".")[2]))
    assert every_issuer.refusal(mixed) == "the signature is invalid"


def test_unknown_header_members_are_ignored(issuer: Issuer) -> None:
    """RFC 7515 §4: unknown header parameters that are not critical are ignored."""
    header = {**access_header(issuer.key), "cty": "JWT", "urn:example:future": {"a": [1, None, "x"]}}
    assert issuer.accepts(issuer.token(header=header)).sub == "account-1"


@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
def test_header_without_a_member_that_we_need_is_refused(name: str, issuer: Issuer) -> None:
    """RFC 7515 §4.1.1: `alg` is required; our profile also requires `kid` (§4.1.4) and `typ` (§4.1.9)."""
    header = access_header(issuer.key)
    del header[name]
    assert f"missing required field `{name}`" in issuer.refusal(issuer.token(header=header))


@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
@pytest.mark.parametrize("value", [None, 1, True, [], ["ES256"], {}])
def test_header_member_that_is_no_string_is_refused(name: str, value: object, issuer: Issuer) -> None:
    """RFC 7515 §4.1.1, §4.1.4, §4.1.9: `alg`, `kid` and `typ` must be strings."""
    assert "Expected `str`" in issuer.refusal(issuer.token(header=access_header(issuer.key, **{name: value})))


@pytest.mark.parametrize("header", [b"[]", b'"ES256"', b"null", b"1", b"{", b"{}}", b"ES256"])
def test_header_that_is_no_json_object_is_refused(header: bytes, issuer: Issuer) -> None:
    """RFC 7515 §4: the header must be one JSON object."""
    assert issuer.refusal(issuer.token(header=header)).startswith("JSON is invalid")


@pytest.mark.parametrize("group", vectors("wycheproof_jws.json")["testGroups"], ids=lambda group: group["comment"])
def test_wycheproof_signatures_have_the_expected_results(group: dict[str, Any]) -> None:
    """RFC 7515 §5.2: Wycheproof's valid tokens verify, its invalid ones do not, and its 2048-bit RSA key is refused."""
    if group["key"]["kty"] == "RSA":
        with pytest.raises(ConfigurationError, match="at least 3072 bits"):
            VerifyingKey.from_jwk(group["key"])
        return
    key = VerifyingKey.from_jwk(group["key"])
    outcomes = {test["tcId"]: plain_refusal(test["jws"], {key.kid: key}) for test in group["tests"]}
    verified = {number for number, refusal in outcomes.items() if refusal is None}
    assert verified == {test["tcId"] for test in group["tests"] if test["result"] == "valid"} != set()


@pytest.mark.parametrize(
    "test",
    [test for group in vectors("wycheproof_jws.json")["testGroups"] for test in group["tests"]],
    ids=lambda test: f"{test['tcId']}-{test['comment']}",
)
def test_wycheproof_tokens_as_a_whole_are_refused(test: dict[str, str]) -> None:
    """RFC 7515 §4.1.9: Wycheproof's valid tokens are refused only because they have no `typ`, which we require."""
    with pytest.raises(InvalidToken) as refused:
        jws.split(test["jws"])
    if test["result"] == "valid":
        assert "missing required field `typ`" in refused.value.why


def test_key_is_found_by_its_kid_among_many() -> None:
    """RFC 7515 §4.1.4: `kid` selects the key of the set, and no other key is tried."""
    first, second = SigningKey.generate("ES256"), SigningKey.generate("Ed25519")
    both = KeySet([first.public, second.public])
    for key in (first, second):
        claims = Issuer(key).accepts(Issuer(key).token())
        assert jws.verify(jws.sign(claims, key, typ=ACCESS_TYPE), both, typ=ACCESS_TYPE, shape=AccessClaims) == claims
    misnamed = Issuer(first).token(header=access_header(first, kid=second.kid, alg="Ed25519"))
    with pytest.raises(InvalidToken) as refused:
        jws.verify(misnamed, both, typ=ACCESS_TYPE, shape=AccessClaims)
    assert refused.value.why == "the signature is invalid"
