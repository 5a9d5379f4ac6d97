"""Claims and token answers of any content: they are refused by one error, or what is read from them is bounded."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.crypto.foreign_tokens import ForeignToken
from handstamp.domain.provider import ProviderSettings
from handstamp.errors import InvalidToken, ProviderUnavailable
from handstamp.relying_party import id_token
from handstamp.relying_party.id_token import Expected, check_id_token
from handstamp.relying_party.issuers import IssuerRule
from handstamp.relying_party.logout import EVENT, read_logout_token
from handstamp.relying_party.tokens import read_tokens

NOW_S = 1_800_000_000
RULE = IssuerRule(ProviderSettings(name="p", preset="", label="P", issuer="https://id.example", client_id="us"))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)
SOUND: dict[str, Any] = {
    "iss": "https://id.example",
    "aud": "us",
    "sub": "ada",
    "iat": NOW_S,
    "exp": NOW_S + 60,
    "nonce": "n",
    "jti": "1",
    "events": {EVENT: {}},
}
NAMES = [*SOUND, "azp", "nbf", "at_hash", "auth_time", "amr", "sid", "email", "email_verified", "name", "tid"]
CHANGES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)


@given(changes=CHANGES)
def test_an_id_token_of_any_content(changes: dict[str, Any]) -> None:
    """If it passes, all that decides is as it must be, and what is only described is bounded."""
    claims = SOUND | changes
    expected = Expected(RULE, "us", "n", "access-token", None)
    with suppress(InvalidToken):
        check_id_token(ForeignToken(claims, "RS256", ""), expected, now_s=NOW_S)
        assert (claims["iss"], claims["nonce"]) == ("https://id.example", "n")
        assert claims["aud"] == "us" or "us" in claims["aud"]
        assert 0 < len(id_token.read_subject(claims)) <= 255
    assert len(id_token.read_email(claims)) <= 254
    name = id_token.read_name(claims.get("name"))
    assert len(name) <= 200
    assert name.isprintable()
    assert all(len(method) <= 32 for method in id_token.read_methods(claims))
    assert id_token.says_true(claims.get("email_verified")) in (True, False)
    id_token.read_auth_time(claims)


@given(changes=CHANGES, nonce=st.booleans())
def test_a_logout_token_of_any_content(changes: dict[str, Any], nonce: bool) -> None:
    """If it passes, it names a person or a session, and an id that must be remembered for minutes."""
    claims = {name: value for name, value in (SOUND | changes).items() if nonce or name != "nonce"}
    with suppress(InvalidToken):
        logout = read_logout_token(ForeignToken(claims, "RS256", ""), RULE, provider="p", client_id="us", now_s=NOW_S)
        assert "nonce" not in claims
        assert logout.subject or logout.session_id
        assert logout.token_id
        assert logout.expires_at_ms <= (NOW_S + 660) * 1000


@given(
    members=st.dictionaries(
        st.sampled_from(["access_token", "token_type", "refresh_token", "expires_in", "scope"]),
        st.one_of(VALUES, st.sampled_from(["Bearer", "bearer", "token-1", "3600", 3600])),
    )
)
def test_a_token_answer_of_any_content(members: dict[str, Any]) -> None:
    """If it passes, there is a bearer token that can be sent in a header."""
    with suppress(ProviderUnavailable):
        tokens = read_tokens(members, now_ms=NOW_S * 1000)
        assert members["token_type"].lower() == "bearer"
        for token in (tokens.access_token, tokens.refresh_token):
            assert token.isascii()
            assert " " not in token
            assert "\n" not in token
        assert tokens.access_token
        assert tokens.expires_at_ms is None or tokens.expires_at_ms >= NOW_S * 1000


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (60, 60),
        (60.9, 60),
        ("60", 60),
        (0, 0),
        (-5, None),
        (1e300, None),
        (True, None),
        ("1e9", None),
        ("9" * 400, None),
        (None, None),
    ],
)
def test_the_life_of_an_access_token(expires_in: Any, seconds: int | None) -> None:
    """A number of seconds, also as text; anything else says nothing."""
    tokens = read_tokens({"access_token": "a", "token_type": "Bearer", "expires_in": expires_in}, now_ms=0)
    assert tokens.expires_at_ms == (None if seconds is None else seconds * 1000)
