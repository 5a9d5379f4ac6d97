"""The checks of claims: each claim decides by itself, when all others are right."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from handstamp.domain.claims import (
    AccessClaims,
    RefreshClaims,
    require_access,
    require_access_ignoring_time,
    require_refresh_ignoring_time,
)
from handstamp.errors import ExpiredToken, InvalidToken

ISSUER, AUDIENCE, OTHER = "https://auth.example.com", "https://api.example.com", "https://other.example"
NOW_S, LIFETIME_S, LEEWAY_S = 1_800_000_000, 900, 5
ACCESS = AccessClaims(
    iss=ISSUER, aud=AUDIENCE, sub="ada-id", client_id="handstamp", iat=NOW_S, exp=NOW_S + LIFETIME_S, jti="j", sid="s",
    auth_time=NOW_S,
)  # fmt: skip
REFRESH = RefreshClaims(iss=ISSUER, aud=ISSUER, sub="ada-id", sid="s", gen=0, iat=NOW_S, exp=NOW_S + LIFETIME_S)


def why_refused(claims: AccessClaims, *, audience: tuple[str, ...] = (AUDIENCE,), now_s: int = NOW_S) -> str | None:
    """Return why the claims of an access token are refused, or None if they are accepted."""
    try:
        require_access(claims, issuer=ISSUER, audience=audience, now_s=now_s, leeway_s=LEEWAY_S)
    except InvalidToken as refused:
        return refused.why
    return None


def changed(claims: Any, **changes: Any) -> Any:
    """Return a copy of the claims with changes."""
    return msgspec.structs.replace(claims, **changes)


def test_valid_claims_are_accepted() -> None:
    """With one audience and with several, of which one is enough."""
    assert why_refused(ACCESS) is None
    assert why_refused(changed(ACCESS, aud=(OTHER, AUDIENCE))) is None
    assert why_refused(ACCESS, audience=(OTHER, AUDIENCE)) is None
    require_access_ignoring_time(ACCESS, issuer=ISSUER, audience=(AUDIENCE,))
    require_refresh_ignoring_time(REFRESH, issuer=ISSUER)


@pytest.mark.parametrize(
    "aud", [OTHER, AUDIENCE + "/", AUDIENCE[:-1], "", (), (OTHER,), (OTHER, AUDIENCE + "/"), (AUDIENCE[:-1], "")]
)
def test_an_access_token_for_another_audience_is_refused(aud: str | tuple[str, ...]) -> None:
    """Although its issuer is right; a part of a name is not the name (RFC 9068 §4)."""
    assert why_refused(changed(ACCESS, aud=aud)) == "aud names another audience"
    with pytest.raises(InvalidToken) as refused:
        require_access_ignoring_time(changed(ACCESS, aud=aud), issuer=ISSUER, audience=(AUDIENCE,))
    assert refused.value.why == "aud names another audience"


@pytest.mark.parametrize("iss", [OTHER, ISSUER + "/", ISSUER[:-1], ""])
def test_an_access_token_of_another_issuer_is_refused(iss: str) -> None:
    """Although its audience is right."""
    assert why_refused(changed(ACCESS, iss=iss)) == "iss is another issuer"


@pytest.mark.parametrize("name", ["iss", "aud"])
@pytest.mark.parametrize("value", [OTHER, ISSUER + "/", ISSUER[:-1], AUDIENCE, ""])
def test_a_refresh_token_needs_both_issuer_and_audience(name: str, value: str) -> None:
    """Each of the two alone is enough to refuse it: a refresh token is for its issuer only."""
    with pytest.raises(InvalidToken) as refused:
        require_refresh_ignoring_time(changed(REFRESH, **{name: value}), issuer=ISSUER)
    assert refused.value.why == "iss or aud is another issuer"


@pytest.mark.parametrize(
    ("lifetime_s", "is_accepted"), [(-1, False), (0, False), (1, True), (900, True), (3600, True), (3601, False), (10**9, False)]
)
def test_an_access_token_lives_between_a_second_and_an_hour(lifetime_s: int, is_accepted: bool) -> None:
    """A longer lifetime would outlive the revocations that verifiers remember (R39)."""
    claims = changed(ACCESS, exp=NOW_S + lifetime_s)
    assert why_refused(claims) == (None if is_accepted else "exp is not within an hour after iat")


@pytest.mark.parametrize("name", ["iat", "nbf"])
@pytest.mark.parametrize(("ahead_s", "is_accepted"), [(-1, True), (0, True), (LEEWAY_S, True), (LEEWAY_S + 1, False)])
def test_a_token_from_the_future_is_refused(name: str, ahead_s: int, is_accepted: bool) -> None:
    """The leeway allows for another clock, and nothing beyond it."""
    claims = changed(ACCESS, **{name: NOW_S + ahead_s})
    assert why_refused(claims) == (None if is_accepted else f"{name} is in the future")


@pytest.mark.parametrize(
    ("later_s", "is_accepted"), [(0, True), (LIFETIME_S + LEEWAY_S - 1, True), (LIFETIME_S + LEEWAY_S, False)]
)
def test_only_an_otherwise_valid_token_is_expired(later_s: int, is_accepted: bool) -> None:
    """A client refreshes after `ExpiredToken`; after anything else that would not help."""
    now_s = NOW_S + later_s
    if is_accepted:
        assert why_refused(ACCESS, now_s=now_s) is None
    else:
        with pytest.raises(ExpiredToken):
            why_refused(ACCESS, now_s=now_s)
        assert why_refused(changed(ACCESS, aud=OTHER), now_s=now_s) == "aud names another audience"


def test_claims_of_the_application_stand_beside_ours_and_never_replace_them() -> None:
    """Also if a grant were made in another way than by `parse_grant`, which refuses such names."""
    claims = changed(ACCESS, extra={"plan": "pro", "sub": "eve-id"})
    assert claims.to_members() == {**ACCESS.to_members(), "plan": "pro"}


def test_a_member_that_is_not_ours_is_an_extra_claim() -> None:
    """A reader gets our claims as fields and the others in `extra`."""
    members = {**ACCESS.to_members(), "plan": "pro"}
    assert ACCESS.with_rest_of(members).extra == {"plan": "pro"}
    assert ACCESS.with_rest_of(ACCESS.to_members()) is ACCESS
    assert changed(ACCESS, extra={"old": 1}).with_rest_of(ACCESS.to_members()) == ACCESS


def test_a_member_named_like_the_placeholder_is_no_extra_claim() -> None:
    """The name under which msgspec keeps `extra` means nothing in a token."""
    read = msgspec.convert({**ACCESS.to_members(), "(rest)": {"sub": "eve-id"}}, AccessClaims)
    assert read.with_rest_of({**ACCESS.to_members(), "(rest)": {"sub": "eve-id"}}).extra == {}


def test_a_copy_shares_no_mutable_state() -> None:
    """A verifier keeps verified claims; an application that changes its `extra` changes only its own."""
    original = changed(ACCESS, extra={"tenants": ["a"]})
    copied = original.copy()
    copied.extra["tenants"].append("b")
    copied.extra["plan"] = "pro"
    assert original.extra == {"tenants": ["a"]}
    plain = ACCESS.copy()
    plain.extra["plan"] = "pro"
    assert ACCESS.extra == {}


def test_acr_is_a_claim_only_where_the_session_has_one() -> None:
    """RFC 9068 §2.2.1: it is left out by default, and is no claim that an application could set."""
    assert "acr" not in ACCESS.to_members()
    assert changed(ACCESS, acr="mfa").to_members()["acr"] == "mfa"
