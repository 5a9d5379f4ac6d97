"""What an application may put into tokens, as a table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.crypto import jws
from handstamp.crypto.jwk import KeySet, SigningKey
from handstamp.domain.claims import ACCESS_TYPE, AccessClaims
from handstamp.domain.grant import MAX_BYTES, NOTHING, REGISTERED, Grant, parse_grant, parse_subject
from handstamp.errors import InvalidFields
from tests.builders import NOW_MS

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=5), inner, max_size=3),
    max_leaves=8,
)


def problems_with(**fields: Any) -> list[str]:
    """Return the names of the fields that are refused."""
    with pytest.raises(InvalidFields) as refused:
        parse_grant(**fields)
    return [name for name, _ in refused.value.fields]


@pytest.mark.parametrize("name", sorted(REGISTERED))
def test_registered_claims_cannot_be_overwritten(name: str) -> None:
    """An application cannot set the claims that a verifier relies on."""
    assert problems_with(claims={name: "x"}) == [f"claims.{name}"]


def test_every_claim_of_ours_is_registered() -> None:
    """A claim that is added to our tokens later must be reserved too."""
    ours = {field.encode_name for field in msgspec.structs.fields(AccessClaims)} - {"(rest)"}
    assert ours <= REGISTERED


@pytest.mark.parametrize("name", ["", "a b", "a\n", "é", "x" * 129, "(rest)", 5, None])
def test_a_claim_has_a_plain_name(name: Any) -> None:
    """Names appear in logs and pages, and other software compares them."""
    with pytest.raises(InvalidFields):
        parse_grant(claims={name: 1})


@pytest.mark.parametrize(
    "value",
    [object(), b"bytes", {1, 2}, float("nan"), float("inf"), 2**53, -(2**53), {"a": {1: 2}}, [object()], "\ud800", {"\ud800": 1}],
)
def test_values_that_are_not_json_are_refused(value: Any) -> None:
    """Including numbers that JSON parsers read differently (RFC 8259 §6)."""
    assert problems_with(claims={"a": value}) == ["claims.a"]


def test_nesting_and_size_are_bounded() -> None:
    """A token travels with every request and must fit into a cookie."""
    deep: Any = "x"
    for _ in range(9):
        deep = [deep]
    assert problems_with(claims={"a": deep}) == ["claims.a"]
    assert problems_with(claims={"a": "x" * MAX_BYTES}) == ["claims"]
    assert problems_with(roles=["x" * MAX_BYTES]) == ["claims"]
    assert parse_grant(claims={"a": deep[0]}).claims == {"a": deep[0]}
    room = MAX_BYTES - len(b'["",[],{"a":""}]')
    assert parse_grant(claims={"a": "x" * room}).claims == {"a": "x" * room}
    assert problems_with(claims={"a": "x" * (room + 1)}) == ["claims"]


@pytest.mark.parametrize("scope", [" a", "a ", "a  b", "a\tb", 'a"b', "a\\b", "é", 5, None, ["a"]])
def test_a_scope_is_words_with_one_space_between(scope: Any) -> None:
    """RFC 6749 §3.3 defines the characters."""
    assert problems_with(scope=scope) == ["scope"]


@pytest.mark.parametrize("roles", ["admin", [5], [""], {"admin": 1}, None])
def test_roles_are_a_list_of_texts(roles: Any) -> None:
    """A single text would be read as a list of its letters."""
    assert problems_with(roles=roles) == ["roles"]


def test_all_errors_are_reported_together() -> None:
    """So the author of a hook can fix all of them at once."""
    assert problems_with(scope=" ", roles=[1], claims={"sub": 1, "f": object()}) == ["scope", "roles", "claims.sub", "claims.f"]


def test_grants_merge_and_the_later_one_wins() -> None:
    """Precedence, lowest first: account, session start, hook. Nothing appears twice."""
    first = parse_grant(scope="a b", roles=["x"], claims={"plan": "free", "tenant": 1})
    both = first + parse_grant(scope="b c", roles=["x", "y"], claims={"plan": "pro"})
    assert both == Grant(scope="a b c", roles=("x", "y"), claims={"plan": "pro", "tenant": 1})
    assert first + NOTHING == first


@pytest.mark.parametrize("subject", ["", "x" * 256, "x" * 10_000, "a\nb", "a\0", "a\u202eb", "\x7f", 42, None, b"42"])
def test_a_subject_is_printable_text(subject: Any) -> None:
    """It appears in tokens, logs and tables, so control characters and long texts are refused."""
    with pytest.raises(InvalidFields, match="subject"):
        parse_subject(subject)


@pytest.mark.parametrize("subject", ["42", "x" * 255, "Zoë", "a b", "google-oauth2|1", "'; DROP TABLE session; --"])
def test_any_other_text_is_a_subject(subject: str) -> None:
    """Applications name their users as they like."""
    assert parse_subject(subject) == subject


@given(claims=st.dictionaries(st.text("abcdef_:/.-", min_size=1, max_size=10), JSON, max_size=4))
def test_granted_claims_survive_signing(claims: dict[str, Any]) -> None:
    """The claims survive the token unchanged, and so do ours beside them."""
    key = SigningKey.generate("HS256")
    said = AccessClaims(
        iss="i", aud="a", sub="s", client_id="c", iat=NOW_MS // 1000, exp=NOW_MS // 1000 + 1, jti="j", sid="d",
        auth_time=1, extra=parse_grant(claims=claims).claims,
    )  # fmt: skip
    read = jws.verify(
        jws.sign(said.to_members(), key, typ=ACCESS_TYPE), KeySet([key.public]), typ=ACCESS_TYPE, shape=AccessClaims
    )
    assert read == said
