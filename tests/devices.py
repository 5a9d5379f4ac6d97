"""A device that makes proofs of its key, as browsers and programs do."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from handstamp.crypto.jwk import SigningKey
from handstamp.crypto.strict import base64url_encode


class Device:
    """A P-256 key, with the proofs that it makes."""

    def __init__(self) -> None:
        """Make a new key."""
        self.key = SigningKey.generate("ES256")
        self.jwk = {name: value for name, value in self.key.public.to_jwk().items() if name in ("kty", "crv", "x", "y")}

    def prove(self, challenge: str, *, registers: bool = False, **changes: Any) -> str:
        """Return the proof of a browser (W3C DBSC). `changes` are of the claims."""
        header: dict[str, Any] = {"typ": "dbsc+jwt", "alg": "ES256"} | ({"jwk": self.jwk} if registers else {})
        return self.sign(header, {"jti": challenge} | changes)

    def sign(self, header: dict[str, Any], claims: dict[str, Any] | bytes) -> str:
        """Return a JWS by the key."""
        payload = claims if isinstance(claims, bytes) else msgspec.json.encode(claims)
        signing_input = f"{base64url_encode(msgspec.json.encode(header))}.{base64url_encode(payload)}"
        return f"{signing_input}.{base64url_encode(self.key.sign(signing_input.encode()))}"


def challenge_in(header: str) -> str:
    """Return the challenge of a header field `Secure-Session-Registration` or `Secure-Session-Challenge`."""
    found = re.search(r'challenge="([^"]+)"|^"([^"]+)"', header)
    assert found is not None, header
    return found[1] or found[2]
