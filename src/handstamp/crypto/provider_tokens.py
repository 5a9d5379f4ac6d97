"""Seal the tokens of other providers with the master secret."""

from __future__ import annotations

import msgspec

from ..domain.provider import ProviderTokens
from .seal import MasterSecret


class TokenSeal:
    """Seals tokens, each for the person at the provider whose they are: one row cannot stand for another."""

    __slots__ = ("_secret",)

    def __init__(self, secret: MasterSecret) -> None:
        self._secret = secret

    def seal(self, tokens: ProviderTokens, issuer: str, subject: str) -> bytes:
        """Return tokens, sealed for the row of a person at a provider."""
        return self._secret.seal(msgspec.msgpack.encode(tokens), context=_context(issuer, subject))

    def open(self, sealed: bytes, issuer: str, subject: str) -> ProviderTokens:
        """Return the tokens of a row, also if a previous master secret has sealed them.

        Raises:
            ConfigurationError: If none of the master secrets opens them.
        """
        return msgspec.msgpack.decode(self._secret.open(sealed, context=_context(issuer, subject)), type=ProviderTokens)

    def is_current(self, sealed: bytes, issuer: str, subject: str) -> bool:
        """Return whether the current master secret has sealed them, and not a previous one."""
        return self._secret.has_sealed(sealed, context=_context(issuer, subject))


def _context(issuer: str, subject: str) -> str:
    return f"provider token {issuer} {subject}"
