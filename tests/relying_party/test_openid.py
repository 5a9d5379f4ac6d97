"""Sign-in with an OpenID provider: what is accepted, and everything that is not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from handstamp.crypto.foreign_tokens import half_hash
from handstamp.errors import HandstampError, InvalidProviderAnswer, ProviderRefused, ProviderUnavailable
from handstamp.outbound.client import Outbound
from tests.conformance.builders import ABSENT, b64, compact
from tests.foreign import make_key, make_rsa, public_jwk, signer
from tests.hostile import STALL, answer, drip, head, html, now_s, redirect
from tests.relying_party.upstream import (
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    CODE,
    DISCOVERY,
    JWKS,
    REDIRECT_URI,
    REFRESH_TOKEN,
    TOKEN,
    USERINFO,
    Client,
    Upstream,
    copy,
    query_of,
)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Run a provider."""
    with Upstream() as running:
        yield running


def refusal(upstream: Upstream, kind: type[HandstampError] = InvalidProviderAnswer, **options: Any) -> str:
    """Return why a sign-in fails. No reason repeats a secret."""
    with pytest.raises(kind) as refused:
        upstream.client().sign_in(**options)
    why: str = refused.value.why  # type: ignore[attr-defined]
    assert why
    for secret in (CODE, ACCESS_TOKEN, CLIENT_SECRET, REFRESH_TOKEN):
        assert secret not in why
    return why


def test_a_person_signs_in(upstream: Upstream) -> None:
    """The code is redeemed with the secret, the verifier and the redirect URI; what the ID token says is the answer."""
    client = upstream.client()
    begun = client.begin()
    assert begun.url.startswith(f"{upstream.url}/authorize?")
    fields = query_of(begun)
    challenge = fields.pop("code_challenge")
    assert fields == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "scope": "openid email profile",
        "state": "state-1",
        "nonce": begun.request.nonce,
        "code_challenge_method": "S256",
    }
    identity = client.finish(begun.request, {"code": CODE, "state": "state-1"})
    assert identity.auth_time_s is not None
    assert (identity.provider, identity.issuer, identity.subject) == ("upstream", upstream.url, "ada-1")
    assert (identity.email, identity.email_verified, identity.name) == ("ada@example.com", True, "Ada Lovelace")
    assert (identity.amr, identity.session_id, identity.tokens) == (("pwd",), "session-1", None)
    (redeemed,) = upstream.redeemed
    assert redeemed == {
        "grant_type": "authorization_code",
        "code": CODE,
        "redirect_uri": REDIRECT_URI,
        "code_verifier": begun.request.verifier,
    }
    assert challenge == b64(hashlib.sha256(begun.request.verifier.encode()).digest())
    (asked,) = [asked for asked in upstream.asked if asked.path == TOKEN]
    basic = base64.b64encode(b"our%3Aclient:s3cret%20of%20ours%2F%2B").decode()
    assert asked.headers["authorization"] == f"Basic {basic}"
    assert upstream.count(USERINFO) == 0


def test_nothing_is_the_same_twice_and_nothing_is_shown(upstream: Upstream) -> None:
    """Nonce and verifier are new for each sign-in, and no text of a value shows them."""
    client = upstream.client()
    first, second = client.begin().request, client.begin().request
    assert first.nonce != second.nonce
    assert first.verifier != second.verifier
    assert len(first.verifier) >= 43
    assert first.verifier not in repr(first)
    assert CLIENT_SECRET not in repr(client.provider.settings)
    identity = client.sign_in()
    assert ACCESS_TOKEN not in repr(identity)


def test_options_of_a_sign_in(upstream: Upstream) -> None:
    """The person can be asked again, for a certain account, or for a fresh sign-in. An endpoint may have a query already."""
    upstream.metadata = {"authorization_endpoint": f"{upstream.url}/authorize?realm=a"}
    begun = upstream.client().begin(prompt="login", login_hint="ada@example.com", max_age_s=0)
    fields = query_of(begun)
    assert (fields["realm"], fields["prompt"], fields["login_hint"], fields["max_age"]) == ("a", "login", "ada@example.com", "0")


