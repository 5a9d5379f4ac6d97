"""Recognise a request that was carried out before and is sent again because its answer was lost.

See docs/decisions/0025-idempotency.md.
"""

from __future__ import annotations

from ...crypto.seal import Pseudonyms
from ...domain.event import Event
from ...domain.policy import Policy
from ...domain.receipt import LIFETIME_MS, Receipt, Repeatable
from ...errors import InvalidFields
from ...storage.store import Rows, Transaction
from ...text import mark
from .caller import Caller


class Receipts:
    """Writes a receipt in the transaction of each change, and finds it when the request comes again."""

    def __init__(self, pseudonyms: Pseudonyms, *, policy: Policy) -> None:
        """Create it. `pseudonyms` replaces keys and contents. A policy without grace allows no repeats, and no receipts."""
        self._pseudonyms = pseudonyms
        self._is_on = policy.grace_ms > 0

    async def find(self, rows: Rows, about: str, request: Repeatable | None, now_ms: int) -> str | None:
        """Return the result of a request if it was carried out within the last `LIFETIME_MS`, else None.

        Args:
            rows: The rows of a read or of a transaction.
            about: The subject or the address that the request is about.
            request: The request, or None if its client sent no key.
            now_ms: Milliseconds since 1970.

        Raises:
            InvalidFields: If the key belongs to a request with other content (draft-ietf-httpapi-idempotency-key-header §2.7).
        """
        if request is None or not self._is_on:
            return None
        receipt = await rows.receipts.get(self._name(about, request))
        if receipt is None or now_ms - receipt.at_ms > LIFETIME_MS:
            return None
        if receipt.request != self._fingerprint(request):
            raise InvalidFields(
                [("Idempotency-Key", mark("was sent with another request before: use a new key for each request"))]
            )
        return receipt.result

    async def save(self, rows: Transaction, about: str, request: Repeatable | None, result: str, now_ms: int) -> None:
        """Write the receipt of a change; `result` is the id of what it has made. Other arguments as for `find`."""
        if request is not None and self._is_on:
            name, fingerprint = self._name(about, request), self._fingerprint(request)
            await rows.receipts.save(Receipt(key=name, request=fingerprint, result=result, at_ms=now_ms))

    async def find_of(self, rows: Rows, caller: Caller) -> str | None:
        """As `find`, for the request of an operator, which `caller` has."""
        return await self.find(rows, str(caller.operator), caller.request, caller.now_ms)

    async def save_of(self, rows: Transaction, caller: Caller, result: str) -> None:
        """As `save`, for the request of an operator, which `caller` has."""
        await self.save(rows, str(caller.operator), caller.request, result, caller.now_ms)

    def _name(self, about: str, request: Repeatable) -> str:
        return self._pseudonyms.make("receipt", request.operation, about, request.key)

    def _fingerprint(self, request: Repeatable) -> str:
        # With the key inside: who has both the database and the master secret still cannot guess a password by this hash.
        return self._pseudonyms.make("request", request.key, *request.content)


def request_repeated(subject: str | None, sid: str | None, caller: Caller) -> Event:
    """Return the event of a request that got the same answer again. It goes to the log alone: nothing was written."""
    return caller.event("request_repeated", subject=subject, sid=sid)
