"""Tokens that other issuers have signed: which signatures, keys and headers are accepted."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.crypto.foreign_tokens import FOREIGN_ALGORITHMS, ForeignKeys, ForeignToken, half_hash, verify_foreign
from handstamp.crypto.jws import UnknownKey
from handstamp.errors import ConfigurationError, InvalidToken
from tests.conformance.builders import b64, compact, unb64, vectors
from tests.foreign import ALGORITHMS, foreign_token, make_key, make_rsa, public_jwk

CLAIMS = {"iss": "https://id.example", "sub": "ada"}


def keys_of(*jwks: dict[str, Any]) -> ForeignKeys:
    """Return the key set of these JWKs."""
    return ForeignKeys.from_jwks(json.dumps({"keys": jwks}).encode())


def verify(token: str, keys: ForeignKeys, **options: Any) -> ForeignToken:
    """Verify a token with all algorithms."""
    return verify_foreign(token, keys, **{"algorithms": FOREIGN_ALGORITHMS, "typs": ("", "jwt"), "max_length": 8192, **options})


def refusal(token: str, keys: ForeignKeys, **options: Any) -> str:
    """Return why a token is refused."""
    with pytest.raises(InvalidToken) as refused:
        verify(token, keys, **options)
    return refused.value.why


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_verifies_with_its_own_kind_of_key_alone(algorithm: str) -> None:
    """A token of each algorithm verifies with its key, not after a change, and not with a key of another type or `alg`."""
    key = make_key(algorithm)
    token = foreign_token(CLAIMS, key=key, algorithm=algorithm)
    found = verify(token, keys_of(public_jwk(key, kid="key-1")))
    assert (found.claims, found.algorithm, found.key_issuer) == (CLAIMS, algorithm, "")
    assert verify(token, keys_of(public_jwk(key, kid="key-1", alg=algorithm))).claims == CLAIMS
    head, payload, signature = token.split(".")
    other = "A" if signature[5] != "A" else "B"
    assert refusal(f"{head}.{payload}.{signature[:5]}{other}{signature[6:]}", keys_of(public_jwk(key, kid="key-1")))
    assert refusal(token, keys_of(public_jwk(key, kid="key-1")), algorithms={"X"} | FOREIGN_ALGORITHMS - {algorithm})
    for another in {"RS256", "PS512", "ES256", "ES384", "ES512"} - {algorithm}:
        assert refusal(token, keys_of(public_jwk(make_key(another), kid="key-1", alg=another))) == "the signature is invalid"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_a_signature_has_one_spelling(algorithm: str) -> None:
    """RFC 7518 §3.4: both halves have the length of the curve. With zeros before one of them it is another text."""
    key = make_key(algorithm)
    signing_input, _, signature = foreign_token(CLAIMS, key=key, algorithm=algorithm).rpartition(".")
    halves = unb64(signature)
    half = len(halves) // 2
    for changed in (halves[:half] + b"\0" + halves[half:], b"\0" + halves, halves + b"\0", halves[:-1]):
        assert refusal(f"{signing_input}.{b64(changed)}", keys_of(public_jwk(key, kid="key-1"))) == "the signature is invalid"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "HS384", "HS512", "RS1", "", "ES256K", "RSA-OAEP"])
def test_no_signature_and_no_secret_is_an_algorithm(algorithm: str) -> None:
    """Also not with the public key as the secret of HS256, whatever the issuer's list says (RFC 8725 §2.1)."""
    jwk = public_jwk(make_rsa(), kid="key-1")
    public = json.dumps(jwk).encode()
    for sign in (lambda _: b"\0", lambda data: hmac.digest(public, data, "sha256")):
        token = compact({"alg": algorithm, "kid": "key-1"}, CLAIMS, sign)
        assert refusal(token, keys_of(jwk), algorithms={algorithm, "RS256"}) == "alg is not one of the issuer's"
    unsigned = f"{b64(json.dumps({'alg': algorithm}).encode())}.{b64(json.dumps(CLAIMS).encode())}."
    assert "unsigned" in refusal(unsigned, keys_of(jwk), algorithms={algorithm})


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "at+jwt"}, {"typ": "logout+jwt"}, {"typ": "x"}, {"typ": 1}, {"crit": ["exp"]},
        {"b64": False}, {"enc": "A128GCM"}, {"zip": "DEF"},
        {"alg": None}, {"kid": None}, {"kid": 5}, {"kid": "x" * 300}, {"kid": ["key-1"]},
    ],
)  # fmt: skip
def test_headers_that_are_refused(header: dict[str, Any]) -> None:
    """Another kind of token, extensions, encryption, and members of a wrong type."""
    token = foreign_token(CLAIMS, key=make_rsa(), algorithm="RS256", header={"alg": "RS256", "kid": "key-1"} | header)
    assert refusal(token, keys_of(public_jwk(make_rsa(), kid="key-1")))


