"""The bounds of the CBOR (RFC 8949) that authenticators write, checked before a library decodes it.

A decoder follows tags. With those for shared values, 400 bytes name 2^40 items, which it would hash, or write out again.
Authenticators use none: their form is that of CTAP 2.2 §8, with definite lengths, the shortest heads and at most four levels.
"""

from __future__ import annotations

MAX_DEPTH = 4
MAX_ITEMS = 256
"""Items of one value. Those of real authenticators have about twenty."""
_HEADER_BYTES = 37
_MODEL_BYTES = 16
_HAS_KEY, _HAS_EXTENSIONS = 0x40, 0x80
_SHORT_EDDSA = bytes.fromhex("a301634f4b500327206745643235353139")
"""How some authenticators begin an EdDSA key of four members: with the head of a map of three. The library mends it."""
_BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = 2, 3, 4, 5, 6, 7
_SMALLEST = {24: 24, 25: 1 << 8, 26: 1 << 16}
"""By the length of a head: what does not fit into a shorter one. A longer head than these is never needed in 16 KB."""
_FALSE, _UNDEFINED = 20, 23


def require_plain(data: bytes) -> None:
    """Raise `ValueError` unless `data` is one value of the form that authenticators use."""
    if _find_end(data, 0) != len(data):
        raise ValueError("CBOR: bytes after the value")


def require_plain_authenticator_data(data: bytes) -> None:
    """Raise `ValueError` unless all CBOR in authenticator data is of that form (Web Authentication Level 3 §6.1)."""
    if len(data) < _HEADER_BYTES:
        raise ValueError("authenticator data: too short")
    flags, end = data[32], _HEADER_BYTES
    if flags & _HAS_KEY:
        start = end + _MODEL_BYTES
        end = start + 2 + int.from_bytes(data[start : start + 2], "big")
        if data.startswith(_SHORT_EDDSA, end):
            data = data[:end] + b"\xa4" + data[end + 1 :]
        end = _find_end(data, end)
    if flags & _HAS_EXTENSIONS:
        end = _find_end(data, end)
    if end != len(data):
        raise ValueError("authenticator data: bytes after the values")


def _find_end(data: bytes, at: int) -> int:
    """Return where the value that begins at `at` ends. Raises `ValueError` if it is not of that form."""
    missing = [1]  # items, in each array and map that is open
    for _ in range(MAX_ITEMS):
        while missing and not missing[-1]:
            missing.pop()
        if not missing:
            return at
        missing[-1] -= 1
        kind, number, at = _read_head(data, at)
        if kind in (_BYTES, _TEXT):
            at += number
        elif kind in (_ARRAY, _MAP):
            missing.append(2 * number if kind == _MAP else number)
        if at > len(data) or len(missing) > MAX_DEPTH + 1:
            raise ValueError("CBOR: too short or too deep")
    raise ValueError("CBOR: too many items")


def _read_head(data: bytes, at: int) -> tuple[int, int, int]:
    """Return the major type of an item, its number, and where its content begins (RFC 8949 §3)."""
    if at >= len(data):
        raise ValueError("CBOR: too short")
    kind, number, at = data[at] >> 5, data[at] & 31, at + 1
    if kind == _TAG or (kind == _SIMPLE and not _FALSE <= number <= _UNDEFINED):
        raise ValueError("CBOR: a tag, a float or a break")
    smallest = _SMALLEST.get(number)
    if smallest is not None:
        width = 1 << (number - 24)
        number = int.from_bytes(data[at : at + width], "big")
        if number < smallest:
            raise ValueError("CBOR: a head that is too long")
        return kind, number, at + width
    if number > 24:
        raise ValueError("CBOR: no definite length")
    return kind, number, at
