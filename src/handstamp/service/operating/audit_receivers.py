"""How far the receivers of the audit trail are, for operators and metrics."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...domain.receiver import Receiver
from ...storage.store import Rows, Store
from .audit_trail import FOREVER_MS
from .audit_webhook import Target


class ReceiverStatus(msgspec.Struct, frozen=True):
    """How far one receiver is.

    Attributes:
        receiver: Its row.
        is_configured: Whether the settings of this process name it.
        waiting_since_ms: The time of the first event that it has not accepted; None if it has all. Milliseconds since 1970.
    """

    receiver: Receiver
    is_configured: bool
    waiting_since_ms: int | None


async def read_receivers(store: Store, targets: Sequence[Target]) -> list[ReceiverStatus]:
    """Return the receivers that are configured, and then those that were. Raises `Unavailable` if the store does not answer."""

    async def read(rows: Rows) -> list[ReceiverStatus]:
        known = {receiver.id: receiver for receiver in await rows.receivers.list_all()}
        own = [known.pop(target.id, Receiver(id=target.id, name=target.name)) for target in targets]
        last = await rows.events.get_last_number()
        found = [*((receiver, True) for receiver in own), *((receiver, False) for receiver in known.values())]
        return [ReceiverStatus(receiver, is_own, await _find_waiting(rows, receiver, last)) for receiver, is_own in found]

    return await store.read(read)


async def _find_waiting(rows: Rows, receiver: Receiver, last: int) -> int | None:
    page = await rows.events.list_page(after=receiver.sent_to, until=last, since_ms=0, before_ms=FOREVER_MS, limit=1)
    return page[0][1].at_ms if page else None
