"""Sign-in with a certified provider of another language, as it is, and with its answers spoiled one by one."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from handstamp.crypto.jwk import SigningKey
from handstamp.errors import HandstampError, InvalidProviderAnswer, InvalidToken, ProviderUnavailable
from handstamp.service.parts.providers import Begun
from tests.hostile import Asked, Hostile, Script, answer, now_s
from tests.oidc_provider import OidcProvider, Visitor
from tests.relying_party.upstream import REDIRECT_URI, Client

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("oidc-provider")]
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
SECRET = "a secret of the client: 100 % odd/+"
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""How the ID tokens of the clients with these names are signed."""


class Receiver(Hostile):
    """What receives logout tokens."""

    def __init__(self) -> None:
        """Listen on a loopback port."""
        super().__init__()
        self.tokens: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.answers["/logout"] = self._receive

    def _receive(self, asked: Asked) -> Script:
        self.tokens.put(asked.form["logout_token"])
        return answer({})


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Run what receives logout tokens."""
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def running(receiver: Receiver) -> Iterator[OidcProvider]:
    """Run the provider with a client for each algorithm, and one that signs."""
    common = {
        "client_secret": SECRET,
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"],
        "backchannel_logout_uri": f"{receiver.url}/logout",
        "backchannel_logout_session_required": True,
    }
    clients = [{**common, "client_id": name, "id_token_signed_response_alg": name} for name in ALGORITHMS]
    public = SigningKey.from_pem(PEM).public.to_jwk()
    signing = {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [public]}}
    without_secret = {name: value for name, value in common.items() if name != "client_secret"}
    with OidcProvider([*clients, {**without_secret, **signing, "client_id": "signing"}]) as started:
        yield started


@pytest.fixture
def upstream(running: OidcProvider) -> OidcProvider:
    """Return the provider, unspoiled."""
    running.spoil()
    return running


def answer_to(begun: Begun) -> dict[str, str]:
    """Return the answer to a new browser that signs in as ada."""
    with Visitor() as visitor:
        return visitor.sign_in(begun.url, redirect_uri=REDIRECT_URI)


def client_of(upstream: OidcProvider, name: str = "RS256", **settings: Any) -> Client:
    """Return a client of the provider."""
    return Client(None, **{"issuer": upstream.url, "client_id": name, "client_secret": SECRET, **settings})


def sign_in(client: Client, **options: Any) -> Any:
    """Sign in as ada, in a new browser."""
    begun = client.begin(**options)
    return client.finish(begun.request, answer_to(begun))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_person_signs_in(algorithm: str, upstream: OidcProvider) -> None:
    """With each algorithm. The answer names its issuer, and the address comes from the userinfo endpoint."""
    client = client_of(upstream, algorithm)
    begun = client.begin(max_age_s=3600)
    fields = answer_to(begun)
    assert fields["iss"] == upstream.url
    identity = client.finish(begun.request, fields)
    assert (identity.issuer, identity.subject, identity.name) == (upstream.url, "ada", "Person ada")
    assert (identity.email, identity.email_verified) == ("ada@example.com", True)
    assert identity.auth_time_s is not None
    with pytest.raises(InvalidProviderAnswer, match="Begin"):
        client.finish(begun.request, fields)


def test_a_key_signs_in_place_of_a_secret(upstream: OidcProvider) -> None:
    """`private_key_jwt`; another key is an error of the operator, not of the person."""
    assert sign_in(client_of(upstream, "signing", client_secret="", private_key=PEM)).subject == "ada"
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ProviderUnavailable) as refused:
        sign_in(client_of(upstream, "signing", client_secret="", private_key=other.decode()))
    assert "check client_id" in refused.value.why


def test_a_wrong_secret_is_an_error_of_the_operator(upstream: OidcProvider) -> None:
    """The log says what to check."""
    with pytest.raises(ProviderUnavailable) as refused:
        sign_in(client_of(upstream, client_secret="wrong"))
    assert "check client_id" in refused.value.why


@pytest.mark.parametrize("change", [{"verifier": "x" * 43}, {"nonce": "x"}, {"redirect_uri": f"{REDIRECT_URI}x"}])
def test_the_provider_and_we_both_check(change: dict[str, str], upstream: OidcProvider) -> None:
    """The provider checks PKCE and the redirect URI, and this service the nonce."""
    client = client_of(upstream)
    begun = client.begin()
    fields = answer_to(begun)
    with pytest.raises(InvalidProviderAnswer):
        client.finish(msgspec.structs.replace(begun.request, **change), fields)


def test_a_fresh_sign_in_is_made(upstream: OidcProvider) -> None:
    """`prompt` and `max_age` make the provider ask again; without them a known browser passes at once."""
    client = client_of(upstream)
    with Visitor() as visitor:
        for options in ({}, {"prompt": "login"}, {"max_age_s": 0}, {"prompt": "none"}):
            begun = client.begin(**options)
            fields = visitor.sign_in(begun.url, redirect_uri=REDIRECT_URI)
            assert client.finish(begun.request, fields).subject == "ada"
    begun = client.begin(prompt="none")
    fields = answer_to(begun)
    assert fields["error"] == "login_required"
    with pytest.raises(HandstampError) as refused:
        client.finish(begun.request, fields)
    assert refused.value.code == "provider_refused"


@pytest.mark.parametrize(
    "how",
    [
        {"claims": {"iss": "https://evil.example"}},
        {"claims": {"aud": "other"}},
        {"claims": {"aud": ["RS256", "other"]}},
        {"claims": {"nonce": "other"}},
        {"drop": ["nonce"]},
        {"claims": {"exp": 1_700_000_000}},
        {"drop": ["exp"]},
        {"claims": {"iat": 9_999_999_999}},
        {"claims": {"at_hash": "x"}},
        {"claims": {"sub": ""}},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "HS256", "secret": SECRET},
        {"forged": True},
        {"header": {"typ": "at+jwt"}},
        {"header": {"kid": "unknown"}},
        {"claims": {"sub": "eve"}},
    ],
    ids=str,
)
def test_a_spoiled_id_token_signs_nobody_in(how: dict[str, Any], upstream: OidcProvider) -> None:
    """The last one is valid, but the userinfo endpoint speaks of another person."""
    upstream.spoil(**how)
    with pytest.raises(InvalidProviderAnswer):
        sign_in(client_of(upstream))


@pytest.mark.parametrize(
    "how",
    [
        {"userinfo": "unsigned"},
        *({"route": route, "status": 500} for route in ("discovery", "jwks", "token", "userinfo")),
        *({"route": route, "huge": 1_000_000} for route in ("discovery", "jwks", "token", "userinfo")),
        {"route": "token", "silent": True},
    ],
    ids=str,
)
def test_a_failing_provider_signs_nobody_in(how: dict[str, Any], upstream: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an outage, and bounded in time and size."""
    if "silent" in how:
        monkeypatch.setattr("handstamp.relying_party.http.DEADLINE_S", 1)
    upstream.spoil(**how)
    with pytest.raises(ProviderUnavailable):
        sign_in(client_of(upstream))


