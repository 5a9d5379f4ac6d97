"""Reading base64url and JSON without forgiving anything.

Two readers that forgive differently disagree about what a token says, and that difference is where forgeries live. So there is
one spelling of every segment, and one value of every member.
"""

from __future__ import annotations

import binascii
import json
import re
from typing import Any, NoReturn, TypeVar

import msgspec

from ..errors import InvalidToken

MAX_DEPTH = 16
"""How deep objects and arrays in a token may nest."""
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/***")
"""The standard alphabet for binascii, in which what is not of base64url's becomes what is of neither."""
_LAST = {2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048")}
"""With two or three characters left, those that the last one can be: its lower bits have no byte to go to."""
_encode = msgspec.json.Encoder().encode
_T = TypeVar("_T")


def base64url_encode(data: bytes) -> str:
    """Return `data` in base64url without padding (RFC 7515 §2)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii").rstrip("=").replace("+", "-").replace("/", "_")


def base64url_decode(text: str) -> bytes:
    """Return what `text` spells; raise `InvalidToken` for padding, white space, other characters or bits left over."""
    left = len(text) % 4
    try:
        if not text:
            raise InvalidToken("a segment is empty or not base64url")
        if left == 1:
            raise InvalidToken("a segment has an impossible length")
        data = binascii.a2b_base64(text.encode("ascii").translate(_TO_STANDARD) + b"=" * (-left % 4), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        raise InvalidToken("a segment is empty or not base64url") from None
    if left and text[-1] not in _LAST[left]:
        raise InvalidToken("a segment has stray bits behind its last byte")
    return data


def json_decode(data: bytes, shape: type[_T]) -> _T:
    """Return the JSON object in `data` as a `shape`, a msgspec struct; one with `with_rest_of` is given its other members too.

    Raises `InvalidToken` for anything but UTF-8, for nesting deeper than `MAX_DEPTH`, for a member that stands there twice
    (RFC 7519 §4 allows a reader to take the last; we refuse), for NaN, and for values of the wrong type.
    """
    try:
        value = msgspec.json.decode(data, type=shape)
        # As we write it ourselves, to the byte: so nothing stands there twice. And nothing is deep where little is opened.
        if _encode(value) == data and data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
            return value
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        _all_members(data)
        raise InvalidToken(f"JSON does not fit: {problem}") from None
    members = _all_members(data)
    with_rest_of = getattr(value, "with_rest_of", None)
    return value if with_rest_of is None else with_rest_of(members)


def _all_members(data: bytes) -> Any:
    """Return what stands there; raise `InvalidToken` for what msgspec passes over, as a member that comes twice."""
    try:
        text = data.decode("utf-8")
        _refuse_deep(text)
        return _TELLS_DUPLICATES.decode(text)
    except UnicodeDecodeError:
        raise InvalidToken("JSON is not UTF-8") from None
    except (ValueError, RecursionError) as problem:
        raise InvalidToken(f"JSON does not fit: {problem}") from None


def _refuse_deep(text: str) -> None:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    depth = 0
    # A string that does not end is taken too: to look for its end behind each quote would take the square of the time.
    for character in re.sub(r'"(?:[^"\\]|\\.)*+"?', "", text, flags=re.DOTALL):
        depth += (character in "{[") - (character in "}]")
        if depth > MAX_DEPTH:
            raise InvalidToken("JSON is nested too deep")


def _refuse_duplicates(members: list[tuple[str, Any]]) -> dict[str, Any]:
    distinct = dict(members)
    if len(distinct) != len(members):
        raise ValueError("a member stands there twice")
    return distinct


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_TELLS_DUPLICATES = json.JSONDecoder(object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
