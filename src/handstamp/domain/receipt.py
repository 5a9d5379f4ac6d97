"""A receipt: the record of a change that was made, so that its request can be sent again and gets the same answer."""

from __future__ import annotations

import msgspec

from .policy import MAX_GRACE_MS

LIFETIME_MS = MAX_GRACE_MS
"""How long a request can be repeated. It is longer than the timeouts of clients, which wait for passwords to be hashed."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """One change. Nothing in it reveals what was sent: `key` and `request` are keyed hashes.

    Attributes:
        key: Stands for the operation, the subject or address that it is about, and the client's idempotency key.
        request: Stands for the content of the request.
        result: The id of the session that began, or of the account that was created.
        at_ms: The time of the request, in milliseconds since 1970.
    """

    key: str
    request: str
    result: str
    at_ms: int
