"""The secrets of one-time grants: six-digit codes and their keyed hashes. `identifiers` makes and hashes the tokens of links."""

from __future__ import annotations

import hmac
import secrets

from .seal import MasterSecret

CODE_DIGITS = 6


class OneTimeCodes:
    """Makes codes and hashes them with a key, because a hash without a key could be searched in a second."""

    __slots__ = ("_keys",)

    def __init__(self, secret: MasterSecret) -> None:
        self._keys = secret.derive_all("one-time codes v1")

    @staticmethod
    def generate() -> str:
        """Return six random digits."""
        return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"

    def hash(self, code: str, grant_id: str) -> bytes:
        """Return the HMAC-SHA-256 of a code for one grant."""
        return _hash(self._keys[0], code, grant_id)

    def matches(self, hashed: bytes, code: str, grant_id: str) -> bool:
        """Return True if `hashed` is the hash of this code for this grant, also if a previous master secret made it."""
        return any(hmac.compare_digest(hashed, _hash(key, code, grant_id)) for key in self._keys)


def _hash(key: bytes, code: str, grant_id: str) -> bytes:
    return hmac.digest(key, f"{grant_id}|{code}".encode(), "sha256")
