"""The master secret. It encrypts the signing keys in the database, and every symmetric key is derived from it.

A copy of the database without this secret cannot be used to sign in (ASVS 13.3.1, NIST SP 800-63B-4).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import ConfigurationError
from .jwk import KeySet, SigningKey
from .strict import base64url_encode

MIN_SECRET_BYTES = 32
_MIN_DISTINCT_BYTES = 12
_NONCE_BYTES = 12
_TAG_BYTES = 12
_VERSION = b"\x01"


class MasterSecret:
    """At least 32 random bytes. They are never printed.

    While the secret is being changed, previous ones stand beside it: what they sealed opens, and refresh tokens of their keys
    are valid. New seals, new refresh tokens and pseudonyms use the secret itself.
    """

    __slots__ = ("_previous", "_secret")

    def __init__(self, secret: bytes) -> None:
        """Check the secret.

        Raises:
            ConfigurationError: If it has fewer than 32 bytes, or so few distinct bytes that it cannot be random.
        """
        if len(secret) < MIN_SECRET_BYTES or len(set(secret)) < _MIN_DISTINCT_BYTES:
            raise ConfigurationError(
                f"The secret is too weak: it needs at least {MIN_SECRET_BYTES} random bytes. "
                "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        self._secret = secret
        self._previous: tuple[MasterSecret, ...] = ()

    def __repr__(self) -> str:
        """Return a text without the secret."""
        return "MasterSecret(****)"

    def beside(self, previous: Iterable[MasterSecret]) -> MasterSecret:
        """Return the same secret with previous ones beside it, and with those that it has already."""
        secret = MasterSecret(self._secret)
        found = (*self._previous, *(each for other in previous for each in (other, *other._previous)))  # noqa: SLF001 - own class
        secret._previous = tuple(other for other in found if other._secret != self._secret)  # noqa: SLF001 - own class
        return secret

    @staticmethod
    def generate_text() -> str:
        """Return 256 new random bits as text, for a secret file."""
        return secrets.token_urlsafe(32)

    def derive(self, purpose: str) -> bytes:
        """Return 32 bytes for one purpose (HKDF-SHA-256, RFC 5869). One purpose reveals nothing about another."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"handstamp " + purpose.encode()).derive(self._secret)

    def derive_all(self, purpose: str) -> tuple[bytes, ...]:
        """Return what `derive` does, of the secret itself and then of the previous ones."""
        return tuple(secret.derive(purpose) for secret in (self, *self._previous))

    def derive_refresh_key(self) -> SigningKey:
        """Return the HMAC key for refresh tokens. It is never published and signs nothing else."""
        key = self.derive("refresh token v1")
        name = base64url_encode(hashlib.sha256(b"handstamp kid" + key).digest()[:8])
        return SigningKey(key, algorithm="HS256", kid=f"rt-{name}")

    def derive_refresh_keys(self) -> KeySet:
        """Return every key whose refresh tokens are valid: that of the secret and those of the previous ones."""
        return KeySet([secret.derive_refresh_key().public for secret in (self, *self._previous)])

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Return `plaintext` encrypted (AES-256-GCM). Decrypting it needs the same `context`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + AESGCM(self.derive("seal v1")).encrypt(nonce, plaintext, context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Return the plaintext of `sealed`.

        Raises:
            ConfigurationError: If it was sealed with another secret or another context, or was changed.
        """
        for secret in (self, *self._previous):
            plaintext = secret._open(sealed, context)  # noqa: SLF001 - own class
            if plaintext is not None:
                return plaintext
        raise ConfigurationError(
            "The secret cannot decrypt the signing keys in the database: they belong to another secret or are damaged. "
            "Set HANDSTAMP_SECRET or HANDSTAMP_SECRET_FILE to the secret with which this database was created, "
            "or name that one in HANDSTAMP_PREVIOUS_SECRETS."
        )

    def has_sealed(self, sealed: bytes, *, context: str) -> bool:
        """Return whether the secret itself, and not a previous one, opens `sealed`."""
        return self._open(sealed, context) is not None

    def _open(self, sealed: bytes, context: str) -> bytes | None:
        version, nonce, ciphertext = sealed[:1], sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if version != _VERSION or len(nonce) != _NONCE_BYTES:
            return None
        try:
            return AESGCM(self.derive("seal v1")).decrypt(nonce, ciphertext, context.encode())
        except InvalidTag:
            return None


class DeviceTags:
    """Tags that show that a person has signed in on a device. They cannot be made without the master secret."""

    __slots__ = ("_keys",)

    def __init__(self, secret: MasterSecret) -> None:
        self._keys = secret.derive_all("device v1")

    def make(self, device: str, account: str) -> str:
        """Return the tag of a device and an account: 96 bits of HMAC-SHA-256, as 16 characters of URL-safe text.

        Args:
            device: The id of the device. It holds no "|", so that no other pair has the same tag.
            account: The id of the account.
        """
        return _make_tag(self._keys[0], device, account)

    def find(self, device: str, account: str, tags: Sequence[str]) -> str | None:
        """Return the one of `tags` that is valid for the device and the account, also if a previous secret made it."""
        valid = [_make_tag(key, device, account) for key in self._keys]
        return next((tag for tag in tags for other in valid if hmac.compare_digest(tag.encode(), other.encode())), None)


def _make_tag(key: bytes, device: str, account: str) -> str:
    return base64url_encode(hmac.digest(key, f"{device}|{account}".encode(), "sha256")[:_TAG_BYTES])


class Pseudonyms:
    """Replaces addresses and networks by names that reveal nothing without the master secret."""

    __slots__ = ("_key",)

    def __init__(self, secret: MasterSecret) -> None:
        self._key = secret.derive("pseudonyms v1")

    def make(self, kind: str, *parts: str) -> str:
        """Return the name for these parts. Equal parts have equal names, and different parts different ones."""
        message = "\x00".join((kind, *parts)).encode()
        return base64url_encode(hmac.digest(self._key, message, "sha256")[:16])
