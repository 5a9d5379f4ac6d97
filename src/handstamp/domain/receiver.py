"""A receiver of the audit trail: how far it has been sent there, and when it is tried again."""

from __future__ import annotations

import msgspec

from .policy import MINUTE_MS, SECOND_MS

LEASE_MS = MINUTE_MS
"""How long one process alone sends to a receiver. If it dies, another one takes over after that."""
_FIRST_PAUSE_MS = 5 * SECOND_MS
_LONGEST_PAUSE_MS = 10 * MINUTE_MS
_MOST_DOUBLINGS = 7
_LONGEST_WISH_S = 3600
_LONGEST_WAIT_MS = 2 * _LONGEST_WISH_S * SECOND_MS
"""A pause with what is added to it by chance is shorter."""


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """How far one receiver is. Times are milliseconds since 1970.

    Attributes:
        id: The SHA-256 of its URL.
        name: The host of its URL, for operators: the rest of a URL may be a secret. If several have that host, with a part of the
            id.
        sent_to: The number of the last event that it has accepted.
        sending_to: The number of the last event of the message that is being sent; not above `sent_to` if there is none.
        message: The id of that message. It is kept until the receiver has accepted the message.
        tries: How often a process has begun to send it.
        next_at_ms: When it may be tried again.
        sent_at_ms: When the receiver last accepted a message; None if it never did.
        error: Why the last try failed; "" if it did not.
        lost: How many events were deleted, as the retention says, before the receiver accepted them.
        holder: The process that sends; "" for none.
        held_until_ms: How long it alone may.
    """

    id: str
    name: str
    sent_to: int = 0
    sending_to: int = 0
    message: str = ""
    tries: int = 0
    next_at_ms: int = 0
    sent_at_ms: int | None = None
    error: str = ""
    lost: int = 0
    holder: str = ""
    held_until_ms: int = 0

    @property
    def is_sending(self) -> bool:
        """Whether there is a message that the receiver has not accepted yet."""
        return self.sending_to > self.sent_to

    def waits_ms(self, holder: str, now_ms: int) -> int:
        """Return how long a process must wait before it may send: for another one's lease, or after a failure. 0 if it may.

        A time that is further away than any that is written here was written by a wrong clock, and is ignored.
        """
        lease_ms = 0 if self.holder == holder else self.held_until_ms - now_ms
        pause_ms = self.next_at_ms - now_ms
        return max(0, lease_ms if lease_ms <= LEASE_MS else 0, pause_ms if pause_ms <= _LONGEST_WAIT_MS else 0)

    def claimed(self, holder: str, now_ms: int) -> Receiver:
        """Return it held by a process."""
        return msgspec.structs.replace(self, holder=holder, held_until_ms=now_ms + LEASE_MS)

    def begun(self, message: str, sending_to: int) -> Receiver:
        """Return it before one try of a message."""
        return msgspec.structs.replace(self, message=message, sending_to=sending_to, tries=self.tries + 1)

    def accepted(self, now_ms: int) -> Receiver:
        """Return it after the receiver has accepted the message."""
        return msgspec.structs.replace(self.moved(self.sending_to), sent_at_ms=now_ms)

    def moved(self, sent_to: int) -> Receiver:
        """Return it without a message, when nothing up to a number is left to send."""
        return msgspec.structs.replace(self, sent_to=sent_to, sending_to=sent_to, message="", tries=0, next_at_ms=0, error="")

    def refused(self, error: str, next_at_ms: int) -> Receiver:
        """Return it after a try that failed. The same message is sent again."""
        return msgspec.structs.replace(self, error=error, next_at_ms=next_at_ms)

    def split(self) -> Receiver:
        """Return it without its message, so that the next one has fewer events."""
        return msgspec.structs.replace(self, sending_to=self.sent_to, message="")


def pause_ms(tries: int, *, wished_s: int = 0) -> int:
    """Return how long to wait after so many tries: 5 seconds, doubled each time, at most ten minutes.

    `wished_s` is what the receiver asks for (`Retry-After`). It counts if it is longer, up to an hour.
    """
    pause = min(_FIRST_PAUSE_MS << min(tries - 1, _MOST_DOUBLINGS), _LONGEST_PAUSE_MS)
    return max(pause, min(wished_s, _LONGEST_WISH_S) * SECOND_MS)
