"""Random identifiers, and the secrets of service credentials."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets

from ..forking import call_in_child
from .strict import base64url_encode

_DRAWN = 64
_ids: list[str] = []
"""The next ids. Every request needs one or two, and a system call for each would cost several microseconds."""
call_in_child(_ids.clear)  # otherwise two processes would use the same ids


def new_id() -> str:
    """Return 128 random bits as 22 characters of URL-safe text: the id of a session, a token or an account."""
    try:
        return _ids.pop()  # atomic
    except IndexError:
        _ids.extend(_draw_ids(_DRAWN))
        return _draw_ids(1)[0]


def _draw_ids(number: int) -> list[str]:
    units = bytearray(os.urandom(18 * number))
    units[16::18] = units[17::18] = bytes(number)  # so each unit is 24 characters, and the last two of them are no part of the id
    text = base64url_encode(units)
    return [text[start : start + 22] for start in range(0, 24 * number, 24)]


def new_secret() -> str:
    """Return 256 random bits as 43 characters of URL-safe text: the secret of a service credential, shown once."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """Return the SHA-256 of a secret, which is what is stored. 256 random bits need no slow hash (ASVS 11.5)."""
    return hashlib.sha256(secret.encode()).digest()


def secret_matches(hashed: bytes, secret: str) -> bool:
    """Return True if `hashed` is the hash of `secret`. Takes the same time either way."""
    return hmac.compare_digest(hashed, hash_secret(secret))
