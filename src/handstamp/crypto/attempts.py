"""Seal what an attempt knows, so that it can travel with the client."""

from __future__ import annotations

import msgspec

from ..domain.attempt import Attempt, Purpose
from ..errors import ConfigurationError, InvalidToken
from .seal import MasterSecret
from .strict import base64url_decode, base64url_encode

MAX_LENGTH = 4096
"""Characters of a sealed attempt, and of a cookie. Ours have some 300, and 3,700 with the longest address to return to."""


class SealedAttempts:
    """Seals attempts with the master secret: clients can neither read nor change them, nor use one for another purpose."""

    __slots__ = ("_secret",)

    def __init__(self, secret: MasterSecret) -> None:
        self._secret = secret

    def seal(self, attempt: Attempt) -> str:
        """Return an attempt as URL-safe text."""
        return base64url_encode(self._secret.seal(msgspec.msgpack.encode(attempt), context=f"attempt {attempt.purpose}"))

    def open(self, sealed: str, purpose: Purpose) -> Attempt | None:
        """Return an attempt of a purpose, None if the text is none of ours."""
        try:
            plain = self._secret.open(base64url_decode(sealed[: MAX_LENGTH + 1]), context=f"attempt {purpose}")
            return msgspec.msgpack.decode(plain, type=Attempt)
        except (InvalidToken, ValueError, ConfigurationError):  # msgspec's errors are ValueErrors
            return None
