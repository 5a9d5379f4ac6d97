"""RFC 9068, JWT Profile for OAuth 2.0 Access Tokens."""

from __future__ import annotations

import msgspec
import pytest

from handstamp import Verifier
from handstamp.domain.claims import AccessClaims
from handstamp.errors import ExpiredToken, InvalidToken
from tests.conformance.builders import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    LEEWAY_S,
    NOW_S,
    Issuer,
    access_claims,
    access_header,
)

REQUIRED = ("iss", "exp", "aud", "sub", "client_id", "iat", "jti")
OURS = ("sid", "auth_time")


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "Application/AT+JWT", "APPLICATION/at+jwt"])
def test_typ_may_have_the_application_prefix_in_any_case(typ: str, issuer: Issuer) -> None:
    """RFC 9068 §2.1, §4, RFC 7515 §4.1.9: `typ` is at+jwt or application/at+jwt, compared without regard to case."""
    assert issuer.accepts(issuer.token(header=access_header(issuer.key, typ=typ))).sub == "account-1"


@pytest.mark.parametrize(
    "typ",
    [
        "",
        "JWT",
        "application/jwt",
        "at",
        "at+jwt;v=1",
        "at+jwt ",
        " at+jwt",
        "at jwt",
        "application/",
        "/at+jwt",
        "application/application/at+jwt",
        "text/at+jwt",
        "x-application/at+jwt",
        "application//at+jwt",
        "at+jwt\n",
        "\uff41t+jwt",
        "rt+jwt",
        "application/rt+jwt",
    ],
)
def test_any_other_type_is_refused(typ: str, issuer: Issuer) -> None:
    """RFC 9068 §4: tokens with any other `typ` are refused."""
    assert issuer.refusal(issuer.token(header=access_header(issuer.key, typ=typ))) == "typ names another kind of token"


@pytest.mark.parametrize("name", [*REQUIRED, *OURS])
def test_token_without_a_required_claim_is_refused(name: str, issuer: Issuer) -> None:
    """RFC 9068 §2.2: iss, exp, aud, sub, client_id, iat and jti are required; ours also require sid and auth_time (§2.2.1)."""
    token = issuer.token(payload=access_claims(**{name: ABSENT}))
    assert issuer.refusal(token) == f"JSON is invalid: Object missing required field `{name}`"


@pytest.mark.parametrize("name", [*REQUIRED, *OURS])
def test_required_claim_that_is_null_is_refused(name: str, issuer: Issuer) -> None:
    """RFC 9068 §2.2: a required claim that is null is refused."""
    assert f"`$.{name}`" in issuer.refusal(issuer.token(payload=access_claims(**{name: None})))


@pytest.mark.parametrize("name", ["nbf", "scope", "roles"])
def test_optional_claim_that_is_null_is_refused(name: str, issuer: Issuer) -> None:
    """RFC 7519 §4.1.5, RFC 9068 §2.2.3: an optional claim may be absent, but not null."""
    assert f"`$.{name}`" in issuer.refusal(issuer.token(payload=access_claims(**{name: None})))


def test_claims_round_trip(issuer: Issuer) -> None:
    """RFC 9068 §2.2, §2.2.1, §2.2.3: the claims contain exactly the members of the token."""
    claims = access_claims(scope="read write", roles=["editor"], auth_time=NOW_S - 100, nbf=NOW_S)
    assert issuer.accepts(issuer.token(payload=claims)) == AccessClaims(**{**claims, "roles": ("editor",)})
    plain = issuer.accepts(issuer.token())
    assert (plain.scope, plain.roles, plain.nbf) == ("", (), msgspec.UNSET)


@pytest.mark.parametrize(
    "iss",
    ["https://evil.example", ISSUER + "/", ISSUER[:-1], ISSUER.upper(), "http://id.example.org", ISSUER + "\u200b", " " + ISSUER],
)
def test_token_of_another_issuer_is_refused(iss: str, issuer: Issuer) -> None:
    """RFC 9068 §4: `iss` must match the issuer exactly (R8, T35)."""
    assert issuer.refusal(issuer.token(payload=access_claims(iss=iss))) == "iss is another issuer"


@pytest.mark.parametrize(
    "aud", [AUDIENCE, [AUDIENCE], ["https://other.example", AUDIENCE], [AUDIENCE, "https://other.example"], [AUDIENCE, AUDIENCE]]
)
def test_token_for_this_audience_is_accepted_as_a_string_or_in_a_list(aud: str | list[str], issuer: Issuer) -> None:
    """RFC 9068 §4, RFC 7519 §4.1.3: `aud` is a string or a list, and must contain the name of this resource."""
    assert issuer.accepts(issuer.token(payload=access_claims(aud=aud))).sub == "account-1"


@pytest.mark.parametrize(
    "aud",
    [
        "https://other.example",
        ["https://other.example"],
        [],
        AUDIENCE + "/",
        AUDIENCE[:-1],
        AUDIENCE.upper(),
        f"{AUDIENCE} https://other.example",
        ISSUER,
    ],
)
def test_token_for_another_audience_is_refused(aud: str | list[str], issuer: Issuer) -> None:
    """RFC 9068 §4: a token that does not name this resource is refused; a part of the name is not enough."""
    assert issuer.refusal(issuer.token(payload=access_claims(aud=aud))) == "aud names another audience"


