"""Seal the secrets of authenticator apps with the current master secret."""

from __future__ import annotations

import msgspec

from ...crypto.totp import TotpSecrets
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller

BATCH = 100
"""Apps of one transaction."""


class ResealApps:
    """The use case behind `handstamp keys reseal`, beside that of the signing keys."""

    def __init__(self, *, store: Store, secrets: TotpSecrets, audit: Audit) -> None:
        self._store = store
        self._audit = audit
        self._secrets = secrets

    async def __call__(self, caller: Caller) -> int:
        """Seal every secret again that a previous master secret sealed. Return how many there were.

        Raises:
            ConfigurationError: If none of the secrets opens one. Those before it are sealed.
            Unavailable: If the store does not answer.
        """
        total, after = 0, ""
        while True:
            count, last = await self._store.transact(lambda rows, after=after: self._seal_page(rows, after))  # type: ignore[misc]
            total += count
            if last is None:
                break
            after = last
        if total:
            event = caller.event("secrets_resealed", detail={"what": "apps", "count": total})
            await self._store.transact(lambda rows: rows.events.insert(event))
            self._audit.log(event)
        return total

    async def _seal_page(self, rows: Transaction, after: str) -> tuple[int, str | None]:
        page, count = await rows.totp.list_page(after=after, limit=BATCH), 0
        for app in page:
            if self._secrets.is_current(app.sealed, app.account_id):
                continue
            secret = self._secrets.open(app.sealed, app.account_id)
            await rows.totp.save(msgspec.structs.replace(app, sealed=self._secrets.seal(secret, app.account_id)))
            count += 1
        return count, page[-1].account_id if len(page) == BATCH else None
