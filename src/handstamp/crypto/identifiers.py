"""Names that nobody can guess, and secrets for programs."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets

from .strict import base64url_encode


def new_id() -> str:
    """Return 128 random bits as 22 characters of URL-safe text: a session's, a token's or an account's name."""
    return base64url_encode(os.urandom(16))


def new_secret() -> str:
    """Return 256 random bits as 43 characters of URL-safe text: a client's secret, shown once."""
    return secrets.token_urlsafe(32)


def secret_hash(secret: str) -> bytes:
    """Return what is stored of a client's secret: SHA-256, since there is nothing to guess in 256 random bits (ASVS 11.5)."""
    return hashlib.sha256(secret.encode()).digest()


def secret_matches(hashed: bytes, secret: str) -> bool:
    """Say whether that is the hash of this secret, in the same time either way."""
    return hmac.compare_digest(hashed, secret_hash(secret))
