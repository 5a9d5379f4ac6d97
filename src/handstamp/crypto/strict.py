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
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_TO_STANDARD = str.maketrans("-_", "+/")
_T = TypeVar("_T")


def base64url_encode(data: bytes) -> str:
    """Return `data` in base64url without padding (RFC 7515 §2)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii").rstrip("=").replace("+", "-").replace("/", "_")


def base64url_decode(text: str) -> bytes:
    """Return what `text` spells; raise `InvalidToken` for padding, white space, other characters or bits left over."""
    if _BASE64URL.fullmatch(text) is None:
        raise InvalidToken("a segment is empty or not base64url")
    try:
        data = binascii.a2b_base64(text.translate(_TO_STANDARD) + "=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise InvalidToken("a segment has an impossible length") from None
    if len(text) % 4 and base64url_encode(data[len(data) // 3 * 3 :]) != text[len(text) // 4 * 4 :]:
        raise InvalidToken("a segment has stray bits behind its last byte")
    return data


def json_decode(data: bytes, shape: type[_T]) -> _T:
    """Return the JSON object in `data` as a `shape`, a msgspec struct.

    Raises `InvalidToken` for anything but UTF-8, for nesting deeper than `MAX_DEPTH`, for a member that stands there twice
    (RFC 7519 §4 allows a reader to take the last; we refuse), for NaN, and for values of the wrong type.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidToken("JSON is not UTF-8") from None
    _refuse_deep(text)
    try:
        # msgspec gives the values; json is asked only whether any member stands there twice, which msgspec cannot tell.
        value = msgspec.json.decode(data, type=shape)
        _TELLS_DUPLICATES.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise InvalidToken(f"JSON does not fit: {problem}") from None
    return value


def _refuse_deep(text: str) -> None:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    depth = 0
    for character in re.sub(r'"(?:[^"\\]|\\.)*"', "", text, flags=re.DOTALL):
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
