"""JWS in its compact form (RFC 7515 §7.1), strictly.

Widely used libraries take duplicate members, a missing `exp` and any `typ` unless told otherwise. Here nothing can be told
otherwise: what is not exactly right is `InvalidToken`, and no claim leaves this file before the signature holds.
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
"""Longer ones are refused unread. Ours have about 600 characters."""
_T = TypeVar("_T")


class UnknownKey(InvalidToken):
    """No key of the set has this `kid`: a stranger's token, or one of a key that is newer than the set."""

    def __init__(self, kid: str) -> None:
        """Keep the name, as the token has it."""
        super().__init__("kid names no key of the set")
        self.kid = kid


class Header(msgspec.Struct, frozen=True):
    """The members of a JOSE header that mean something to us.

    `jwk`, `jku` and `x5*` are ignored: keys come from configuration alone (RFC 8725 §3.10).
    """

    alg: str
    typ: str
    kid: str
    crit: Any = msgspec.UNSET
    b64: Any = msgspec.UNSET
    enc: Any = msgspec.UNSET
    zip: Any = msgspec.UNSET


def sign(claims: msgspec.Struct | Mapping[str, Any], key: SigningKey, *, typ: str) -> str:
    """Return `claims` as a signed compact token with `typ` in its header."""
    payload = base64url_encode(msgspec.json.encode(claims))
    signing_input = f"{_header_for(key.algorithm, key.kid, typ)}.{payload}"
    return f"{signing_input}.{base64url_encode(key.sign(signing_input.encode('ascii')))}"


def verify(token: str, keys: KeySet, *, typ: str, shape: type[_T]) -> _T:
    """Return the claims of a token that one of `keys` signed, as a `shape`.

    Checks form, size, header, `typ`, algorithm against key, and signature. What the claims say is for
    `handstamp.domain.claims`. Raises `InvalidToken`.
    """
    header, payload, signing_input, signature = split(token)
    if header.typ != typ and media_type(header.typ) != typ:
        raise InvalidToken("typ is another kind of token")
    key = keys.find(header.kid)
    if key is None:
        raise UnknownKey(header.kid)
    if header.alg != key.algorithm:
        raise InvalidToken("alg is not the key's algorithm")
    if not key.verifies(signing_input, signature):
        raise InvalidToken("the signature does not belong to it")
    return json_decode(base64url_decode(payload), shape)


def split(token: str) -> tuple[Header, str, bytes, bytes]:
    """Return header, payload segment, signing input and signature. Nothing of it is to be trusted yet.

    Raises `InvalidToken` for any other form: JSON serialisation, JWE, empty segments, padding, unknown critical members.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidToken("longer than any token of ours")
    signing_input, _, signature = token.rpartition(".")
    head, _, payload = signing_input.partition(".")
    if not (head and payload and signature and signing_input.isascii()) or "." in payload:
        raise InvalidToken("not three segments of base64url")
    return _read_header(head), payload, signing_input.encode("ascii"), base64url_decode(signature)


def media_type(typ: str) -> str:
    """Return a `typ` in the form that is compared: lower case, without `application/` (RFC 7515 §4.1.9)."""
    return typ.lower().removeprefix("application/")


@functools.lru_cache(maxsize=64)
def _read_header(segment: str) -> Header:
    """Cached, because all tokens of one key share one header; failures are not kept, so strangers cannot fill it for long."""
    header = json_decode(base64url_decode(segment), Header)
    if header.crit is not msgspec.UNSET or header.b64 is not msgspec.UNSET:
        raise InvalidToken("crit or b64 asks for an extension that is not supported (RFC 7515 §4.1.11, RFC 7797)")
    if header.enc is not msgspec.UNSET or header.zip is not msgspec.UNSET:
        raise InvalidToken("enc or zip: an encrypted or compressed token is not taken")
    if KID.fullmatch(header.kid) is None:
        raise InvalidToken("kid is not a name")
    return header


@functools.lru_cache(maxsize=64)
def _header_for(algorithm: str, kid: str, typ: str) -> str:
    return base64url_encode(msgspec.json.encode({"alg": algorithm, "kid": kid, "typ": typ}))