@pytest.mark.parametrize("typ", ["JWT", "jwt", "application/JWT"])
def test_a_typ_may_have_its_usual_spellings(typ: str) -> None:
    """RFC 7515 §4.1.9."""
    header = {"alg": "RS256", "kid": "key-1", "typ": typ, "jku": "https://evil.example", "jwk": public_jwk(make_key("ES256"))}
    token = foreign_token(CLAIMS, key=make_rsa(), algorithm="RS256", header=header)
    assert verify(token, keys_of(public_jwk(make_rsa(), kid="key-1"))).claims == CLAIMS


def test_a_key_in_the_header_is_not_used() -> None:
    """Keys come from the issuer alone (RFC 8725 §3.10)."""
    key = make_key("ES256")
    header = {"alg": "ES256", "kid": "key-1", "jwk": public_jwk(key, kid="key-1")}
    token = foreign_token(CLAIMS, key=key, algorithm="ES256", header=header)
    assert refusal(token, keys_of(public_jwk(make_rsa(), kid="key-1"))) == "the signature is invalid"


@pytest.mark.parametrize(
    "make",
    [
        lambda: public_jwk(make_rsa(1024), kid="weak"),
        lambda: public_jwk(make_rsa(2048, 3), kid="exponent"),
        lambda: public_jwk(make_rsa(), kid="encryption", use="enc"),
        lambda: public_jwk(make_rsa(), kid="oaep", alg="RSA-OAEP"),
        lambda: public_jwk(make_rsa(), kid="hmac", alg="HS256"),
        lambda: public_jwk(make_rsa(), kid="number", alg=256),
        lambda: public_jwk(make_rsa(), kid="operations", key_ops=["sign"]),
        lambda: public_jwk(make_rsa(), kid="operation", key_ops="verify"),
        lambda: public_jwk(make_rsa(), kid="private", d="AQAB"),
        lambda: public_jwk(make_rsa(), kid=5),
        lambda: public_jwk(make_rsa(), kid="x" * 257),
        lambda: public_jwk(make_key("ES256"), kid="curve", alg="ES384"),
        lambda: public_jwk(make_key("ES256"), kid="point", y=b64(b"\1" * 32)),
        lambda: public_jwk(make_key("ES384"), kid="short", x=b64(b"\1" * 47)),
        lambda: public_jwk(make_key("ES256"), kid="padded", x=b64(b"\0" + unb64(public_jwk(make_key("ES256"))["x"]))),
        lambda: public_jwk(make_key("ES256"), kid="padded", y=b64(b"\0" + unb64(public_jwk(make_key("ES256"))["y"]))),
        lambda: public_jwk(make_key("EdDSA"), kid="448", crv="Ed448"),
        lambda: {"kty": "oct", "kid": "secret", "k": b64(b"s" * 64)},
        lambda: {"kty": "RSA", "kid": "none"},
        lambda: {"kty": "RSA", "kid": "null", "n": None, "e": "AQAB"},
        lambda: {"kty": "EC", "kid": "list", "crv": ["P-256"], "x": "AQAB", "y": "AQAB"},
        lambda: {"kty": ["RSA"]},
        dict,
    ],
)
def test_keys_that_are_left_out(make: Callable[[], dict[str, Any]]) -> None:
    """A set of such keys alone is refused. Beside a good key they are ignored: issuers publish keys for encryption too."""
    jwk = make()
    with pytest.raises(ConfigurationError, match="no key"):
        keys_of(jwk)
    assert len(keys_of(jwk, public_jwk(make_rsa(), kid="key-1"))) == 1


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": null}',
        b"\xff",
        b'{"keys": []}',
        b'{"keys": [1, null]}',
        b'{"keys": [], "keys": []}',
    ],
)
def test_documents_that_are_no_key_sets(document: bytes) -> None:
    """They raise one error, with a sentence for the log."""
    with pytest.raises(ConfigurationError):
        ForeignKeys.from_jwks(document)


def test_a_key_set_of_any_size_is_not_read() -> None:
    """A hostile issuer cannot make each verification try a thousand keys."""
    with pytest.raises(ConfigurationError, match="64"):
        keys_of(*[public_jwk(make_key("ES256"), kid="same")] * 65)


