"""RFC 7517, JSON Web Key: which keys and sets load, which are refused, and how ours are published."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handstamp.crypto.algorithms import Algorithm
from handstamp.crypto.jwk import KeySet, SigningKey, VerifyingKey
from handstamp.errors import ConfigurationError
from tests.conformance.builders import ABSENT, Issuer, members, plain_refusal, unb64, vectors

RFC: dict[str, Any] = vectors("rfc.json")
WYCHEPROOF_REFUSED_THOUGH_VALID = {
    5: "at least 3072 bits",  # a valid RS256 token of a 2048-bit key
    14: "a key of its type is for HS256",  # HS384
    15: "a key of its type is for HS256",  # HS512
}


@pytest.fixture
def jwk(signing_keys: dict[Algorithm, SigningKey]) -> dict[str, Any]:
    """Return a valid JWK."""
    loaded: dict[str, Any] = {**signing_keys["ES256"].public.to_jwk()}
    assert VerifyingKey.from_jwk(loaded).algorithm == "ES256"
    return loaded


def test_published_ec_key_loads_with_use_sig() -> None:
    """RFC 7517 A.1: the EC key has `use` enc and is refused; with `use` sig it loads."""
    published = RFC["rfc7517_a1"]["keys"][0]
    with pytest.raises(ConfigurationError, match="not for verifying"):
        VerifyingKey.from_jwk(published)
    assert VerifyingKey.from_jwk({**published, "use": "sig"}).algorithm == "ES256"


def test_published_rsa_key_is_refused_for_its_2048_bits() -> None:
    """RFC 7517 A.1: the RSA key is well formed, but shorter than the 3072 bits that we require."""
    with pytest.raises(ConfigurationError, match="at least 3072 bits"):
        VerifyingKey.from_jwk(RFC["rfc7517_a1"]["keys"][1])


def test_published_private_key_is_refused() -> None:
    """RFC 7517 A.2, §9.2: a published private key is refused with an error that says so."""
    private = {**RFC["rfc7517_a2_ec"], "use": "sig"}
    with pytest.raises(ConfigurationError, match="contains its private part"):
        VerifyingKey.from_jwk(private)
    assert VerifyingKey.from_jwk(members(private, {"d": ABSENT})).kid == "1"


def test_published_symmetric_keys_are_refused_for_their_names_and_purposes() -> None:
    """RFC 7517 A.3: both keys are refused: no `kid` and key wrapping; spaces in `kid`. The second, renamed, verifies A.1."""
    wrapping, hmac_key = RFC["rfc7517_a3"]["keys"]
    with pytest.raises(ConfigurationError, match="has no 'kid'"):
        VerifyingKey.from_jwk(wrapping)
    with pytest.raises(ConfigurationError, match="a key of its type is for HS256"):
        VerifyingKey.from_jwk({**wrapping, "kid": "wrapping"})
    with pytest.raises(ConfigurationError, match="1 to 64 characters"):
        VerifyingKey.from_jwk(hmac_key)
    signing_input, _, signature = RFC["rfc7515_a1"]["token"].rpartition(".")
    assert VerifyingKey.from_jwk({**hmac_key, "kid": "hmac"}).verifies(signing_input.encode(), unb64(signature))


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "RS256"])
def test_public_key_is_published_and_loaded_again(algorithm: Algorithm, signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7517 §4: `to_jwk` returns `kty`, `use`, `alg` and `kid`, and the loaded key verifies what the original signed."""
    key = signing_keys[algorithm]
    published = key.public.to_jwk()
    assert (published["use"], published["alg"], published["kid"]) == ("sig", algorithm, key.kid)
    assert not published.keys() & {"d", "p", "q", "dp", "dq", "qi", "k"}
    assert VerifyingKey.from_jwk(published).verifies(b"input", key.sign(b"input"))


