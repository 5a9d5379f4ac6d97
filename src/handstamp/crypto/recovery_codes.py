"""Recovery codes: 120 random bits each, so that a plain hash protects them (NIST SP 800-63B-4 §3.1.2, ASVS 6.5.2)."""

from __future__ import annotations

import hashlib
import hmac

from ..domain.recovery_code import CODES
from .seal import MasterSecret

LENGTH = 24
"""Characters of a code, five bits each."""
MAX_TYPED = 4 * LENGTH
"""Characters of a code as people type it, with spaces and hyphens."""
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base32: no two characters look alike."""
_LOOK_ALIKES = str.maketrans("oil", "011")
_GAPS = str.maketrans("", "", " -\t\u00a0\u2010\u2011\u2012\u2013\u2014")
_GROUP = 4


class RecoveryCodes:
    """Makes codes from the master secret and a key that only the client keeps.

    So a request whose answer was lost gets the same codes again, and no code is stored. Both are needed to make them.
    """

    __slots__ = ("_keys",)

    def __init__(self, secret: MasterSecret) -> None:
        self._keys = secret.derive_all("recovery codes v1")

    def make(self, account_id: str, batch: str, key: str) -> list[str]:
        """Return ten codes.

        Args:
            account_id: The account.
            batch: A random name of these ten, 128 bits.
            key: The idempotency key of the request, or a random text.
        """
        return _make(self._keys[0], account_id, batch, key)

    def make_again(self, account_id: str, batch: str, key: str) -> list[list[str]]:
        """Return what `make` may have returned for the same arguments: one list for each master secret."""
        return [_make(each, account_id, batch, key) for each in self._keys]


def _make(secret: bytes, account_id: str, batch: str, key: str) -> list[str]:
    codes = []
    for number in range(CODES):
        drawn = hmac.digest(secret, "\x00".join((account_id, batch, str(number), key)).encode(), "sha256")
        bits = int.from_bytes(drawn) >> (len(drawn) * 8 - 5 * LENGTH)
        text = "".join(_ALPHABET[bits >> 5 * place & 31] for place in reversed(range(LENGTH)))
        codes.append("-".join(text[start : start + _GROUP] for start in range(0, LENGTH, _GROUP)))
    return codes


def normalise_code(typed: str) -> str:
    """Return a code as it is hashed: 24 lower-case characters without gaps, and without look-alikes; "" if it is none."""
    if len(typed) > MAX_TYPED:
        return ""
    text = typed.translate(_GAPS).lower().translate(_LOOK_ALIKES)
    return text if len(text) == LENGTH and set(text) <= set(_ALPHABET) else ""


def hash_code(account_id: str, normalised: str) -> bytes:
    """Return the SHA-256 of a code of one account. 120 random bits need no slow hash, which would be a way to cause work."""
    return hashlib.sha256(f"handstamp recovery code|{account_id}|{normalised}".encode()).digest()
