"""Random identifiers, and the secrets of service credentials."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets

from .strict import base64url_encode


def new_id() -> str:
    """Return 128 random bits as 22 characters of URL-safe text: the id of a session, a token or an account."""
    return base64url_encode(os.urandom(16))


def new_secret() -> str:
    """Return 256 random bits as 43 characters of URL-safe text: the secret of a service credential, shown once."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """Return the SHA-256 of a secret, which is what is stored. 256 random bits need no slow hash (ASVS 11.5)."""
    return hashlib.sha256(secret.encode()).digest()


def secret_matches(hashed: bytes, secret: str) -> bool:
    """Return True if `hashed` is the hash of `secret`. Takes the same time either way."""
    return hmac.compare_digest(hashed, hash_secret(secret))