def test_the_secret_goes_into_the_form_where_the_provider_wants_it(upstream: Upstream) -> None:
    """`client_secret_post`. A provider that accepts no secret is an error of the operator, and no sign-in."""
    upstream.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    upstream.client().sign_in()
    assert upstream.redeemed[0]["client_secret"] == CLIENT_SECRET
    assert all("authorization" not in asked.headers for asked in upstream.asked)
    upstream.metadata = {}
    upstream.client(client_secret_in="form").sign_in()
    assert upstream.redeemed[1]["client_secret"] == CLIENT_SECRET
    upstream.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    upstream.client(client_secret_in="header").sign_in()
    assert "client_secret" not in upstream.redeemed[2]
    upstream.metadata = {"token_endpoint_auth_methods_supported": ["tls_client_auth"]}
    assert "private_key_file" in refusal(upstream, ProviderUnavailable)


def test_the_default_of_metadata_that_say_nothing(upstream: Upstream) -> None:
    """Basic authentication and RS256 (Discovery §3)."""
    upstream.metadata = {"token_endpoint_auth_methods_supported": ABSENT, "id_token_signing_alg_values_supported": ABSENT}
    assert upstream.client().sign_in().subject == "ada-1"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"}, {"iss": ABSENT}, {"iss": None}, {"iss": ["x"]}, {"aud": "other"},
        {"aud": ["other"]}, {"aud": []},
        {"aud": ABSENT}, {"aud": [CLIENT_ID, "other"]}, {"aud": [CLIENT_ID, "other"], "azp": "other"},
        {"azp": "other"}, {"azp": None},
        {"aud": {CLIENT_ID: 1}}, {"aud": f"{CLIENT_ID} other"}, {"nonce": "other"}, {"nonce": ABSENT},
        {"nonce": ""}, {"nonce": None},
        {"exp": ABSENT}, {"exp": "9999999999"}, {"exp": True}, {"exp": -1}, {"exp": 1e300}, {"exp": None},
        {"iat": ABSENT}, {"iat": "x"}, {"iat": True},
        {"at_hash": "x"}, {"at_hash": half_hash("RS256", "other")}, {"at_hash": None}, {"sub": ABSENT}, {"sub": ""}, {"sub": 7},
        {"sub": "x" * 256}, {"sub": "a\x00b"}, {"sub": "a\nb"}, {"sub": ["ada-1"]}, {"sub": None},
        {"nbf": 9_999_999_999}, {"nbf": "x"},
    ],
    ids=str,
)  # fmt: skip
def test_an_id_token_that_is_not_for_us(claims: dict[str, Any], upstream: Upstream) -> None:
    """Each claim that must be right is wrong, missing, or of another type: nobody is signed in."""
    upstream.claims = claims
    assert refusal(upstream).startswith("the ID token is not valid: ")


@pytest.mark.parametrize(
    ("claims", "later_s", "is_valid"),
    [
        ({}, 300 + 30, True), ({}, 300 + 90, False), ({}, -30, True), ({}, -90, False),
    ],
)  # fmt: skip
def test_clocks_may_differ_by_a_minute(claims: dict[str, Any], later_s: int, is_valid: bool, upstream: Upstream) -> None:
    """Of the provider and of this service, for the beginning and for the end."""
    upstream.claims = claims
    if is_valid:
        assert upstream.client().sign_in(later_s=later_s).subject == "ada-1"
    else:
        assert "ID token" in refusal(upstream, later_s=later_s)


