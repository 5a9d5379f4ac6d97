"""Logout tokens of providers (OpenID Connect Back-Channel Logout 1.0): what ends sessions, and everything that does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from handstamp.domain.provider import ProviderLogout
from handstamp.errors import InvalidToken, ProviderUnavailable
from handstamp.relying_party.logout import EVENT
from tests.conformance.builders import ABSENT, members
from tests.foreign import make_key
from tests.hostile import html, now_s
from tests.relying_party.upstream import CLIENT_ID, DISCOVERY, JWKS, Client, Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Run a provider."""
    with Upstream() as running:
        yield running


def logout_claims(upstream: Upstream, **changes: Any) -> dict[str, Any]:
    """Return the claims of a logout token."""
    now = now_s()
    usual = {
        "iss": upstream.url,
        "aud": CLIENT_ID,
        "iat": now,
        "exp": now + 120,
        "jti": "logout-1",
        "sub": "ada-1",
        "sid": "session-1",
        "events": {EVENT: {}},
    }
    return members(usual, changes)


def read(client: Client, token: str, *, later_s: int = 0) -> ProviderLogout:
    """Return what a logout token says."""
    return asyncio.run(client.provider.read_logout(token, now_ms=(now_s() + later_s) * 1000))


def refusal(upstream: Upstream, token: str, **options: Any) -> str:
    """Return why a token is refused."""
    with pytest.raises(InvalidToken) as refused:
        read(upstream.client(), token, **options)
    return refused.value.why


@pytest.mark.parametrize("typ", ["logout+jwt", "application/logout+jwt", "JWT", ABSENT])
@pytest.mark.parametrize(
    ("changes", "subject", "session"),
    [
        ({}, "ada-1", "session-1"),
        ({"sid": ABSENT}, "ada-1", ""),
        ({"sub": ABSENT}, "", "session-1"),
        ({"aud": ["x", CLIENT_ID]}, "ada-1", "session-1"),
        ({"nbf": 1_700_000_000}, "ada-1", "session-1"),
    ],
)
def test_a_logout_names_a_person_or_a_session(
    typ: Any, changes: dict[str, Any], subject: str, session: str, upstream: Upstream
) -> None:
    """It says until when its id must be remembered."""
    claims = logout_claims(upstream, **changes)
    logout = read(upstream.client(), upstream.sign(claims, typ=typ))
    assert (logout.provider, logout.issuer, logout.subject, logout.session_id) == ("upstream", upstream.url, subject, session)
    assert (logout.token_id, logout.issued_at_ms) == ("logout-1", claims["iat"] * 1000)
    assert logout.expires_at_ms == (claims["exp"] + 60) * 1000


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"}, {"iss": ABSENT}, {"aud": "other"}, {"aud": ["other"]}, {"aud": ABSENT},
        {"nonce": "x"}, {"nonce": None},
        {"events": ABSENT}, {"events": {}}, {"events": {EVENT: None}}, {"events": {EVENT: True}}, {"events": [EVENT]},
        {"events": EVENT},
        {"events": {"http://schemas.openid.net/event/other": {}}}, {"jti": ABSENT}, {"jti": ""}, {"jti": 5}, {"jti": "x" * 300},
        {"sub": ABSENT, "sid": ABSENT}, {"sid": ""}, {"sid": 5}, {"sid": "x" * 300}, {"sub": ""}, {"sub": None}, {"iat": ABSENT},
        {"iat": "x"}, {"exp": ABSENT}, {"exp": "x"}, {"nbf": 9_999_999_999},
    ],
    ids=str,
)  # fmt: skip
def test_other_tokens_end_nothing(changes: dict[str, Any], upstream: Upstream) -> None:
    """Among them ID tokens, and tokens of other clients."""
    assert refusal(upstream, upstream.sign(logout_claims(upstream, **changes), typ="logout+jwt"))


def test_an_id_token_ends_nothing(upstream: Upstream) -> None:
    """Every client of the provider has ID tokens of its people."""
    upstream.nonce = "x"
    assert refusal(upstream, upstream.sign(upstream.id_claims()))
    upstream.claims = {"nonce": ABSENT}
    assert "events" in refusal(upstream, upstream.sign(upstream.id_claims()))


@pytest.mark.parametrize("typ", ["at+jwt", "dpop+jwt", "x"])
def test_another_kind_of_token_ends_nothing(typ: str, upstream: Upstream) -> None:
    """Though its claims are right."""
    assert "typ" in refusal(upstream, upstream.sign(logout_claims(upstream), typ=typ))


@pytest.mark.parametrize(("later_s", "is_valid"), [(0, True), (150, True), (200, False), (-30, True), (-90, False)])
def test_the_time_of_a_logout(later_s: int, is_valid: bool, upstream: Upstream) -> None:
    """From a minute before `iat` to a minute after `exp`."""
    token = upstream.sign(logout_claims(upstream))
    if is_valid:
        assert read(upstream.client(), token, later_s=later_s).subject == "ada-1"
    else:
        assert "time" in refusal(upstream, token, later_s=later_s)


def test_an_old_logout_ends_nothing_whatever_its_end(upstream: Upstream) -> None:
    """So its id need not be remembered for longer than ten minutes."""
    token = upstream.sign(logout_claims(upstream, exp=now_s() + 10**6))
    logout = read(upstream.client(), token)
    assert logout.expires_at_ms == logout.issued_at_ms + 600_000
    assert "time" in refusal(upstream, token, later_s=601)


def test_a_forged_logout_ends_nothing_and_costs_little(upstream: Upstream) -> None:
    """Everybody can send one. A flood of unknown key ids causes one request for keys."""
    client = upstream.client()
    read(client, upstream.sign(logout_claims(upstream)))
    upstream.signing = make_key("ES256")
    upstream.algorithm = "ES256"
    for number in range(20):
        upstream.kid = f"forged-{number}"
        with pytest.raises(InvalidToken):
            read(client, upstream.sign(logout_claims(upstream)))
    upstream.algorithm = "RS256"
    assert (upstream.count(JWKS), upstream.count(DISCOVERY)) == (1, 1)
    with pytest.raises(InvalidToken):
        read(client, "x" * 9000)


def test_a_flood_of_unknown_keys_causes_one_request(upstream: Upstream) -> None:
    """Key ids that could be newer than the set."""
    client = upstream.client()
    read(client, upstream.sign(logout_claims(upstream)))
    for number in range(20):
        upstream.kid = f"forged-{number}"
        with pytest.raises(InvalidToken):
            read(client, upstream.sign(logout_claims(upstream)))
    assert upstream.count(JWKS) == 2


def test_an_outage_of_the_keys_is_no_refusal(upstream: Upstream) -> None:
    """So the provider sends the token again."""
    upstream.answers[JWKS] = html(503)
    with pytest.raises(ProviderUnavailable):
        read(upstream.client(), upstream.sign(logout_claims(upstream)))
