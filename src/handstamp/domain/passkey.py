"""Passkeys: what is stored of one, and how many there may be."""

from __future__ import annotations

import msgspec

from ..errors import InvalidFields
from ..text import mark

MOST = 50
"""Passkeys of one account. Each is named to the browser in every ceremony of the account."""
NAME_MAX_LENGTH = 64
UNNAMED = mark("Passkey")
"""What one is called that has no name. Pages say it in the language of the visitor."""


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a passkey. Times are milliseconds since 1970.

    Attributes:
        id: The credential id, as URL-safe text.
        account_id: Whose it is.
        handle: By what the authenticator knows the account, as URL-safe text; the same for all passkeys of an account.
        public_key: The public key (COSE, RFC 9052).
        sign_count: How often the authenticator has signed, as it said last. 0 if it does not count, as with synced passkeys.
        name: What the person calls it, or its model; "" if neither is known.
        aaguid: The model of the authenticator, as a UUID.
        transports: How browsers reach it.
        is_backed_up: Whether it is synced to other devices.
        created_at_ms: When it was added.
        used_at_ms: When it was used last.
    """

    id: str
    account_id: str
    handle: str
    public_key: bytes
    sign_count: int
    name: str
    aaguid: str
    transports: tuple[str, ...]
    is_backed_up: bool
    created_at_ms: int
    used_at_ms: int

    def __repr__(self) -> str:
        """Return a text without what tells where else the person signs in."""
        return f"Passkey(name={self.name!r})"


def normalise_passkey_name(typed: str) -> str:
    """Return a name as it is stored: one line, without surrounding space. Raises `InvalidFields`."""
    name = " ".join(typed[: 4 * NAME_MAX_LENGTH].split())
    if not name or len(name) > NAME_MAX_LENGTH or not name.isprintable():
        raise InvalidFields([("name", mark("must be one line of 1 to %(most)s characters", most=NAME_MAX_LENGTH))])
    return name
