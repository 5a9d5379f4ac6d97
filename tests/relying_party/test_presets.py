"""What is special about Google, Microsoft and Apple, against answers as they document them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from handstamp.crypto.jwk import KeySet, SigningKey
from handstamp.crypto.jws import verify
from handstamp.domain.presets import PERSONAL_TENANT
from handstamp.domain.provider import ProviderSettings
from handstamp.errors import InvalidProviderAnswer, ProviderUnavailable
from handstamp.relying_party.issuers import IssuerRule
from handstamp.relying_party.openid import _read_posted_name
from tests.conformance.builders import ABSENT
from tests.foreign import public_jwk
from tests.hostile import now_s
from tests.relying_party.upstream import CLIENT_ID, Client, Upstream, query_of

TENANT, OTHER_TENANT = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
APPLE_KEY = ec.generate_private_key(ec.SECP256R1())
APPLE_PEM = APPLE_KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Run a provider."""
    with Upstream() as running:
        yield running


def microsoft(upstream: Upstream, tenant: str = "common", *, token_tenant: str = TENANT, **claims: Any) -> Client:
    """Return a client of Microsoft at an address of one or of many tenants, whose token is of a tenant."""
    upstream.answers[f"/{tenant}/v2.0/.well-known/openid-configuration"] = upstream.answers["/.well-known/openid-configuration"]
    is_shared = tenant in ("common", "organizations")
    upstream.metadata = {"issuer": f"{upstream.url}/{'{tenantid}' if is_shared else tenant}/v2.0"}
    upstream.claims = {
        "iss": f"{upstream.url}/{token_tenant}/v2.0",
        "tid": token_tenant,
        "email_verified": ABSENT,
        **claims,
    }
    return upstream.client(preset="microsoft", issuer=f"{upstream.url}/{tenant}/v2.0")


def refusal(client: Client) -> str:
    """Return why a sign-in fails."""
    with pytest.raises(InvalidProviderAnswer) as refused:
        client.sign_in()
    return refused.value.why


def test_microsoft_names_the_tenant_in_the_issuer(upstream: Upstream) -> None:
    """At an address that many tenants share, people of different tenants have different issuers."""
    identity = microsoft(upstream).sign_in()
    assert identity.issuer == f"{upstream.url}/{TENANT}/v2.0"
    assert microsoft(upstream, token_tenant=OTHER_TENANT).sign_in().issuer == f"{upstream.url}/{OTHER_TENANT}/v2.0"


@pytest.mark.parametrize(
    "claims",
    [
        {"tid": OTHER_TENANT}, {"tid": ABSENT}, {"tid": None}, {"tid": "{tenantid}"}, {"tid": "common"},
        {"tid": TENANT.upper() + "x"},
        {"iss": "https://login.microsoftonline.com/{tenantid}/v2.0"}, {"iss": f"https://evil.example/{TENANT}/v2.0"},
        {"iss": ABSENT},
    ],
    ids=str,
)  # fmt: skip
def test_the_issuer_must_be_that_of_the_tenant(claims: dict[str, Any], upstream: Upstream) -> None:
    """A token whose `iss` and `tid` differ, or are no tenant, is refused."""
    assert "iss" in refusal(microsoft(upstream, **claims))


def test_people_of_another_tenant_are_refused_by_a_single_one(upstream: Upstream) -> None:
    """A service of one tenant is not open to all of them."""
    assert microsoft(upstream, TENANT).sign_in().subject == "ada-1"
    assert "iss" in refusal(microsoft(upstream, TENANT, token_tenant=OTHER_TENANT))


def test_personal_accounts_are_no_organization(upstream: Upstream) -> None:
    """`organizations` means accounts of organizations alone."""
    assert "iss" in refusal(microsoft(upstream, "organizations", token_tenant=PERSONAL_TENANT))
    assert microsoft(upstream, "common", token_tenant=PERSONAL_TENANT).sign_in().subject == "ada-1"


def test_a_key_of_another_tenant_signs_nothing_here(upstream: Upstream) -> None:
    """Microsoft publishes with each key for which issuer it is."""
    for issuer, is_right in (
        (f"{upstream.url}/{{tenantid}}/v2.0", True),
        (f"{upstream.url}/{TENANT}/v2.0", True),
        (f"{upstream.url}/{OTHER_TENANT}/v2.0", False),
        (5, False),
    ):
        upstream.published = [public_jwk(upstream.signing, kid=upstream.kid, issuer=issuer)]
        client = microsoft(upstream)
        assert client.sign_in().subject == "ada-1" if is_right else "tenant" in refusal(client)


@pytest.mark.parametrize(
    ("claims", "verified"),
    [
        ({}, False),
        ({"email_verified": True}, False),
        ({"xms_edov": False}, False),
        ({"xms_edov": "0"}, False),
        ({"xms_edov": True}, True),
        ({"xms_edov": 1}, True),
        ({"xms_edov": "1"}, True),
        ({"xms_edov": "true"}, True),
    ],
)
def test_an_address_of_a_tenant_is_not_verified(claims: dict[str, Any], verified: bool, upstream: Upstream) -> None:
    """Each tenant can write any address, and any claim but `xms_edov`, into its tokens ("nOAuth")."""
    assert microsoft(upstream, **claims).sign_in().email_verified is verified


