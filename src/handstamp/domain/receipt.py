"""A receipt: the record of a change that was made, so that its request can be sent again and gets the same answer."""

from __future__ import annotations

import msgspec

from .policy import MAX_GRACE_MS

LIFETIME_MS = MAX_GRACE_MS
"""How long a request can be repeated. It is longer than the timeouts of clients, which wait for passwords to be hashed."""


class Repeatable(msgspec.Struct, frozen=True):
    """A request that its client may send again.

    Attributes:
        operation: What is asked for, such as "login".
        key: The idempotency key that the client has chosen. It is as good as random, and kept by the client alone.
        content: All that the answer depends on, such as address and password.
    """

    operation: str
    key: str
    content: tuple[str, ...]

    def __repr__(self) -> str:
        """Return a text without the key and the content."""
        return f"Repeatable({self.operation!r})"


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """One change. Nothing in it reveals what was sent: `key` and `request` are keyed hashes.

    Attributes:
        key: Stands for the operation, the subject or address that it is about, and the client's idempotency key.
        request: Stands for the content of the request.
        result: The id of what was made, such as a session, or another text from which the answer is made again.
        at_ms: The time of the request, in milliseconds since 1970.
    """

    key: str
    request: str
    result: str
    at_ms: int