def test_a_token_without_kid_needs_a_set_of_one_key() -> None:
    """OpenID Connect Core §10.1. Several keys with one id are all tried."""
    first, second = make_key("ES256"), make_key("ES384")
    token = foreign_token(CLAIMS, key=first, algorithm="ES256", header={"alg": "ES256"})
    assert verify(token, keys_of(public_jwk(first, kid="any"))).claims == CLAIMS
    with pytest.raises(UnknownKey):
        verify(token, keys_of(public_jwk(first, kid="any"), public_jwk(second, kid="other")))
    with pytest.raises(UnknownKey):
        verify(foreign_token(CLAIMS, key=first, algorithm="ES256"), keys_of(public_jwk(first, kid="any")))
    named = foreign_token(CLAIMS, key=first, algorithm="ES256")
    assert verify(named, keys_of(public_jwk(second, kid="key-1"), public_jwk(first, kid="key-1"))).claims == CLAIMS
    assert not keys_of(public_jwk(first, kid="any")).without(["any"])


def test_few_keys_with_one_id_are_tried() -> None:
    """A key set cannot make a forged token cost sixty signature checks."""
    others = [public_jwk(make_key("ES384"), kid="key-1")] * 2
    token = foreign_token(CLAIMS, key=make_key("ES256"), algorithm="ES256")
    right = public_jwk(make_key("ES256"), kid="key-1")
    assert verify(token, keys_of(*others[:1], right)).claims == CLAIMS
    assert "signature" in refusal(token, keys_of(*others, right))


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"1", b"{", b'{"iss": 1, "iss": 2}', b'{"a": NaN}', b"\xff", b'{"a":' * 20 + b"1" + b"}" * 20]
)
def test_a_signed_text_that_is_no_object_is_refused(payload: bytes) -> None:
    """Duplicate members too: parsers disagree about them."""
    assert refusal(foreign_token(payload, key=make_rsa(), algorithm="RS256"), keys_of(public_jwk(make_rsa(), kid="key-1")))


def test_the_length_is_bounded() -> None:
    """A longer token is not parsed."""
    token = foreign_token(CLAIMS | {"x": "x" * 9000}, key=make_rsa(), algorithm="RS256")
    keys = keys_of(public_jwk(make_rsa(), kid="key-1"))
    assert refusal(token, keys) == "the token is too long"
    assert verify(token, keys, max_length=20_000).claims["sub"] == "ada"
    long = foreign_token(CLAIMS, key=make_rsa(), algorithm="RS256", header={"alg": "RS256", "kid": "key-1", "x": "x" * 5000})
    assert refusal(long, keys, max_length=20_000) == "the header is too long"


@given(
    token=st.one_of(
        st.text(),
        st.lists(st.text(alphabet='AZaz09-_.={}"', max_size=20), max_size=5).map(".".join),
        st.binary().map(lambda data: f"{b64(data)}.e30.AA"),
    )
)
def test_any_text_is_refused_by_one_error(token: str) -> None:
    """Whatever a stranger posts as a logout token."""
    assert refusal(token, keys_of(public_jwk(make_rsa(), kid="key-1")))


@given(
    document=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
        lambda inner: st.one_of(
            st.lists(inner),
            st.dictionaries(st.sampled_from(["keys", "kty", "kid", "n", "e", "x", "y", "crv", "alg", "use", "key_ops"]), inner),
        ),
    )
)
def test_any_json_is_a_key_set_or_refused_by_one_error(document: Any) -> None:
    """Whatever a hostile issuer publishes."""
    for value in (document, {"keys": document}, {"keys": [document]}):
        with suppress(ConfigurationError):
            ForeignKeys.from_jwks(json.dumps(value).encode())


def test_wycheproof_tokens_have_the_expected_results() -> None:
    """Published vectors of RS256 and ES256, whose tokens carry no JSON: the valid ones fail only there."""
    for group in vectors("wycheproof_jws.json")["testGroups"]:
        if group["key"]["kty"] == "oct":
            continue
        keys = keys_of(group["key"])
        for test in group["tests"]:
            why = refusal(test["jws"], keys)
            assert why.startswith("JSON is invalid") == (test["result"] == "valid"), (test["comment"], why)


def test_the_hash_of_an_access_token() -> None:
    """The example of OpenID Connect Core, appendix A.3, and the length for other hashes."""
    assert half_hash("RS256", "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y") == "77QmUPtjPfzWtF2AnpK9RQ"
    assert [len(half_hash(algorithm, "x")) for algorithm in ("ES384", "PS512", "EdDSA")] == [32, 43, 43]