@pytest.mark.parametrize(("age_s", "max_age_s", "is_valid"), [(100, 300, True), (400, 300, False), (5, 0, True), (100, 0, False)])
def test_the_age_of_the_sign_in_at_the_provider(age_s: int, max_age_s: int, is_valid: bool, upstream: Upstream) -> None:
    """Who asked for a fresh sign-in gets one, or none."""
    upstream.claims = {"auth_time": now_s() - age_s}
    if is_valid:
        assert upstream.client().sign_in(max_age_s=max_age_s).subject == "ada-1"
    else:
        assert "older" in refusal(upstream, max_age_s=max_age_s)
    upstream.claims = {"auth_time": ABSENT}
    assert "auth_time" in refusal(upstream, max_age_s=max_age_s)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": [CLIENT_ID]},
        {"azp": CLIENT_ID},
        {"at_hash": ABSENT},
        {"nbf": 1_700_000_000},
        {"auth_time": ABSENT},
        {"sub": "é/ü 1"},
    ],
    ids=str,
)
def test_what_an_id_token_may_say_or_leave_out(claims: dict[str, Any], upstream: Upstream) -> None:
    """An audience alone in a list, no hash of the access token, and no time of the sign-in if none was asked for."""
    upstream.claims = claims
    assert upstream.client().sign_in().email == "ada@example.com"


def test_an_empty_nonce_is_none(upstream: Upstream) -> None:
    """A request without a nonce, as GitHub's, is none of an OpenID provider."""
    client = upstream.client()
    request = copy(client.begin().request, nonce="")
    for nonce in ("", ABSENT):
        upstream.claims = {"nonce": nonce}
        with pytest.raises(InvalidProviderAnswer):
            client.finish(request, {"code": CODE, "state": request.state})


def test_an_empty_state_is_none(upstream: Upstream) -> None:
    """A request without a state has no answer."""
    client = upstream.client()
    request = copy(client.begin().request, state="")
    for fields in ({"code": CODE, "state": ""}, {"code": CODE}):
        with pytest.raises(InvalidProviderAnswer):
            client.finish(request, fields)


def test_several_audiences_need_azp(upstream: Upstream) -> None:
    """OpenID Connect Core §2: it must be this client."""
    upstream.claims = {"aud": ["project", CLIENT_ID], "azp": CLIENT_ID}
    assert upstream.client().sign_in().subject == "ada-1"


def test_an_unsigned_token_is_refused(upstream: Upstream) -> None:
    """`none` in every spelling, with and without a signature."""
    for algorithm in ("none", "None", "NONE", "nOnE"):
        for signature in ("", b64(b"x")):
            header = b64(json.dumps({"alg": algorithm}).encode())

            def strip(token: str, header: str = header, signature: str = signature) -> str:
                return f"{header}.{token.split('.')[1]}.{signature}"

            upstream.wrap = strip
            upstream.metadata = {"id_token_signing_alg_values_supported": ["none", "RS256"]}
            assert refusal(upstream)


def test_the_public_key_is_no_secret(upstream: Upstream) -> None:
    """HS256 with the public key, or with the client secret, which this service does not accept either (RFC 8725 §2.1)."""
    for secret in (json.dumps(upstream.published[0]).encode(), CLIENT_SECRET.encode()):

        def forge(token: str, secret: bytes = secret) -> str:
            head, payload, _ = token.split(".")
            head = b64(json.dumps({"alg": "HS256", "kid": "key-1"}).encode())
            return f"{head}.{payload}.{b64(hmac.digest(secret, f'{head}.{payload}'.encode(), 'sha256'))}"

        upstream.wrap = forge
        upstream.metadata = {"id_token_signing_alg_values_supported": ["HS256", "RS256"]}
        assert "alg" in refusal(upstream)


def test_another_key_is_refused(upstream: Upstream) -> None:
    """A forged signature, and a key that the token brings itself."""
    forger = make_key("ES256")
    for header in ({"alg": "ES256", "kid": "key-1"}, {"alg": "ES256", "kid": "key-1", "jwk": public_jwk(forger)}):
        upstream.metadata = {"id_token_signing_alg_values_supported": ["ES256", "RS256"]}

        def forge(_: str, header: dict[str, Any] = header) -> str:
            return compact(header, upstream.id_claims(), signer(forger, "ES256"))

        upstream.wrap = forge
        assert "signature" in refusal(upstream)