def test_secret_key_is_never_published(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7517 §9.2: a symmetric key is not published, alone or in a set, and no `repr` shows it."""
    key = signing_keys["HS256"]
    with pytest.raises(ConfigurationError, match="no public form"):
        key.public.to_jwk()
    assert KeySet([key.public]).to_jwks() == {"keys": []}
    assert KeySet([signing_keys["ES256"].public]).to_jwks() == {"keys": [signing_keys["ES256"].public.to_jwk()]}
    assert repr(key) == f"SigningKey(kid={key.kid!r}, algorithm='HS256')"
    assert repr(key.public) == f"VerifyingKey(kid={key.kid!r}, algorithm='HS256')"


def test_set_is_loaded_as_it_was_published(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7517 §5: a JWK Set has a `keys` array, and all our keys load from it by `kid`."""
    keys = [key.public for key in signing_keys.values() if not key.public.is_secret]
    document = json.dumps(KeySet(keys).to_jwks())
    for loaded in (KeySet.from_jwks(document), KeySet.from_jwks(document.encode())):
        assert loaded.to_jwks() == KeySet(keys).to_jwks()
        assert len(loaded) == len(keys)
        assert [key.kid for key in keys if loaded.find(key.kid) is None] == []
        assert loaded.find("nobody") is None


@pytest.mark.parametrize("foreign", [{"kty": "AKP", "kid": "pq", "alg": "ML-DSA-44", "pub": "AA"}, {"kty": "future"}, {}])
def test_key_of_an_unknown_type_is_ignored(foreign: dict[str, str], jwk: dict[str, Any]) -> None:
    """RFC 7517 §5: keys with an unknown `kty` are ignored, and the others are kept."""
    loaded = KeySet.from_jwks(json.dumps({"keys": [foreign, jwk], "next": "unknown members are ignored too"}))
    assert len(loaded) == 1
    assert loaded.find(jwk["kid"]) is not None


def test_unknown_members_of_a_key_are_ignored(jwk: dict[str, Any]) -> None:
    """RFC 7517 §4: unknown members of a JWK are ignored."""
    assert VerifyingKey.from_jwk({**jwk, "x5t#S256": "AA", "iat": 1, "note": {"a": 1}}).kid == jwk["kid"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"use": "enc"}, "not for verifying"),
        ({"use": "SIG"}, "not for verifying"),
        ({"use": ""}, "not for verifying"),
        ({"use": None}, "not for verifying"),
        ({"use": ["sig"]}, "not for verifying"),
        ({"key_ops": ["sign"]}, "not for verifying"),
        ({"key_ops": []}, "not for verifying"),
        ({"key_ops": None}, "not for verifying"),
        ({"key_ops": 5}, "not for verifying"),
        ({"key_ops": "xverifyx"}, "not for verifying"),
        ({"key_ops": {"verify": 0}}, "not for verifying"),
        ({"key_ops": ["deriveKey", "encrypt"]}, "not for verifying"),
        ({"alg": "ES384"}, "is for ES256"),
        ({"alg": "HS256"}, "is for ES256"),
        ({"alg": "none"}, "is for ES256"),
        ({"alg": "es256"}, "is for ES256"),
        ({"alg": None}, "is for ES256"),
        ({"alg": ["ES256"]}, "is for ES256"),
        ({"kid": ABSENT}, "has no 'kid'"),
        ({"kid": None}, "has no 'kid'"),
        ({"kid": 7}, "has no 'kid'"),
        ({"kid": ""}, "1 to 64 characters"),
        ({"kid": "a" * 65}, "1 to 64 characters"),
        ({"kid": "a b"}, "1 to 64 characters"),
        ({"kid": "a\n"}, "1 to 64 characters"),
        ({"kid": "../../dev/null"}, "1 to 64 characters"),
        ({"kid": "ключ"}, "1 to 64 characters"),
        ({"kty": ABSENT}, "cannot be read"),
        ({"kty": "ec"}, "cannot be read"),
        ({"kty": "RSA"}, "cannot be read"),
        ({"kty": "OKP"}, "cannot be read"),
        ({"kty": "oct"}, "cannot be read"),
        ({"kty": ["EC"]}, "cannot be read"),
        ({"crv": ABSENT}, "cannot be read"),
        ({"crv": "P-384"}, "cannot be read"),
        ({"crv": "secp256k1"}, "cannot be read"),
        ({"x": ABSENT}, "cannot be read"),
        ({"y": ABSENT}, "cannot be read"),
        ({"x": None}, "cannot be read"),
        ({"x": 1}, "cannot be read"),
        ({"x": ""}, "cannot be read"),
        ({"x": "=" * 43}, "cannot be read"),
        ({"d": "AA"}, "contains its private part"),
        ({"p": "AA"}, "contains its private part"),
        ({"oth": []}, "contains its private part"),
    ],
)
def test_key_that_is_not_exactly_right_is_refused(changes: dict[str, Any], problem: str, jwk: dict[str, Any]) -> None:
    """RFC 7517 §4: a key of another purpose, algorithm, type or form is refused with the reason."""
    with pytest.raises(ConfigurationError, match=problem):
        VerifyingKey.from_jwk(members(jwk, changes))


