"""RFC 7519, JSON Web Token: the form of claims, and when a token is valid."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from handstamp import Verifier
from handstamp.crypto import jws
from handstamp.crypto.jwk import VerifyingKey
from handstamp.errors import ExpiredToken, InvalidToken
from tests.conformance.builders import (
    AUDIENCE,
    ISSUER,
    LEEWAY_S,
    LIFETIME_S,
    NOW_S,
    Issuer,
    access_claims,
    access_header,
    as_json,
    unb64,
    vectors,
)

RFC: dict[str, Any] = vectors("rfc.json")
TIMES = ("iat", "exp", "auth_time", "nbf")


def test_published_example_verifies_and_is_refused_for_having_no_kid() -> None:
    """RFC 7519 §3.1: the example is that of RFC 7515 A.1; its signature is valid, but it has no `kid`."""
    example = RFC["rfc7515_a1"]
    signing_input, _, signature = example["token"].rpartition(".")
    assert VerifyingKey.from_jwk({**example["jwk"], "kid": "a1"}).verifies(signing_input.encode(), unb64(signature))
    with pytest.raises(InvalidToken) as refused:
        jws.split(example["token"])
    assert "missing required field `kid`" in refused.value.why


def test_published_unsecured_token_is_refused(issuer: Issuer) -> None:
    """RFC 7519 §6.1: an unsecured JWT is refused, with an empty signature and with any other."""
    unsecured = RFC["rfc7515_a5"]["token"]
    assert issuer.refusal(unsecured) == "not three segments of base64url"
    assert "missing required field" in issuer.refusal(unsecured + "AA")


@pytest.mark.parametrize("payload", [b"[]", b'"claims"', b"null", b"1", b"true", b"{", b"{}}", b"claims", b'{"iss":"a"'])
def test_payload_that_is_no_json_object_is_refused(payload: bytes, issuer: Issuer) -> None:
    """RFC 7519 §7.2: the payload must be one JSON object, the claims set."""
    assert issuer.refusal(issuer.token(payload=payload)).startswith("JSON is invalid")


def test_nested_token_is_refused(issuer: Issuer) -> None:
    """RFC 7519 §5.2: a JWT within a JWT (`cty` JWT) is not unwrapped."""
    nested = issuer.token(header={**access_header(issuer.key), "cty": "JWT"}, payload=issuer.token().encode())
    assert issuer.refusal(nested).startswith("JSON is invalid")


def test_unknown_claims_are_ignored(issuer: Issuer) -> None:
    """RFC 7519 §4: unknown claims are ignored, whatever their values."""
    extra = {"urn:example:future": {"nested": [1, 2.5, None, "\U0001f511"]}, "future": {"jkt": "x"}, "name": "Zoë"}
    accepted = issuer.accepts(issuer.token(payload={**access_claims(), **extra}))
    assert accepted.extra == extra
    assert msgspec.structs.replace(accepted, extra={}) == issuer.accepts(issuer.token())


def test_white_space_in_the_claims_is_ignored(issuer: Issuer) -> None:
    """RFC 7519 §3: white space and escapes in the JSON do not change the claims."""
    spaced = b" \r\n\t" + as_json(access_claims()).replace(b",", b" ,\n ").replace(b'"sub"', b'"\\u0073ub"') + b"\n"
    assert issuer.accepts(issuer.token(payload=spaced)).sub == "account-1"


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize(
    "value",
    [
        str(NOW_S),
        float(NOW_S),
        NOW_S + 0.5,
        True,
        False,
        [NOW_S],
        {"seconds": NOW_S},
        0,
        -1,
        2**53,
        10**30,
        "2027-01-15T08:00:00Z",
    ],
)
def test_time_that_is_no_positive_integer_is_refused(name: str, value: object, issuer: Issuer) -> None:
    """RFC 7519 §2, RFC 8725 §3.10: a NumericDate is a number; ours must be an integer, and no value is converted (R7)."""
    assert f"`$.{name}`" in issuer.refusal(issuer.token(payload=access_claims(**{name: value})))


@pytest.mark.parametrize(
    "literal",
    [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1800000900.0", b"18e8", b"+1800000900", b"01800000900", b"0x6B49D200"],
)
def test_number_that_is_no_json_integer_is_refused(literal: bytes, issuer: Issuer) -> None:
    """RFC 7519 §2: `exp` must be spelled as a JSON integer (T36)."""
    right = as_json(access_claims())
    exp = str(NOW_S + LIFETIME_S).encode()
    assert issuer.refusal(issuer.token(payload=right.replace(exp, literal))).startswith("JSON is invalid")


@pytest.mark.parametrize(
    ("now_s", "holds"),
    [
        (NOW_S + LIFETIME_S - 1, True),
        (NOW_S + LIFETIME_S, True),
        (NOW_S + LIFETIME_S + LEEWAY_S - 1, True),
        (NOW_S + LIFETIME_S + LEEWAY_S, False),
        (NOW_S + LIFETIME_S + LEEWAY_S + 1, False),
        (2**60, False),
    ],
)
def test_token_is_valid_until_exp_plus_leeway(now_s: int, holds: bool, issuer: Issuer) -> None:
    """RFC 7519 §4.1.4: the time must be before `exp` plus the leeway; after that the error is `ExpiredToken` (R20)."""
    if holds:
        assert issuer.accepts(issuer.token(), now_s=now_s).exp == NOW_S + LIFETIME_S
    else:
        with pytest.raises(ExpiredToken):
            issuer.accepts(issuer.token(), now_s=now_s)


@pytest.mark.parametrize(("ahead_s", "holds"), [(-1, True), (0, True), (LEEWAY_S, True), (LEEWAY_S + 1, False), (2**40, False)])
def test_token_is_valid_from_nbf_minus_leeway(ahead_s: int, holds: bool, issuer: Issuer) -> None:
    """RFC 7519 §4.1.5: the time must be at or after `nbf` minus the leeway (R20)."""
    token = issuer.token(payload=access_claims(nbf=NOW_S + ahead_s))
    if holds:
        assert issuer.accepts(token).nbf == NOW_S + ahead_s
    else:
        assert issuer.refusal(token) == "nbf is in the future"


@pytest.mark.parametrize("leeway_s", [-1, 61, 3600])
def test_leeway_of_more_than_a_minute_is_refused(leeway_s: int, issuer: Issuer) -> None:
    """RFC 7519 §4.1.4: a leeway should be a few minutes at most; ours is 0 to 60 seconds (R20)."""
    patient = Verifier(ISSUER, audience=AUDIENCE, keys=issuer.keys, check="offline", leeway_s=60)
    assert patient.verify(issuer.token(), now_ms=NOW_S * 1000).sub == "account-1"
    with pytest.raises(ValueError, match="leeway_s must be between 0 and 60"):
        Verifier(ISSUER, audience=AUDIENCE, keys=issuer.keys, check="offline", leeway_s=leeway_s)


def test_without_leeway_a_token_expires_at_exp(issuer: Issuer) -> None:
    """RFC 7519 §4.1.4: without leeway the token is refused from `exp` on, to the millisecond."""
    strict = Verifier(ISSUER, audience=AUDIENCE, keys=issuer.keys, check="offline", leeway_s=0)
    exp_ms = (NOW_S + LIFETIME_S) * 1000
    assert strict.verify(issuer.token(), now_ms=exp_ms - 1).sub == "account-1"
    with pytest.raises(ExpiredToken):
        strict.verify(issuer.token(), now_ms=exp_ms)


def test_expired_token_with_another_fault_is_invalid(issuer: Issuer) -> None:
    """RFC 7519 §7.2: only a token that is valid except for its time is called expired; a forger learns nothing."""
    late = NOW_S + 10 * LIFETIME_S
    with pytest.raises(ExpiredToken):
        issuer.accepts(issuer.token(), now_s=late)
    for token in (
        issuer.token()[:-8] + "AAAAAAAA",
        issuer.token(payload=access_claims(aud="https://other.example.org")),
        issuer.token(payload=access_claims(iss="https://other.example.org")),
    ):
        with pytest.raises(InvalidToken):
            issuer.accepts(token, now_s=late)


@pytest.mark.parametrize("name", ["iss", "sub", "jti", "sid", "client_id"])
@pytest.mark.parametrize("value", [None, "", 1, True, ["a"], {"a": "b"}, "x" * 1025])
def test_name_must_be_a_bounded_string(name: str, value: object, issuer: Issuer) -> None:
    """RFC 7519 §4.1.1, §4.1.2, §4.1.7: issuer, subject and identifier must be strings; ours have 1 to 1024 characters."""
    assert f"`$.{name}`" in issuer.refusal(issuer.token(payload=access_claims(**{name: value})))


def test_names_are_compared_case_sensitively(issuer: Issuer) -> None:
    """RFC 7519 §2 StringOrURI: names are compared without any transformation."""
    assert issuer.refusal(issuer.token(payload=access_claims(iss=ISSUER.upper()))) == "iss is another issuer"
    assert issuer.refusal(issuer.token(payload=access_claims(iss=ISSUER + "/"))) == "iss is another issuer"
    assert issuer.refusal(issuer.token(payload=access_claims(aud=AUDIENCE.upper()))) == "aud names another audience"
