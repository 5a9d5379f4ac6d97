"""Seal the tokens of other providers with the current master secret."""

from __future__ import annotations

import msgspec

from ...crypto.provider_tokens import TokenSeal
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller

BATCH = 100
"""Tokens of one transaction."""


class ResealTokens:
    """The use case behind `handstamp keys reseal`, beside that of the signing keys."""

    def __init__(self, *, store: Store, seal: TokenSeal, audit: Audit) -> None:
        self._store = store
        self._audit = audit
        self._seal = seal

    async def __call__(self, caller: Caller) -> int:
        """Seal all tokens again that a previous master secret sealed. Return how many there were.

        Raises:
            ConfigurationError: If none of the secrets opens some. Those before them are sealed.
            Unavailable: If the store does not answer.
        """
        total, after = 0, ("", "")
        while True:
            count, last = await self._store.transact(lambda rows, after=after: self._seal_page(rows, after))  # type: ignore[misc]
            total += count
            if last is None:
                break
            after = last
        if total:
            event = caller.event("secrets_resealed", detail={"what": "tokens", "count": total})
            await self._store.transact(lambda rows: rows.events.insert(event))
            self._audit.log(event)
        return total

    async def _seal_page(self, rows: Transaction, after: tuple[str, str]) -> tuple[int, tuple[str, str] | None]:
        page, count = await rows.identities.list_tokens(after=after, limit=BATCH), 0
        for row in page:
            name = (row.issuer, row.subject)
            if self._seal.is_current(row.sealed, *name):
                continue
            sealed = self._seal.seal(self._seal.open(row.sealed, *name), *name)
            await rows.identities.save_tokens(msgspec.structs.replace(row, sealed=sealed))
            count += 1
        return count, (page[-1].issuer, page[-1].subject) if len(page) == BATCH else None