def test_an_algorithm_that_the_provider_does_not_name_is_refused(upstream: Upstream) -> None:
    """A second key for another purpose cannot sign ID tokens."""
    key = make_key("ES256")
    upstream.published.append(public_jwk(key, kid="key-2"))
    upstream.wrap = lambda _: compact({"alg": "ES256", "kid": "key-2"}, upstream.id_claims(), signer(key, "ES256"))
    assert "alg" in refusal(upstream)
    upstream.metadata = {"id_token_signing_alg_values_supported": ["ES256"]}
    assert upstream.client().sign_in().subject == "ada-1"


@pytest.mark.parametrize("typ", ["at+jwt", "logout+jwt", "dpop+jwt"])
def test_another_kind_of_token_is_no_id_token(typ: str, upstream: Upstream) -> None:
    """Though the claims are right."""
    upstream.wrap = lambda _: upstream.sign(upstream.id_claims(), typ=typ)
    assert "typ" in refusal(upstream)


def test_a_weak_key_is_not_used(upstream: Upstream) -> None:
    """A set of weak keys alone is an outage, not a sign-in."""
    upstream.signing = make_rsa(1024)
    upstream.published = [public_jwk(upstream.signing, kid="key-1")]
    assert "no key" in refusal(upstream, ProviderUnavailable)


def test_keys_that_change_in_the_middle_of_a_sign_in(upstream: Upstream) -> None:
    """A token of a new key is accepted at once, and the keys are fetched once more for it, not for each forged `kid`."""
    client = upstream.client()
    client.sign_in()
    upstream.kid = "key-2"
    upstream.published.append(public_jwk(upstream.signing, kid="key-2"))
    assert client.sign_in().subject == "ada-1"
    assert upstream.count(JWKS) == 2
    upstream.kid = "forged"
    for _ in range(5):
        with pytest.raises(InvalidProviderAnswer):
            client.sign_in()
    assert upstream.count(JWKS) == 2


def test_the_last_good_keys_and_metadata_outlive_an_outage_of_their_addresses(upstream: Upstream) -> None:
    """They are fetched once; later failures of these addresses do not matter for hours."""
    client = upstream.client()
    client.sign_in()
    upstream.answers[JWKS] = upstream.answers[DISCOVERY] = html(500)
    client.sign_in()
    assert (upstream.count(JWKS), upstream.count(DISCOVERY)) == (1, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "other"},
        {"state": ABSENT},
        {"state": ""},
        {"code": ABSENT},
        {"code": ""},
        {"code": "a\nb"},
        {"code": "x" * 5000},
        {"code": "é"},
    ],
)
def test_an_answer_that_does_not_fit_is_not_redeemed(fields: dict[str, Any], upstream: Upstream) -> None:
    """A forged answer costs the provider no request."""
    assert refusal(upstream, fields=fields)
    assert upstream.redeemed == []


def test_the_issuer_of_an_answer_is_compared(upstream: Upstream) -> None:
    """RFC 9207: an `iss` must be right, and must be there where the provider says that it always is."""
    assert upstream.client().sign_in(fields={"iss": upstream.url}).subject == "ada-1"
    assert "iss" in refusal(upstream, fields={"iss": "https://evil.example"})
    assert "iss" in refusal(upstream, fields={"iss": f"{upstream.url}/"})
    upstream.metadata = {"authorization_response_iss_parameter_supported": True}
    assert "iss" in refusal(upstream)
    assert "iss" in refusal(upstream, fields={"error": "access_denied", "code": ABSENT})
    assert len(upstream.redeemed) == 1


