"""Builds tokens that are valid except for what a test changes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handstamp import Verifier
from handstamp.crypto.jwk import KeySet, SigningKey, VerifyingKey
from handstamp.domain.claims import AccessClaims
from handstamp.errors import InvalidToken

ISSUER = "https://id.example.org"
AUDIENCE = "https://api.example.org"
NOW_S = 1_800_000_000
LEEWAY_S = 5
LIFETIME_S = 900


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"  # in the name of a test, which all workers must find


ABSENT: Any = _Absent()
"""As the value of a member: omit the member."""

_VECTORS = Path(__file__).parent / "vectors"


def vectors(name: str) -> Any:
    """Return the published test vectors in `vectors/name`."""
    return json.loads((_VECTORS / name).read_text("utf-8"))


def b64(data: bytes) -> str:
    """Return `data` in base64url without padding, without using the code under test."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def unb64(text: str) -> bytes:
    """Decode base64url `text`, without using the code under test."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def members(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `defaults` updated with `changes`, without the members that are `ABSENT`."""
    return {name: value for name, value in {**defaults, **changes}.items() if value is not ABSENT}


def as_json(value: Any) -> bytes:
    """Encode `value` as JSON. Bytes are returned unchanged, so that a test can write invalid JSON."""
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def compact(header: Any, payload: Any, sign: Callable[[bytes], bytes]) -> str:
    """Return a compact JWS over any header and payload: dicts, or bytes used unchanged."""
    signing_input = f"{b64(as_json(header))}.{b64(as_json(payload))}"
    return f"{signing_input}.{b64(sign(signing_input.encode()))}"


def access_header(key: SigningKey, **changes: Any) -> dict[str, Any]:
    """Return the header of an access token signed with `key`."""
    return members({"alg": key.algorithm, "kid": key.kid, "typ": "at+jwt"}, changes)


def access_claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of an access token that is valid at `NOW_S`."""
    right = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "account-1",
        "client_id": "handstamp",
        "iat": NOW_S,
        "exp": NOW_S + LIFETIME_S,
        "jti": "token-1",
        "sid": "session-1",
        "auth_time": NOW_S,
    }
    return members(right, changes)


class Issuer:
    """One key, the verifier that trusts it, and tokens signed with it."""

    def __init__(self, key: SigningKey, *, audience: str | tuple[str, ...] = AUDIENCE) -> None:
        self.key = key
        self.keys = KeySet([key.public])
        self.verifier = Verifier(
            ISSUER, audience=audience, keys=self.keys, check="offline", leeway_s=LEEWAY_S, clock=lambda: NOW_S * 1000
        )

    def token(self, *, header: Any = None, payload: Any = None) -> str:
        """Return a token signed with the key. `header` and `payload` replace the valid ones."""
        return compact(
            access_header(self.key) if header is None else header,
            access_claims() if payload is None else payload,
            self.key.sign,
        )

    def accepts(self, token: str, *, now_s: int = NOW_S) -> AccessClaims:
        """Return the claims of a token; fail if it is refused."""
        return self.verifier.verify(token, now_ms=now_s * 1000)

    def refusal(self, token: str) -> str:
        """Return why `token` is refused.

        Fail if it is accepted, or if the unchanged token is refused.
        """
        assert self.accepts(self.token()).sub == "account-1"
        try:
            claims = self.accepts(token)
        except InvalidToken as refused:
            return refused.why
        raise AssertionError(f"a forged or malformed token was accepted: {claims}")


def plain_refusal(token: str, keys: Mapping[str, VerifyingKey]) -> str | None:
    """Return why a JWS is refused, or None if it verifies. `typ` is not required, because published vectors have none."""
    segments = token.split(".")
    if len(segments) != 3 or not all(segments):
        return "form"
    try:
        header = json.loads(unb64(segments[0]))
        signature = unb64(segments[2])
    except ValueError:
        return "form"
    key = keys.get(header.get("kid"))
    if key is None:
        return "kid"
    if header.get("alg") != key.algorithm:
        return "alg"
    return None if key.verifies(f"{segments[0]}.{segments[1]}".encode(), signature) else "signature"
