"""Queries and changes of receipts."""

from __future__ import annotations

from typing import Protocol

from ...domain.receipt import Receipt


class ReceiptQueries(Protocol):
    """Reads receipts."""

    async def get(self, key: str) -> Receipt | None:
        """Return the receipt with that key, however old it is."""


class ReceiptTable(ReceiptQueries, Protocol):
    """Reads and changes receipts."""

    async def save(self, receipt: Receipt) -> None:
        """Write a receipt. It replaces one with the same key."""
