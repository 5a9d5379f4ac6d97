"""The Basic scheme, as services use it with their own id and secret (RFC 7617, RFC 6749 §2.3.1)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from urllib.parse import quote, unquote_plus

from ..errors import ConfigurationError, InvalidClient, InvalidRequest
from ..text import mark

MAX_LENGTH = 1024
"""Of an encoded credential. Ours have about 90 characters."""


def basic_credential(authorization: Sequence[str]) -> tuple[str, str] | None:
    """Return the (id, secret) of the `Authorization` header, or None if there is none of this scheme.

    Args:
        authorization: All values of the header. Id and secret are form-encoded inside (RFC 6749 §2.3.1).

    Raises:
        InvalidRequest: The header came more than once.
        InvalidClient: The credential is longer than `MAX_LENGTH`, cannot be decoded, or has no secret.
    """
    scheme, _, encoded = (authorization[0] if authorization else "").partition(" ")
    if scheme.lower() != "basic":
        return None
    if len(encoded) > MAX_LENGTH:
        raise InvalidClient(mark("The Basic credential is too long."))
    if len(authorization) > 1:
        raise InvalidRequest(mark("There is more than one Authorization header."))
    try:
        name, colon, secret = base64.b64decode(encoded.strip(" "), validate=True).decode("ascii").partition(":")
        credential = unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError:
        raise InvalidClient(mark("The Basic credential cannot be decoded.")) from None
    if not colon:
        raise InvalidClient(mark("The Basic credential has no secret."))
    return credential


def basic_authorization(credential: str) -> str:
    """Return the `Authorization` header for a service credential.

    Args:
        credential: `"ID:SECRET"`. Both parts are form-encoded before they are joined (RFC 6749 §2.3.1).

    Raises:
        ConfigurationError: The id or the secret is missing.
    """
    name, colon, secret = credential.partition(":")
    if not (name and colon and secret):
        raise ConfigurationError("credential must be 'ID:SECRET', as 'handstamp credentials create NAME' prints it.")
    return basic_header(name, secret)


def basic_header(name: str, secret: str) -> str:
    """Return the `Authorization` header for an id and a secret. Both are form-encoded before they are joined."""
    return "Basic " + base64.b64encode(f"{quote(name, safe='')}:{quote(secret, safe='')}".encode()).decode("ascii")
