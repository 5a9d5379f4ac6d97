"""The master secret: it seals signing keys at rest and everything symmetric is derived from it.

A copy of the database without this secret signs nobody in (ASVS 13.3.1, NIST SP 800-63B-4).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import ConfigurationError
from .jwk import SigningKey
from .strict import base64url_encode

MIN_SECRET_BYTES = 32
_MIN_DISTINCT_BYTES = 12
_NONCE_BYTES = 12
_VERSION = b"\x01"


class MasterSecret:
    """At least 32 bytes that nobody can guess. Never printed."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        """Raise `ConfigurationError` for a secret that is short or plainly not random."""
        if len(secret) < MIN_SECRET_BYTES or len(set(secret)) < _MIN_DISTINCT_BYTES:
            raise ConfigurationError(
                f"The secret is too weak: it needs at least {MIN_SECRET_BYTES} random bytes. "
                "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        self._secret = secret

    def __repr__(self) -> str:
        """Tell nothing."""
        return "MasterSecret(****)"

    @staticmethod
    def generate_text() -> str:
        """Return 256 fresh random bits as text, for a secret file."""
        return secrets.token_urlsafe(32)

    def derive(self, purpose: str) -> bytes:
        """Return the 32 bytes for one purpose (HKDF-SHA-256, RFC 5869); purposes tell nothing of each other."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"handstamp " + purpose.encode()).derive(self._secret)

    def refresh_key(self) -> SigningKey:
        """Return the HMAC key of the refresh tokens. It is never published and signs nothing else."""
        key = self.derive("refresh token v1")
        name = base64url_encode(hashlib.sha256(b"handstamp kid" + key).digest()[:8])
        return SigningKey(key, algorithm="HS256", kid=f"rt-{name}")

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Return `plaintext` encrypted (AES-256-GCM); it opens only for the same `context`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + AESGCM(self.derive("seal v1")).encrypt(nonce, plaintext, context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Return what was sealed. Raises `ConfigurationError` when another secret sealed it."""
        version, nonce, ciphertext = sealed[:1], sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if version != _VERSION or len(nonce) != _NONCE_BYTES:
                raise InvalidTag  # noqa: TRY301 - damaged, as below
            return AESGCM(self.derive("seal v1")).decrypt(nonce, ciphertext, context.encode())
        except InvalidTag:
            raise ConfigurationError(
                "This secret does not open the signing keys in the database: they were sealed with another one, or damaged. "
                "Set HANDSTAMP_SECRET or HANDSTAMP_SECRET_FILE to the secret that this database was made with."
            ) from None


class Pseudonyms:
    """Turns what people type (addresses, networks) into names that tell nothing without the master secret."""

    __slots__ = ("_key",)

    def __init__(self, secret: MasterSecret) -> None:
        """Derive a key of its own."""
        self._key = secret.derive("pseudonyms v1")

    def of(self, kind: str, *parts: str) -> str:
        """Return the name of these parts; equal parts have equal names."""
        message = "\x00".join((kind, *parts)).encode()
        return base64url_encode(hmac.digest(self._key, message, "sha256")[:16])