@pytest.mark.parametrize("aud", [1, True, "", [""], [1, AUDIENCE], [AUDIENCE, None], [[AUDIENCE]], {"0": AUDIENCE}])
def test_audience_that_is_neither_string_nor_list_of_strings_is_refused(aud: object, issuer: Issuer) -> None:
    """RFC 7519 §4.1.3: `aud` must be a string or an array of strings; one invalid entry invalidates the array."""
    assert "`$.aud" in issuer.refusal(issuer.token(payload=access_claims(aud=aud)))


@pytest.mark.parametrize("name", ["https://a.example", "https://b.example"])
def test_verifier_may_accept_several_audiences(name: str, issuer: Issuer) -> None:
    """RFC 9068 §4: a verifier with several names accepts a token for any of them, and for no other."""
    several = Issuer(issuer.key, audience=("https://a.example", "https://b.example", AUDIENCE))
    assert several.accepts(several.token(payload=access_claims(aud=name))).aud == name
    assert several.refusal(several.token(payload=access_claims(aud="https://c.example"))) == "aud names another audience"


@pytest.mark.parametrize(("ahead_s", "holds"), [(-60, True), (0, True), (LEEWAY_S, True), (LEEWAY_S + 1, False), (3600, False)])
def test_token_made_in_the_future_is_refused(ahead_s: int, holds: bool, issuer: Issuer) -> None:
    """RFC 9068 §2.2, RFC 7519 §4.1.6: `iat` must not be later than now plus the leeway."""
    token = issuer.token(payload=access_claims(iat=NOW_S + ahead_s, exp=NOW_S + ahead_s + 900))
    if holds:
        assert issuer.accepts(token).iat == NOW_S + ahead_s
    else:
        assert issuer.refusal(token) == "iat is in the future"


@pytest.mark.parametrize("leeway_s", [0, 5, 60])
def test_token_expires_exactly_at_exp(leeway_s: int, issuer: Issuer) -> None:
    """RFC 9068 §4: the token is valid at `exp` - 1 and expired at `exp` + leeway."""
    verifier = Verifier(ISSUER, audience=AUDIENCE, keys=issuer.keys, check="offline", leeway_s=leeway_s)
    token = issuer.token()
    exp = NOW_S + 900
    for holding in (exp - 1, exp + leeway_s - 1):
        assert verifier.verify(token, now_ms=holding * 1000 + 999).exp == exp
    for over in (exp + leeway_s, exp + leeway_s + 1):
        with pytest.raises(ExpiredToken):
            verifier.verify(token, now_ms=over * 1000)
    if leeway_s:
        assert verifier.verify(token, now_ms=exp * 1000).exp == exp


@pytest.mark.parametrize("lifetime_s", [1, 900, 3600])
def test_token_may_live_for_an_hour(lifetime_s: int, issuer: Issuer) -> None:
    """RFC 9068 §2.2, RFC 8725 §3.10: a lifetime of up to an hour is accepted; the maximum limits the use of a stolen token."""
    assert issuer.accepts(issuer.token(payload=access_claims(exp=NOW_S + lifetime_s))).exp == NOW_S + lifetime_s


@pytest.mark.parametrize("lifetime_s", [0, -1, -900, 3601, 86_400, 10**9])
def test_token_lifetime_is_bounded(lifetime_s: int, issuer: Issuer) -> None:
    """RFC 9068 §2.2: a token with a lifetime out of bounds is refused although its signature is valid (T36)."""
    token = issuer.token(payload=access_claims(exp=NOW_S + lifetime_s))
    assert issuer.refusal(token) == "exp is not within an hour after iat"


def test_every_algorithm_makes_access_tokens(every_issuer: Issuer) -> None:
    """RFC 9068 §2.1: access tokens can be signed with each algorithm."""
    assert every_issuer.accepts(every_issuer.token()).client_id == "handstamp"


@pytest.mark.parametrize("claim", ["scope", "roles"])
@pytest.mark.parametrize("value", [1, True, {"a": 1}, [1], [None], [["a"]]])
def test_scope_and_roles_of_another_type_are_refused(claim: str, value: object, issuer: Issuer) -> None:
    """RFC 9068 §2.2.3, RFC 8693 §4.2: `scope` must be one string, and `roles` a list of strings."""
    assert f"`$.{claim}" in issuer.refusal(issuer.token(payload=access_claims(**{claim: value})))


def test_verifier_uses_the_current_keys(issuer: Issuer) -> None:
    """RFC 9068 §4: a verifier with a function for `keys` uses the set that it returns now."""
    today = [issuer.keys]
    verifier = Verifier(ISSUER, audience=AUDIENCE, keys=lambda: today[0], check="offline")
    token = issuer.token()
    assert verifier.verify(token, now_ms=NOW_S * 1000).sub == "account-1"
    today[0] = type(issuer.keys)([])
    with pytest.raises(InvalidToken):
        verifier.verify(token, now_ms=NOW_S * 1000)
