"""Queries on all second factors of an account."""

from __future__ import annotations

from typing import Protocol

from ...domain.factor import Factors


class FactorQueries(Protocol):
    """Reads what second factors an account has."""

    async def get(self, account_id: str) -> Factors:
        """Return a summary, in one query."""