@pytest.mark.parametrize(
    ("error", "kind", "cause"),
    [
        ("access_denied", ProviderRefused, "cancelled"),
        ("login_required", ProviderRefused, "must_ask"),
        ("invalid_scope", ProviderRefused, "other"),
        ("<script>", ProviderRefused, "other"),
        ("temporarily_unavailable", ProviderUnavailable, ""),
        ("server_error", ProviderUnavailable, ""),
    ],
)
def test_a_refusal_of_the_provider(error: str, kind: type[HandstampError], cause: str, upstream: Upstream) -> None:
    """Cancelling is no failure, and an outage no refusal. Texts of the provider are repeated to nobody."""
    with pytest.raises(kind) as refused:
        upstream.client().sign_in(fields={"code": ABSENT, "error": error, "error_description": "<b>"})
    assert getattr(refused.value, "cause", "") == cause
    assert "<" not in refused.value.why + str(refused.value)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer({"error": "invalid_grant"}, 400), InvalidProviderAnswer),
        (answer({"error": "invalid_client"}, 401), ProviderUnavailable),
        (answer({"error": "invalid_grant"}, 500), ProviderUnavailable),
        (html(500), ProviderUnavailable),
        (html(200), ProviderUnavailable),
        (redirect("/elsewhere"), ProviderUnavailable),
        (answer({}), ProviderUnavailable),
        (answer([]), ProviderUnavailable),
        (answer(b"{"), ProviderUnavailable),
        (answer({"access_token": ACCESS_TOKEN, "token_type": "DPoP"}), ProviderUnavailable),
        (answer({"access_token": "a b", "token_type": "Bearer"}), ProviderUnavailable),
        (answer({"access_token": "x" * 40_000, "token_type": "Bearer"}), ProviderUnavailable),
        (answer({"access_token": ACCESS_TOKEN, "token_type": 5}), ProviderUnavailable),
        (answer({"access_token": ACCESS_TOKEN, "token_type": "Bearer"}), InvalidProviderAnswer),
        (answer({"access_token": ACCESS_TOKEN, "token_type": "Bearer", "id_token": {}}), InvalidProviderAnswer),
        (answer({"access_token": ACCESS_TOKEN, "token_type": "Bearer", "id_token": "x" * 40_000}), InvalidProviderAnswer),
        (answer(b"x" * 300_000), ProviderUnavailable),
        ([b"HTTP/1.1 200 OK\r\n"], ProviderUnavailable),
    ],
)  # fmt: skip
def test_a_token_endpoint_that_fails(script: Any, kind: type[HandstampError], upstream: Upstream) -> None:
    """An answer that is no token is an outage or a refusal, never a sign-in, and never an exception of another kind."""
    upstream.answers[TOKEN] = script
    refusal(upstream, kind)


