"""Parse base64url and JSON strictly.

Two lenient parsers can read different values from one token, and an attacker can use the difference. So every segment has one
spelling, and every member has one value.
"""

from __future__ import annotations

import binascii
import functools
import json
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import msgspec

from ..errors import InvalidToken

MAX_DEPTH = 16
"""How deep the objects and arrays of a token may nest. The claims object itself is level 1."""
_FROM_STANDARD = bytes.maketrans(b"+/", b"-_")
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/***")
"""Translates base64url to standard base64; "+", "/" and "=" become "*", which binascii rejects."""
_PADDING = {0: b"", 2: b"==", 3: b"="}
"""What standard base64 adds, by the number of characters beyond the last group of four."""
_LAST_CHARACTERS = {2: frozenset(b"AQgw"), 3: frozenset(b"AEIMQUYcgkosw048")}
"""The valid last characters of a text with two or three characters beyond the last group of four: their unused bits are 0."""
_encode = msgspec.json.Encoder().encode
_make_decoder: Callable[[Any], msgspec.json.Decoder[Any]] = functools.lru_cache(64)(msgspec.json.Decoder)
"""Returns the decoder of a shape, which is made once."""
_T = TypeVar("_T")


def base64url_encode(data: bytes | bytearray) -> str:
    """Return `data` in base64url without padding (RFC 7515 §2)."""
    return binascii.b2a_base64(data, newline=False).translate(_FROM_STANDARD, b"=").decode("ascii")


def base64url_decode(text: str | bytes) -> bytes:
    """Return the bytes of base64url without padding (RFC 7515 §2).

    Raises:
        InvalidToken: If `text` is empty, has padding, white space or other characters, or if its unused last bits are not 0.
    """
    left = len(text) % 4
    if left == 1:
        raise InvalidToken("a segment has an impossible length")
    try:
        if isinstance(text, str):
            text = text.encode("ascii")
        data = binascii.a2b_base64(text.translate(_TO_STANDARD) + _PADDING[left], strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        raise InvalidToken("a segment is empty or not base64url") from None
    if not data:
        raise InvalidToken("a segment is empty or not base64url")
    if left and text[-1] not in _LAST_CHARACTERS[left]:
        raise InvalidToken("a segment has non-zero bits after its last byte")
    return data


def json_decode(data: bytes, shape: type[_T]) -> _T:
    """Return the JSON object in `data` as a `shape`.

    Args:
        data: JSON as UTF-8.
        shape: A msgspec struct, or another type that msgspec decodes. If it has a method `with_rest_of`, that is called with all
            members, so that it can keep those that are not its fields.

    Raises:
        InvalidToken: If `data` is not UTF-8 or not JSON, is nested deeper than `MAX_DEPTH`, contains NaN, an infinity or a value
            of the wrong type, or has two members of one name. (RFC 7519 §4 lets a parser take the last; we refuse.)
    """
    try:
        value: _T = _make_decoder(shape).decode(data)
        # Fast path: the bytes equal our own encoding, so no member is duplicate; and the number of brackets bounds the depth.
        if _encode(value) == data and data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
            return value
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        _decode_all(data)
        raise InvalidToken(f"JSON is invalid: {problem}") from None
    members = _decode_all(data)
    with_rest_of = getattr(value, "with_rest_of", None)
    return value if with_rest_of is None else with_rest_of(members)


def _decode_all(data: bytes) -> Any:
    """Return the JSON value in `data`. Raises `InvalidToken` also for what msgspec accepts, such as a duplicate member."""
    try:
        text = data.decode("utf-8")
        _refuse_deep(text)
        return _STRICT_DECODER.decode(text)
    except UnicodeDecodeError:
        raise InvalidToken("JSON is not UTF-8") from None
    except (ValueError, RecursionError) as problem:
        raise InvalidToken(f"JSON is invalid: {problem}") from None


def _refuse_deep(text: str) -> None:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    depth = 0
    # The pattern also matches a string without an end. Otherwise each quote would be searched to the end: quadratic time.
    for character in re.sub(r'"(?:[^"\\]|\\.)*+"?', "", text, flags=re.DOTALL):
        depth += (character in "{[") - (character in "}]")
        if depth > MAX_DEPTH:
            raise InvalidToken("JSON is nested too deeply")


def _refuse_duplicates(members: list[tuple[str, Any]]) -> dict[str, Any]:
    distinct = dict(members)
    if len(distinct) != len(members):
        raise ValueError("a member appears twice")
    return distinct


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_STRICT_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