@given(text=st.text())
def test_any_issuer_of_an_answer_is_compared(text: str) -> None:
    """RFC 9207, with an address of many tenants."""
    settings = ProviderSettings(
        name="m", preset="microsoft", label="M", issuer="https://login.microsoftonline.com/common/v2.0", client_id="x"
    )
    rule = IssuerRule(settings)
    assert rule.accepts_answer(f"https://login.microsoftonline.com/{TENANT}/v2.0")
    for issuer in (
        text,
        f"https://login.microsoftonline.com/{text}/v2.0",
        f"{text}/{TENANT}/v2.0",
        "https://login.microsoftonline.com/v2.0",
    ):
        assert not rule.accepts_answer(issuer)


def test_apple_gets_a_secret_that_we_sign(upstream: Upstream) -> None:
    """ES256, with the team, the client and Apple as audience, for minutes; and Apple's answer is posted."""
    client = apple(upstream)
    assert client.provider.posts_answer is True
    fields = query_of(client.begin())
    assert (fields["response_mode"], fields["scope"]) == ("form_post", "openid email name")
    client.sign_in()
    form = upstream.redeemed[0]
    assert form["client_id"] == CLIENT_ID
    secret = form["client_secret"]
    key = SigningKey.from_pem(APPLE_PEM, kid="KEY1234567")
    claims = verify(secret, KeySet([key.public]), typ="jwt", shape=dict)
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("TEAM123456", CLIENT_ID, upstream.url)
    assert 0 < claims["exp"] - claims["iat"] <= 300
    assert abs(claims["iat"] - now_s()) < 60
    header = json.loads(base64.urlsafe_b64decode(secret.split(".")[0] + "=="))
    assert (header["alg"], header["kid"]) == ("ES256", "KEY1234567")


def apple(upstream: Upstream, **settings: Any) -> Client:
    """Return a client of Apple, whose ID tokens are as it documents them."""
    upstream.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"], "userinfo_endpoint": ABSENT}
    upstream.claims = {
        "name": ABSENT,
        "sid": ABSENT,
        "amr": ABSENT,
        "email_verified": "true",
        "is_private_email": "true",
        "nonce_supported": True,
    }
    usual = {"client_secret": "", "private_key": APPLE_PEM, "key_id": "KEY1234567", "team_id": "TEAM123456"}
    scopes = ("openid", "email", "name")
    return upstream.client(preset="apple", **{**usual, "scopes": scopes, **settings})


def test_apple_names_a_person_at_the_first_sign_in_alone(upstream: Upstream) -> None:
    """The name is in a field that is not signed, so nothing but the name is taken from it."""
    user = {"name": {"firstName": "Ada", "lastName": "Lovelace"}, "email": "eve@example.com"}
    first = apple(upstream).sign_in(fields={"user": json.dumps(user)})
    assert (first.name, first.email, first.email_verified) == ("Ada Lovelace", "ada@example.com", True)
    assert apple(upstream).sign_in().name == ""
    other = upstream.client()
    upstream.claims = {"name": ABSENT}
    assert other.sign_in(fields={"user": json.dumps(user)}).name == ""


@given(
    user=st.one_of(
        st.text(),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.text()),
            lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.sampled_from(["name", "firstName", "lastName"]), inner)),
        ).map(json.dumps),
    )
)
def test_any_name_that_is_posted_is_a_name_or_none(user: str) -> None:
    """It comes through the browser."""
    name = _read_posted_name(user)
    assert len(name) <= 200
    assert name.isprintable()


def test_a_key_signs_in_place_of_a_secret(upstream: Upstream) -> None:
    """`private_key_jwt`: the audience is the issuer, which no other provider can have."""
    upstream.metadata = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
    client = upstream.client(client_secret="", private_key=APPLE_PEM)
    client.sign_in()
    client.sign_in()
    key = SigningKey.from_pem(APPLE_PEM)
    first, second = (verify(form["client_assertion"], KeySet([key.public]), typ="jwt", shape=dict) for form in upstream.redeemed)
    assert (first["iss"], first["sub"], first["aud"]) == (CLIENT_ID, CLIENT_ID, upstream.url)
    assert first["jti"] != second["jti"]
    assert upstream.redeemed[0]["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    upstream.metadata = {}
    with pytest.raises(ProviderUnavailable, match="cannot sign you in") as refused:
        upstream.client(client_secret="", private_key=APPLE_PEM).sign_in()
    assert "client_secret_file" in refused.value.why


def test_google_gives_a_refresh_token_only_if_it_is_told_to(upstream: Upstream) -> None:
    """`access_type=offline`."""
    assert "access_type" not in query_of(upstream.client(preset="google").begin())
    assert query_of(upstream.client(preset="google", keeps_tokens=True).begin())["access_type"] == "offline"
