"""Mark the address of an account as verified."""

from __future__ import annotations

import msgspec

from ...domain.account import Account
from ...domain.event import Event
from ...storage.store import Transaction
from .caller import Caller


async def mark_verified(rows: Transaction, account: Account, caller: Caller) -> list[Event]:
    """Mark the address as verified. Return what was recorded, for the log after the commit: nothing if it was verified before."""
    if account.email_verified:
        return []
    await rows.accounts.update(msgspec.structs.replace(account, email_verified=True))
    event = caller.event("email_verified", subject=account.id)
    await rows.events.insert(event)
    return [event]
