"""Proofs that a device holds a private key, and what they have to sign (W3C DBSC; RFC 9449 §4).

A proof is a JWS by a key that the service or a token knows already, or that the proof brings along as `jwk`. It is read from a
request before anything in it is trusted, so its size and its form are strict, and its key is always P-256.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar

import msgspec

from ..errors import ConfigurationError, InvalidToken
from .jwk import VerifyingKey
from .seal import MasterSecret
from .strict import base64url_decode, base64url_encode, json_decode

MAX_PROOF_LENGTH = 2048
"""Longer proofs are refused without parsing. One with its key has about 400 characters."""
KEPT_HEADERS = 1024
"""Headers of proofs that a process keeps with their keys: 3 to 5 KB each."""
_MAX_DIGITS = 15
_NONCE_STEP_S = 60
_ABSENT = msgspec.Raw()
_T = TypeVar("_T")


class _Jwk(msgspec.Struct, frozen=True, omit_defaults=True):
    """The members of a public key that are used, and the private ones, which are refused (RFC 7518 §6)."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: str
    y: str
    d: msgspec.Raw = _ABSENT
    k: msgspec.Raw = _ABSENT


class _Header(msgspec.Struct, frozen=True, omit_defaults=True):
    alg: Literal["ES256"]
    typ: str
    jwk: _Jwk | None = None
    crit: msgspec.Raw = _ABSENT
    b64: msgspec.Raw = _ABSENT
    enc: msgspec.Raw = _ABSENT
    zip: msgspec.Raw = _ABSENT


class ProofKey:
    """A public key of a device: P-256, for ES256."""

    __slots__ = ("jwk", "thumbprint", "verifies")

    def __init__(self, members: Mapping[str, Any]) -> None:
        """Read the members `kty`, `crv`, `x` and `y` of a JWK.

        Raises:
            InvalidToken: If they are not a point of P-256.
        """
        required = {name: members[name] for name in ("crv", "kty", "x", "y")}
        self.jwk: str = msgspec.json.encode(required).decode()
        """The required members in the order of RFC 7638 §3.3, as it is stored."""
        self.thumbprint: str = thumbprint_of(self.jwk)
        """The `jkt` of the key (RFC 7638; RFC 9449 §6.1)."""
        try:
            key = VerifyingKey.from_jwk({**required, "kid": self.thumbprint})
        except ConfigurationError:
            raise InvalidToken("the key of the proof is not a point of P-256") from None
        self.verifies: Callable[[bytes, bytes], bool] = key.verifies

    def __repr__(self) -> str:
        """Return a text with the thumbprint."""
        return f"ProofKey({self.thumbprint!r})"

    @classmethod
    def from_jwk(cls, jwk: str) -> ProofKey:
        """Return the key whose `jwk` was stored."""
        members: dict[str, Any] = msgspec.json.decode(jwk, type=dict[str, Any])
        return cls(members)


def thumbprint_of(jwk: str) -> str:
    """Return the thumbprint of a key whose `ProofKey.jwk` this is (RFC 7638 §3)."""
    return base64url_encode(hashlib.sha256(jwk.encode()).digest())


def read_proof(proof: str, *, typ: str, shape: type[_T], key: ProofKey | None = None) -> tuple[_T, ProofKey]:
    """Return the claims of a proof, and the key that made it. The caller checks what the claims say.

    Args:
        proof: A compact JWS of at most `MAX_PROOF_LENGTH` characters.
        typ: The `typ` that is required, exactly.
        shape: The msgspec struct for the claims.
        key: The key that must have made it. None: the key is the `jwk` in the header, which then says nothing about who it is.

    Raises:
        InvalidToken: If form, size, header, `typ`, algorithm, key, signature or JSON is invalid, or if there is a `jwk` beside
            `key`.
    """
    if len(proof) > MAX_PROOF_LENGTH:
        raise InvalidToken("the proof is too long")
    if not proof.isascii():
        raise InvalidToken("the proof is not three segments of base64url")
    signing_input, _, signature = proof.encode("ascii").rpartition(b".")
    head, _, payload = signing_input.partition(b".")
    if not (head and payload and signature) or b"." in payload:
        raise InvalidToken("the proof is not three segments of base64url")
    named = _read_header(head, typ)
    if (named is None) == (key is None):
        raise InvalidToken("the proof has no jwk, or one although its key is known")
    key = key or named
    assert key is not None  # noqa: S101 - for mypy; checked above
    if not key.verifies(signing_input, base64url_decode(signature)):
        raise InvalidToken("the signature of the proof is invalid")
    return json_decode(base64url_decode(payload), shape), key


@lru_cache(KEPT_HEADERS)
def _read_header(head: bytes, typ: str) -> ProofKey | None:
    """Return the key in the header of a proof, None if it has none.

    A program sends the same header with each proof, and to check that its key is on the curve takes longer than half a signature.
    """
    header = json_decode(base64url_decode(head), _Header)
    if header.typ != typ:
        raise InvalidToken("typ names another kind of proof")
    if any(member is not _ABSENT for member in (header.crit, header.b64, header.enc, header.zip)):
        raise InvalidToken("the proof asks for an extension that is not supported")
    jwk = header.jwk
    if jwk is None:
        return None
    if jwk.d is not _ABSENT or jwk.k is not _ABSENT:
        raise InvalidToken("the jwk of the proof has a private member")
    return ProofKey({"crv": "P-256", "kty": "EC", "x": jwk.x, "y": jwk.y})


