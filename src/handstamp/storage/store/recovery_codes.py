"""Queries and changes of recovery codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...domain.recovery_code import RecoveryCode


class RecoveryCodeQueries(Protocol):
    """Reads recovery codes."""

    async def list_of(self, account_id: str) -> list[RecoveryCode]:
        """Return all codes of an account, used ones too. They are at most ten."""


class RecoveryCodeTable(RecoveryCodeQueries, Protocol):
    """Reads and changes recovery codes."""

    async def replace(self, account_id: str, codes: Sequence[RecoveryCode]) -> None:
        """Remove all codes of an account, and add these, if any."""

    async def use(self, account_id: str, code_hash: bytes, now_ms: int) -> bool:
        """Mark a code as used. Return False if there is no such code, or if it was used already."""
