"""The secrets of service credentials."""

from __future__ import annotations

import hmac

from .seal import MasterSecret
from .strict import base64url_encode


class CredentialSecrets:
    """Makes secrets from the master secret and a key that only the client keeps.

    So a request whose answer was lost gets the same secret again, and no secret is stored. Both are needed to make it.
    """

    __slots__ = ("_keys",)

    def __init__(self, secret: MasterSecret) -> None:
        self._keys = secret.derive_all("credential secrets v1")

    def make(self, credential_id: str, key: str) -> str:
        """Return a secret: 256 bits as 43 characters of URL-safe text.

        Args:
            credential_id: The id of the credential, which is random.
            key: The idempotency key of the request, or a random text.
        """
        return _make(self._keys[0], credential_id, key)

    def make_again(self, credential_id: str, key: str) -> list[str]:
        """Return what `make` may have returned for the same arguments: one secret for each master secret."""
        return [_make(each, credential_id, key) for each in self._keys]


def _make(master: bytes, credential_id: str, key: str) -> str:
    return base64url_encode(hmac.digest(master, f"{credential_id}\x00{key}".encode(), "sha256"))
