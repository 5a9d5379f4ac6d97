"""Sign and verify JWS in the compact form (RFC 7515 §7.1), strictly.

Common libraries accept duplicate members, a missing `exp` and any `typ` unless they are configured otherwise. Here nothing can
be configured: every deviation raises `InvalidToken`, and no claim is returned before the signature has been verified.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from ..errors import InvalidToken
from .jwk import KID, KeySet, SigningKey
from .strict import base64url_decode, base64url_encode, json_decode

MAX_TOKEN_LENGTH = 8192
"""Longer tokens are refused without parsing. Ours have about 600 characters."""
MAX_HEADER_LENGTH = 1024
"""Of the header's segment. It is parsed before the signature is checked, so a stranger's must cost little. Ours have 100."""
_ABSENT = msgspec.Raw()
_T = TypeVar("_T")


class UnknownKey(InvalidToken):
    """No key of the set has this `kid`. The token is forged, or its key is newer than the set."""

    def __init__(self, kid: str) -> None:
        super().__init__("kid is not in the key set")
        self.kid = kid


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """The members of a JOSE header that are used or refused.

    `jwk`, `jku` and `x5*` are ignored: keys come only from configuration (RFC 8725 §3.10). The values of the last four
    are not decoded: that they are there is enough.
    """

    alg: str
    typ: str
    kid: str
    crit: msgspec.Raw = _ABSENT
    b64: msgspec.Raw = _ABSENT
    enc: msgspec.Raw = _ABSENT
    zip: msgspec.Raw = _ABSENT


def sign(claims: msgspec.Struct | Mapping[str, Any], key: SigningKey, *, typ: str) -> str:
    """Return `claims` as a signed compact token whose header has this `typ`."""
    payload = base64url_encode(msgspec.json.encode(claims))
    signing_input = f"{_header_for(key.algorithm, key.kid, typ)}.{payload}"
    return f"{signing_input}.{base64url_encode(key.sign(signing_input.encode('ascii')))}"


def verify(token: str, keys: KeySet, *, typ: str, shape: type[_T]) -> _T:
    """Return the claims of a token that one of `keys` signed. `handstamp.domain.claims` checks what the claims say.

    Args:
        token: A compact JWS of at most `MAX_TOKEN_LENGTH` characters.
        keys: The keys that may have signed it. The algorithm is that of the key.
        typ: The `typ` that is required, in the form of `normalise_typ` (RFC 8725 §3.11).
        shape: The msgspec struct for the claims.

    Raises:
        UnknownKey: If `kid` is not in `keys`.
        InvalidToken: If form, size, header, `typ`, algorithm, signature or JSON is invalid.
    """
    header, payload, signing_input, signature = split(token)
    if header.typ != typ and normalise_typ(header.typ) != typ:
        raise InvalidToken("typ names another kind of token")
    key = keys.find(header.kid)
    if key is None:
        raise UnknownKey(header.kid)
    if header.alg != key.algorithm:
        raise InvalidToken("alg is not the key's algorithm")
    if not key.verifies(signing_input, signature):
        raise InvalidToken("the signature is invalid")
    return json_decode(base64url_decode(payload), shape)


def split(token: str) -> tuple[Header, bytes, bytes, bytes]:
    """Return header, payload segment, signing input and signature. None of it is verified yet.

    Raises:
        InvalidToken: If it is too long or not a compact JWS: JSON serialisation, JWE, empty segments, padding, critical members.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidToken("the token is too long")
    if not token.isascii():
        raise InvalidToken("not three segments of base64url")
    signing_input, _, signature = token.encode("ascii").rpartition(b".")
    head, _, payload = signing_input.partition(b".")
    if len(head) > MAX_HEADER_LENGTH:
        raise InvalidToken("the header is too long")
    if not (head and payload and signature) or b"." in payload:
        raise InvalidToken("not three segments of base64url")
    return _read_header(head), payload, signing_input, base64url_decode(signature)


def normalise_typ(typ: str) -> str:
    """Return a `typ` for comparison: in lower case, without `application/` (RFC 7515 §4.1.9)."""
    return typ.lower().removeprefix("application/")


@functools.lru_cache(maxsize=64)
def _read_header(segment: bytes) -> Header:
    """Return a checked header. Cached, because all tokens of one key have the same header; failures are not cached."""
    header = json_decode(base64url_decode(segment), Header)
    if header.crit is not _ABSENT or header.b64 is not _ABSENT:
        raise InvalidToken("crit or b64 asks for an extension that is not supported (RFC 7515 §4.1.11, RFC 7797)")
    if header.enc is not _ABSENT or header.zip is not _ABSENT:
        raise InvalidToken("enc or zip: encrypted or compressed tokens are not supported")
    if KID.fullmatch(header.kid) is None:
        raise InvalidToken("kid is malformed")
    return header


@functools.lru_cache(maxsize=64)
def _header_for(algorithm: str, kid: str, typ: str) -> str:
    return base64url_encode(msgspec.json.encode({"alg": algorithm, "kid": kid, "typ": typ}))
