"""Seal what a previous master secret has sealed with the current one: beside the signing keys, for `handstamp keys reseal`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, TypeVar

import msgspec

from ...crypto.provider_tokens import TokenSeal
from ...crypto.totp import TotpSecrets
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller

BATCH = 100
"""Rows of one transaction."""
_Key = TypeVar("_Key", str, tuple[str, str])


class ResealApps:
    """Seals the secrets of authenticator apps again."""

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
        return await _reseal(self._store, self._audit, caller, what="apps", first="", seal_page=self._seal_page)

    async def _seal_page(self, after: str, rows: Transaction) -> tuple[int, str | None]:
        page, count = await rows.totp.list_page(after=after, limit=BATCH), 0
        for app in page:
            if self._secrets.is_current(app.sealed, app.account_id):
                continue
            secret = self._secrets.open(app.sealed, app.account_id)
            await rows.totp.save(msgspec.structs.replace(app, sealed=self._secrets.seal(secret, app.account_id)))
            count += 1
        return count, page[-1].account_id if len(page) == BATCH else None


class ResealTokens:
    """Seals the tokens of other providers again."""

    def __init__(self, *, store: Store, seal: TokenSeal, audit: Audit) -> None:
        self._store = store
        self._audit = audit
        self._seal = seal

    async def __call__(self, caller: Caller) -> int:
        """Seal all tokens again that a previous master secret sealed. Return how many there were. Raises as `ResealApps`."""
        return await _reseal(self._store, self._audit, caller, what="tokens", first=("", ""), seal_page=self._seal_page)

    async def _seal_page(self, after: tuple[str, str], rows: Transaction) -> tuple[int, tuple[str, str] | None]:
        page, count = await rows.identities.list_tokens(after=after, limit=BATCH), 0
        for row in page:
            name = (row.issuer, row.subject)
            if self._seal.is_current(row.sealed, *name):
                continue
            sealed = self._seal.seal(self._seal.open(row.sealed, *name), *name)
            await rows.identities.save_tokens(msgspec.structs.replace(row, sealed=sealed))
            count += 1
        return count, (page[-1].issuer, page[-1].subject) if len(page) == BATCH else None


async def _reseal(
    store: Store,
    audit: Audit,
    caller: Caller,
    *,
    what: Literal["apps", "tokens"],
    first: _Key,
    seal_page: Callable[[_Key, Transaction], Awaitable[tuple[int, _Key | None]]],
) -> int:
    """Seal page after page, each in a transaction, and record how many rows were sealed. Return that number.

    `seal_page` seals the rows after a key. It returns how many it sealed, and the last key unless the page was the last one.
    """
    total = 0
    after: _Key | None = first
    while after is not None:
        count, after = await store.transact(partial(seal_page, after))
        total += count
    if total:
        event = caller.event("secrets_resealed", detail={"what": what, "count": total})
        await store.transact(lambda rows: rows.events.insert(event))
        audit.log(event)
    return total