class _DbscClaims(msgspec.Struct, frozen=True):
    jti: str
    aud: str | msgspec.UnsetType = msgspec.UNSET


def read_dbsc_proof(proof: str, *, url: str, is_challenge: Callable[[str], bool], key: ProofKey | None = None) -> ProofKey:
    """Return the key of a proof that a browser made (W3C DBSC §9.8).

    Args:
        proof: The value of `Secure-Session-Response`, without quotes.
        url: The public URL of the endpoint, which `aud` must be if there is one.
        is_challenge: Tells whether `jti` is the challenge that had to be signed.
        key: The key of the session. None at registration, where the proof brings it along.

    Raises:
        InvalidToken: If the proof is invalid.
    """
    claims, key = read_proof(proof, typ="dbsc+jwt", shape=_DbscClaims, key=key)
    if claims.aud is not msgspec.UNSET and claims.aud != url:
        raise InvalidToken("the proof is for another endpoint")
    if not is_challenge(claims.jti):
        raise InvalidToken("the proof has signed another challenge")
    return key


class DpopNonces:
    """Nonces for proofs of programs: an HMAC of the minute, so nothing is stored (RFC 9449 §8)."""

    __slots__ = ("_keys",)

    def __init__(self, secret: MasterSecret) -> None:
        self._keys = secret.derive_all("dpop nonce v1")

    def make(self, now_s: int) -> str:
        """Return the nonce of a time, in seconds since 1970."""
        return _make_mac(self._keys[0], str(now_s // _NONCE_STEP_S))

    def find_time(self, nonce: str, now_s: int) -> int | None:
        """Return when the minute of a nonce began, in seconds since 1970. None if it is more than two minutes off."""
        now = now_s // _NONCE_STEP_S
        steps = (now + lag for lag in (0, -1, -2, 1, 2))
        return next((step * _NONCE_STEP_S for step in steps if _is_any(nonce, self._make_all(step))), None)

    def _make_all(self, step: int) -> Iterable[str]:
        return (_make_mac(key, str(step)) for key in self._keys)


class Challenges:
    """What a device has to sign: an HMAC of the session and its generation, so nothing is stored, and a rotation consumes it."""

    __slots__ = ("_keys",)

    def __init__(self, secret: MasterSecret) -> None:
        self._keys = secret.derive_all("device challenge v1")

    def make(self, sid: str, step: int | Literal["start"]) -> str:
        """Return the challenge of a session, as 43 characters of URL-safe text.

        Args:
            sid: The id of the session. It holds no "|", so that no other pair has the same challenge.
            step: The generation in the session's row; "start" for the registration of the key.
        """
        return _make_mac(self._keys[0], sid, str(step))

    def is_valid(self, challenge: str, sid: str, step: int | Literal["start"]) -> bool:
        """Return whether this is the challenge of the session, also if a previous secret made it."""
        return _is_any(challenge, (_make_mac(key, sid, str(step)) for key in self._keys))


class FormTags:
    """Tags of forms that wait until the browser has proved its key once more: an HMAC, so nothing is stored."""

    __slots__ = ("_keys",)

    def __init__(self, secret: MasterSecret) -> None:
        self._keys = secret.derive_all("form tag v1")

    def make(self, sid: str, generation: int, content: str) -> str:
        """Return the tag of a form with this content, sent while the session has this generation."""
        return _make_mac(self._keys[0], sid, str(generation), content)

    def is_valid(self, tag: str, sid: str, generation: int, content: str) -> bool:
        """Return whether this is the tag of the form, also if a previous secret made it."""
        return _is_any(tag, (_make_mac(key, sid, str(generation), content) for key in self._keys))


class DevicePasses:
    """Short-lived values of a cookie that show that a device has proved its key lately, for sessions without an access cookie."""

    __slots__ = ("_keys",)

    def __init__(self, secret: MasterSecret) -> None:
        self._keys = secret.derive_all("device pass v1")

    def make(self, sid: str, until_s: int) -> str:
        """Return the pass of a session that is valid until `until_s`, in seconds since 1970."""
        return f"{until_s}.{_make_mac(self._keys[0], sid, str(until_s))}"

    def find_end(self, text: str, sid: str, now_s: int) -> int | None:
        """Return until when a pass is valid, in seconds since 1970. None if it is not one of this session or not valid now."""
        until, _, mac = text.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) <= _MAX_DIGITS and _is_any(mac, self._macs(sid, until))):
            return None
        return int(until) if now_s < int(until) else None

    def _macs(self, sid: str, until: str) -> Iterable[str]:
        return (_make_mac(key, sid, until) for key in self._keys)


def _make_mac(key: bytes, *parts: str) -> str:
    return base64url_encode(hmac.digest(key, "|".join(parts).encode(), "sha256"))


def _is_any(text: str, valid: Iterable[str]) -> bool:
    return any(hmac.compare_digest(text.encode(), other.encode()) for other in valid)
