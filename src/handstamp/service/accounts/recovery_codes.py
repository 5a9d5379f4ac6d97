"""Give the person ten new recovery codes."""

from __future__ import annotations

from ...domain.event import Event
from ...domain.receipt import Repeatable
from ...errors import NotFound
from ...storage.store import Store, Transaction
from ...text import mark
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.recovery_codes import RecoveryCodeSets
from .factor_changes import FactorChanges, Holder


class ReplaceRecoveryCodes:
    """The use case behind `POST /recovery-codes`."""

    def __init__(self, *, store: Store, codes: RecoveryCodeSets, changes: FactorChanges, audit: Audit) -> None:
        self._store = store
        self._codes = codes
        self._changes = changes
        self._audit = audit

    async def __call__(self, holder: Holder, caller: Caller, *, request: Repeatable | None = None) -> list[str]:
        """Make ten new codes, which replace all others, and tell by mail. Return them: they cannot be read again.

        Args:
            holder: The session of the person.
            caller: The time of the request and where it came from.
            request: What is repeatable. Sent again, it gets the same codes.

        Raises:
            NotFound: If the account has no second factor, which a recovery code could replace.
            InvalidFields: If the client has used the key of `request` for another one.
            InsufficientAuthentication: If the proof of the holder is not strong enough.
            SessionEnded: If the session has ended meanwhile.
            Unavailable: If the store does not answer.
        """

        async def replace(rows: Transaction) -> tuple[list[str], Event | None]:
            account, factors = await holder.require(rows)
            repeated = await self._codes.find(rows, account.id, request, caller)
            if repeated is not None:
                return repeated, None
            if not factors.is_any:
                raise NotFound(mark("There is no second factor yet. Recovery codes take its place when it is lost."))
            codes = await self._codes.replace(rows, account.id, request, caller)
            return codes, await self._changes.record(rows, account, "recovery_codes", caller, sid=holder.sid)

        codes, event = await self._store.transact(replace)
        if event is not None:
            self._audit.log(event)
        return codes