@pytest.mark.parametrize("key_ops", [["verify"], ["sign", "verify"]])
def test_key_whose_operations_include_verify_loads(key_ops: list[str], jwk: dict[str, Any]) -> None:
    """RFC 7517 §4.3: a key whose `key_ops` include verify loads."""
    assert VerifyingKey.from_jwk({**jwk, "key_ops": key_ops}).kid == jwk["kid"]


@pytest.mark.parametrize("kid", ["a", "A-z_0.9", "a" * 64, "2011-04-29"])
def test_kid_within_its_bounds_is_kept_as_it_is(kid: str, jwk: dict[str, Any]) -> None:
    """RFC 7517 §4.5: `kid` is a case-sensitive string; ours has 1 to 64 characters of a restricted alphabet."""
    loaded = KeySet([VerifyingKey.from_jwk({**jwk, "kid": kid})])
    assert loaded.find(kid) is not None
    assert loaded.find(kid.swapcase() + "x") is None


def test_set_with_two_keys_of_one_kid_is_refused(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 7517 §4.5: a set with a duplicate `kid` is refused, because the key would be ambiguous."""
    first, second = signing_keys["ES256"].public.to_jwk(), signing_keys["Ed25519"].public.to_jwk()
    assert len(KeySet.from_jwks(json.dumps({"keys": [first, second]}))) == 2
    with pytest.raises(ConfigurationError, match="same 'kid'"):
        KeySet.from_jwks(json.dumps({"keys": [first, {**second, "kid": first["kid"]}]}))


def test_set_with_secrets_and_public_keys_is_refused(signing_keys: dict[Algorithm, SigningKey]) -> None:
    """RFC 8725 §3.1, Wycheproof MixedKeySet: a set must not mix secrets and public keys."""
    public, secret = signing_keys["ES256"].public, signing_keys["HS256"].public
    assert len(KeySet([public])) == len(KeySet([secret])) == 1
    with pytest.raises(ConfigurationError, match="never both"):
        KeySet([public, secret])


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"5",
        b"[]",
        b"{}",
        b'"keys"',
        b'{"keys":null}',
        b'{"keys":{}',
        b'{"keys":1}',
        b'{"keys":"EC"}',
        b'{"keys":{"kty":"EC"}}',
        b'{"keys":[1]}',
        b'{"keys":[null]}',
        b'{"keys":[[]]}',
        b'{"Keys":[]}',
        b"\xff\xfe",
        b'{"keys":[]}]',
        b'{"keys":' + b"[" * 100_000,
        b'{"keys":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda document: repr(document[:24]),
)
def test_document_that_is_no_set_is_refused(document: bytes) -> None:
    """RFC 7517 §5: a document that is not an object with an array of objects in `keys` is refused, however deeply it nests."""
    assert len(KeySet.from_jwks(b'{"keys":[]}')) == 0
    with pytest.raises(ConfigurationError, match="not a JWK Set"):
        KeySet.from_jwks(document)


@pytest.mark.parametrize(
    "group", vectors("wycheproof_jwk.json")["testGroups"], ids=lambda group: f"{group['tests'][0]['tcId']}-{group['comment']}"
)
def test_wycheproof_key_sets_have_the_expected_results(group: dict[str, Any]) -> None:
    """RFC 7517 §5: Wycheproof's weak, mixed and mislabelled key sets are refused; its good ones verify its tokens."""
    document = json.dumps({"keys": group["keys"]})
    for test in group["tests"]:
        reason = WYCHEPROOF_REFUSED_THOUGH_VALID.get(test["tcId"])
        if reason is not None:
            assert test["result"] == "valid"
            with pytest.raises(ConfigurationError, match=reason):
                KeySet.from_jwks(document)
        elif test["result"] == "valid":
            assert _wycheproof_refusal(document, test["jws"]) is None
        else:
            assert _wycheproof_refusal(document, test["jws"]) in ("the key set", "signature")


def _wycheproof_refusal(document: str, token: str) -> str | None:
    try:
        keys = KeySet.from_jwks(document)
    except ConfigurationError:
        return "the key set"
    names = [jwk["kid"] for jwk in json.loads(document)["keys"]]
    return plain_refusal(token, {name: key for name in names if (key := keys.find(name)) is not None})


def test_verifier_takes_a_loaded_set(issuer: Issuer) -> None:
    """RFC 7517 §5: a verifier needs only the published set."""
    loaded = KeySet.from_jwks(json.dumps(issuer.keys.to_jwks()))
    assert issuer.accepts(issuer.token()).sub == "account-1"
    signing_input, _, signature = issuer.token().rpartition(".")
    key = loaded.find(issuer.key.kid)
    assert key is not None
    assert key.verifies(signing_input.encode(), unb64(signature))
