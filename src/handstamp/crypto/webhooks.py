"""Signatures of webhooks (Standard Webhooks 1.0, https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64
"""Bytes of a secret, as the specification has it."""
MOST_SECRETS = 2


class WebhookSecrets:
    """The secrets that sign: one, or two while the secret is changed. A receiver accepts a message if one signature is right."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take the decoded secrets."""
        self._keys = tuple(keys)

    @classmethod
    def parse(cls, text: str) -> WebhookSecrets:
        """Return the secrets of a text that has one on each line, as `whsec_` and base64.

        Raises:
            ValueError: There is none, there are more than two, or one is malformed. The sentence does not repeat them.
        """
        lines = text.split()
        if not 1 <= len(lines) <= MOST_SECRETS:
            raise ValueError(f"must hold one secret, or two on lines of their own, and not {len(lines)}")
        return cls([_decode(line) for line in lines])

    def sign(self, message_id: str, at_s: int, body: bytes) -> dict[str, str]:
        """Return the header fields of a message.

        Args:
            message_id: The id of the message. It is the same each time that the message is sent.
            at_s: When it is sent, in seconds since 1970. Receivers refuse messages that are too old.
            body: The body.
        """
        signed = f"{message_id}.{at_s}.".encode() + body
        digests = [hmac.digest(key, signed, hashlib.sha256) for key in self._keys]
        signatures = [f"v1,{base64.b64encode(digest).decode('ascii')}" for digest in digests]
        return {"webhook-id": message_id, "webhook-timestamp": str(at_s), "webhook-signature": " ".join(signatures)}


def _decode(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError(f"each secret must be {_PREFIX} and the base64 of {_SHORTEST} to {_LONGEST} random bytes")
    return key