def test_keys_are_rotated_in_the_middle_of_a_sign_in(upstream: OidcProvider) -> None:
    """The token of a new key is accepted at once."""
    client = client_of(upstream)
    sign_in(client)
    begun = client.begin()
    fields = answer_to(begun)
    upstream.spoil(rotated=True)
    assert client.finish(begun.request, fields).subject == "ada"


def test_tokens_are_renewed(upstream: OidcProvider) -> None:
    """With a refresh token that the provider gives for `offline_access`."""
    client = client_of(upstream, keeps_tokens=True, scopes=("openid", "email", "offline_access"))
    tokens = sign_in(client, prompt="consent").tokens
    assert tokens.refresh_token
    renewed = asyncio.run(client.provider.renew(tokens, now_ms=now_s() * 1000))
    assert renewed.access_token not in ("", tokens.access_token)


def test_a_sign_out_there_is_told(upstream: OidcProvider, receiver: Receiver) -> None:
    """Its logout token names the session of the ID token, and no other client accepts it."""
    client = client_of(upstream)
    begun = client.begin()
    with Visitor() as visitor:
        identity = client.finish(begun.request, visitor.sign_in(begun.url, redirect_uri=REDIRECT_URI))
        visitor.sign_out(upstream.url)
    token = receiver.tokens.get(timeout=30)
    logout = asyncio.run(client.provider.read_logout(token, now_ms=now_s() * 1000))
    assert (logout.issuer, logout.subject, logout.session_id) == (upstream.url, "ada", identity.session_id)
    assert logout.session_id
    with pytest.raises(InvalidToken):
        asyncio.run(client_of(upstream, "ES256").provider.read_logout(token, now_ms=now_s() * 1000))