@pytest.mark.parametrize("path", [DISCOVERY, JWKS, TOKEN])
@pytest.mark.parametrize("script", [[STALL], [head(content_length="9"), STALL], "drip"], ids=["silent", "headers", "drip"])
def test_a_provider_that_is_slow(path: str, script: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is bounded for all requests of a sign-in together."""
    monkeypatch.setattr("handstamp.relying_party.http.DEADLINE_S", 0.25)
    monkeypatch.setattr("handstamp.relying_party.keys.REQUEST_S", 0.15)
    upstream.answers[path] = drip(answer(b" " * 1000), 0.05) if script == "drip" else script
    assert "time" in refusal(upstream, ProviderUnavailable)


def test_userinfo_is_asked_only_for_what_is_missing(upstream: Upstream) -> None:
    """For an address that the ID token does not have; what the ID token says counts more."""
    upstream.claims = {"email": ABSENT, "email_verified": ABSENT, "auth_time": int(time.time())}
    identity = upstream.client().sign_in()
    assert (identity.email, identity.email_verified, identity.name) == ("ada@example.com", True, "Ada Lovelace")
    (asked,) = [asked for asked in upstream.asked if asked.path == USERINFO]
    assert asked.headers["authorization"] == f"Bearer {ACCESS_TOKEN}"
    upstream.person |= {"sid": "other", "auth_time": 1, "amr": ["mfa"], "iss": "https://evil.example"}
    assert upstream.client().sign_in() == identity
    upstream.client(scopes=("openid",)).sign_in()
    assert upstream.count(USERINFO) == 2
    upstream.metadata = {"userinfo_endpoint": ABSENT}
    assert upstream.client().sign_in().email == ""


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer({"sub": "eve", "email": "ada@example.com", "email_verified": True}), InvalidProviderAnswer),
        (answer({"email": "ada@example.com", "email_verified": True}), InvalidProviderAnswer),
        (answer({"sub": None}), InvalidProviderAnswer),
        (answer([]), ProviderUnavailable),
        (answer({}, 401), ProviderUnavailable),
        (html(500), ProviderUnavailable),
        (answer(b"e30.e30.", 200, content_type="application/jwt"), ProviderUnavailable),
        (answer(b" " * 70_000), ProviderUnavailable),
        (answer(b'{"sub": "ada-1", "sub": "eve"}'), ProviderUnavailable),
    ],
)  # fmt: skip
def test_an_answer_about_another_person_is_refused(script: Any, kind: type[HandstampError], upstream: Upstream) -> None:
    """Or a failure: without the address an account could be made anew, so it is no sign-in."""
    upstream.claims = {"email": ABSENT}
    upstream.answers[USERINFO] = script
    refusal(upstream, kind)


@pytest.mark.parametrize(
    ("said", "verified"),
    [
        (True, True), ("true", True), (False, False), ("false", False), (ABSENT, False), (None, False), ("True", False),
        ([True], False), ({}, False), ("yes", False),
    ],
)  # fmt: skip
def test_an_address_is_verified_only_if_the_provider_says_so(said: Any, verified: bool, upstream: Upstream) -> None:
    """Apple writes it as text. Nothing else that programs take for true is true."""
    upstream.claims = {"email_verified": said}
    assert upstream.client().sign_in().email_verified is verified
    assert upstream.client(trusts_email=True).sign_in().email_verified is True


@pytest.mark.parametrize(
    "email", ["", "ada", "a@b@c", "ada@example.com\n", "x" * 300 + "@example.com", ["ada@example.com"], None, 5, "<a@b.c>"]
)
def test_an_address_of_another_form_is_none(email: Any, upstream: Upstream) -> None:
    """And none is never verified, whoever trusts the provider."""
    upstream.claims = {"email": email}
    identity = upstream.client(trusts_email=True).sign_in()
    assert (identity.email, identity.email_verified) == ("", False)


@pytest.mark.parametrize(
    ("claims", "attribute", "value"),
    [
        ({"name": "  Ada\u202e\x00\n Lovelace "}, "name", "Ada Lovelace"),
        ({"name": "x" * 5000}, "name", "x" * 200),
        ({"name": ["Ada"]}, "name", ""),
        ({"amr": "pwd"}, "amr", ()),
        ({"amr": ["pwd", 5, "a b", "x" * 99, "mfa"]}, "amr", ("pwd", "mfa")),
        ({"amr": [f"m{number}" for number in range(1000)]}, "amr", tuple(f"m{number}" for number in range(16))),
        ({"auth_time": "x"}, "auth_time_s", None),
        ({"auth_time": 1_700_000_000.9}, "auth_time_s", 1_700_000_000),
        ({"sid": "x" * 300}, "session_id", ""),
        ({"sid": 5}, "session_id", ""),
    ],
)  # fmt: skip
def test_what_is_only_described_is_bounded(claims: dict[str, Any], attribute: str, value: Any, upstream: Upstream) -> None:
    """Odd values of claims that decide nothing are left out or cut."""
    upstream.claims = claims
    assert getattr(upstream.client().sign_in(), attribute) == value


def test_tokens_are_kept_only_if_asked_for_and_can_be_renewed(upstream: Upstream) -> None:
    """A renewal without a new refresh token keeps the old one."""
    client = upstream.client(keeps_tokens=True)
    tokens = client.sign_in().tokens
    assert tokens is not None
    assert (tokens.access_token, tokens.refresh_token) == (ACCESS_TOKEN, REFRESH_TOKEN)
    assert tokens.expires_at_ms is not None
    upstream.token_answer = {"access_token": "new", "refresh_token": ABSENT, "expires_in": "60", "scope": "openid"}
    renewed = asyncio.run(client.provider.renew(tokens, now_ms=0))
    assert (renewed.access_token, renewed.refresh_token, renewed.expires_at_ms) == ("new", REFRESH_TOKEN, 60_000)
    assert upstream.redeemed[-1] == {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}
    upstream.answers[TOKEN] = answer({"error": "invalid_grant"}, 400)
    with pytest.raises(ProviderRefused):
        asyncio.run(client.provider.renew(tokens, now_ms=0))
    before = upstream.count(TOKEN)
    with pytest.raises(ProviderRefused):
        asyncio.run(client.provider.renew(copy(tokens, refresh_token=""), now_ms=0))
    assert upstream.count(TOKEN) == before
    upstream.answers[TOKEN] = html(502)
    with pytest.raises(ProviderUnavailable):
        asyncio.run(client.provider.renew(tokens, now_ms=0))


def test_an_answer_of_one_provider_is_none_of_another(upstream: Upstream) -> None:
    """Mix-up (RFC 9700 §4.4): a code that one provider gave is never sent to the other, whatever the browser brings."""
    with Upstream() as hostile:
        honest, attacker = upstream.client(), hostile.client(name="attacker")
        request = attacker.begin().request
        with pytest.raises(InvalidProviderAnswer, match="not accepted") as refused:
            honest.finish(request, {"code": CODE, "state": request.state})
        assert "another provider" in refused.value.why
        with pytest.raises(InvalidProviderAnswer):
            attacker.finish(copy(request, provider="upstream"), {"code": CODE, "state": request.state})
        assert (upstream.redeemed, hostile.redeemed) == ([], [])


def test_a_hostile_provider_cannot_sign_in_for_another(upstream: Upstream) -> None:
    """It can name the other's issuer, keys and endpoints. What it says then is refused, or comes from the other."""
    with Upstream() as hostile:
        hostile.claims = {"iss": upstream.url}
        assert "iss" in refusal(hostile)
        hostile.metadata = {"issuer": upstream.url}
        assert "another issuer" in refusal(hostile, ProviderUnavailable)
        hostile.metadata = {"jwks_uri": upstream.url + JWKS, "token_endpoint": upstream.url + TOKEN}
        assert "iss" in refusal(hostile)
        hostile.metadata = {"token_endpoint": upstream.url + TOKEN}
        assert hostile.client().provider.settings.issuer == hostile.url
        assert refusal(hostile)


def test_a_provider_that_leads_requests_inside(upstream: Upstream) -> None:
    """Endpoints inside the operator's network are refused when the metadata is read (SSRF)."""
    with Upstream() as inside:
        strict = Outbound(allow=["127.0.0.1"])
        for member in ("token_endpoint", "jwks_uri", "userinfo_endpoint"):
            for url in (
                f"http://localhost:{inside.port}/x",
                "https://169.254.169.254/",
                "https://10.0.0.1/",
                "file:///etc/passwd",
                "x",
            ):
                upstream.metadata = {member: url}
                with pytest.raises(ProviderUnavailable, match="cannot sign you in") as refused:
                    Client(upstream, outbound=strict).sign_in()
                assert "address" in refused.value.why
        assert inside.asked == []
    for url in (
        "javascript:alert(1)",
        "http://evil.example/",
        "//evil.example",
        "https://evil.example/\nx",
        "https://evil.example/#x",
        "https://evil.example/é",
        "",
    ):
        upstream.metadata = {"authorization_endpoint": url}
        assert "authorization_endpoint" in refusal(upstream, ProviderUnavailable)
