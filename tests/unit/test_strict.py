"""The strict parsers of base64url and JSON, at their limits."""

from __future__ import annotations

import base64
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp.crypto.strict import MAX_DEPTH, base64url_decode, base64url_encode, json_decode
from handstamp.errors import InvalidToken

ALPHABET = string.ascii_letters + string.digits + "-_"


class Narrow(msgspec.Struct):
    """A struct that ignores all members but one, so that the fast path does not apply to them."""

    a: int = 0


class Keeping(msgspec.Struct):
    """A struct that is given all members."""

    a: int = 0
    rest: dict[str, Any] = {}

    def with_rest_of(self, members: dict[str, Any]) -> Keeping:
        """Return a copy with the members."""
        return Keeping(self.a, members)


def why_refused(data: bytes, shape: type[Any]) -> str | None:
    """Return why JSON is refused, or None if it is accepted."""
    try:
        json_decode(data, shape)
    except InvalidToken as refused:
        return refused.why
    return None


def nested(levels: int, opening: str, space: str = "") -> bytes:
    """Return an object of so many levels, written as we write it ourselves unless there is white space."""
    closing = "]" if opening.endswith("[") else "}"
    return f'{{"x":{space}{opening * (levels - 1)}1{closing * (levels - 1)}}}'.encode()


@pytest.mark.parametrize("space", ["", " "], ids=["as we write it", "with white space"])
@pytest.mark.parametrize("opening", ["[", '{"x":'], ids=["lists", "objects"])
@pytest.mark.parametrize("shape", [dict[str, Any], Narrow, Keeping])
def test_sixteen_levels_are_accepted_and_seventeen_are_not(shape: type[Any], opening: str, space: str) -> None:
    """The limit is the same whether the bytes are our own encoding or not, and whether members are kept or ignored (CWE-674)."""
    assert MAX_DEPTH == 16
    assert why_refused(nested(MAX_DEPTH, opening, space), shape) is None
    assert why_refused(nested(MAX_DEPTH + 1, opening, space), shape) == "JSON is nested too deeply"


@pytest.mark.parametrize("shape", [dict[str, Any], Narrow, Keeping])
def test_a_wide_object_is_not_a_deep_one(shape: type[Any]) -> None:
    """Only brackets that are open at once count, and those within strings never do."""
    many = ",".join(f'"{number}":[{{}},[1],"[[[[{{\\""]' for number in range(50))
    assert why_refused(f"{{{many}}}".encode(), shape) is None
    for levels, why in ((MAX_DEPTH, None), (MAX_DEPTH + 1, "JSON is nested too deeply")):
        deep_at_the_end = f'{{{many},"x":{"[" * (levels - 1)}{"]" * (levels - 1)}}}'
        assert why_refused(deep_at_the_end.encode(), shape) == why


@pytest.mark.parametrize("shape", [dict[str, Any], Narrow, Keeping])
@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"a":1, "\\u0061":1}',
        b'{"a":1,"x":{"b":1,"b":1}}',
        b'{"a":1,"x":[{"b":1,"b":1}]}',
    ],
)
def test_a_member_that_appears_twice_is_refused_at_any_level(data: bytes, shape: type[Any]) -> None:
    """Also where both values are equal, and where one name is spelled with an escape (RFC 7519 §4, RFC 8725 §2.6)."""
    assert why_refused(data, shape) == "JSON is invalid: a member appears twice"


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_not_json(constant: str) -> None:
    """RFC 8259 §6 has no such numbers."""
    assert (why_refused(f'{{"x":{constant}}}'.encode(), Narrow) or "").startswith("JSON is invalid")


def test_members_are_given_to_a_struct_that_keeps_them() -> None:
    """And are not looked at for one that does not."""
    assert json_decode(b'{"a": 1, "b": [2]}', Keeping).rest == {"a": 1, "b": [2]}
    assert json_decode(b'{"a": 1, "b": [2]}', Narrow) == Narrow(1)


def test_invalid_utf_8_is_refused() -> None:
    """In a member that is ignored, too."""
    assert why_refused(b'{"a": 1, "b": "\xff"}', Narrow) == "JSON is not UTF-8"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a segment is empty or not base64url"),
        ("=", "a segment has an impossible length"),
        ("A", "a segment has an impossible length"),
        ("AAAAA", "a segment has an impossible length"),
        ("AA==", "a segment is empty or not base64url"),
        ("AA=A", "a segment is empty or not base64url"),
        ("A+AA", "a segment is empty or not base64url"),
        ("A/AA", "a segment is empty or not base64url"),
        ("AA A", "a segment is empty or not base64url"),
        ("AAA\n", "a segment is empty or not base64url"),
        ("AAAé", "a segment is empty or not base64url"),
        ("AB", "a segment has non-zero bits after its last byte"),
        ("AAB", "a segment has non-zero bits after its last byte"),
    ],
)
def test_invalid_base64url_is_refused(text: str, why: str) -> None:
    """Empty, padded, of another alphabet, with white space, or in a second spelling (RFC 7515 §2)."""
    with pytest.raises(InvalidToken) as refused:
        base64url_decode(text)
    assert refused.value.why == why


def decoded(text: str) -> bytes | None:
    """Return the bytes of a text, or None if it is refused."""
    try:
        return base64url_decode(text)
    except InvalidToken:
        return None


@given(data=st.binary(min_size=1, max_size=80))
def test_base64url_has_one_spelling(data: bytes) -> None:
    """Encoding and decoding agree with the standard library, and no other last character spells the same bytes."""
    text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert base64url_encode(data) == text
    assert [last for last in ALPHABET if decoded(text[:-1] + last) == data] == [text[-1]]
