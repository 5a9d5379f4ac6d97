"""Undo what a thief did to an account: a new address, or a first way to sign in that the person did not add."""

from __future__ import annotations

import msgspec

from ...domain.event import Event, EventKind
from ...domain.mail import AddressChanged
from ...domain.one_time import UNDO_REACH_MS, OneTime, Purpose
from ...domain.sweep import Sweep
from ...errors import AccountExists
from ...storage.store import Store, Transaction
from ..mailing.notices import Notices
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.one_time import OneTimeGrants, Proven, Shown, keep_browser_secret
from ..parts.throttling import Throttling
from ..sessions.sweeping import Sweeping
from .factor_changes import forget_later_factors
from .reset_password import write_reset


class Undo:
    """The use case behind `POST /email/change/undo` and `POST /factors/undo`. Both have the same effect.

    Whoever did what is undone knew the password and may know the new one, and may have added more than the mail tells of. So the
    reader of the mailbox is left in sole control.
    """

    def __init__(
        self,
        *,
        store: Store,
        grants: OneTimeGrants,
        notices: Notices,
        throttling: Throttling,
        sweeping: Sweeping,
        audit: Audit,
    ) -> None:
        self._store = store
        self._grants = grants
        self._notices = notices
        self._throttling = throttling
        self._sweeping = sweeping
        self._audit = audit

    async def look(self, purpose: Purpose, shown: Shown, caller: Caller) -> Proven:
        """Return the grant of a link, which stays unused. Raises as `OneTimeGrants.prove`."""
        return await self._grants.prove(purpose, shown, caller)

    async def __call__(self, purpose: Purpose, shown: Shown, caller: Caller) -> None:
        """Give an account back to the owner of the mailbox that the link was sent to, whatever was changed since.

        The account gets the address of that mailbox back if it has another one. All sessions end. The password, all identities at
        other providers, and the second factors that were added in the week before the mail or since are removed. Older factors
        stay: the mailbox alone replaces none. The links of later mails are void, and the mailbox gets a mail with which the owner
        chooses a new password.

        Args:
            purpose: What the link is for, `undo_change` or `undo_factor`.
            shown: The token of the link.
            caller: The time of the request and where it came from.

        Raises:
            InvalidCode: If the link is wrong, used, expired or void.
            AccountExists: If another account has the address by now.
            Unavailable: If the store does not answer.
        """
        grant = (await self.look(purpose, shown, caller)).grant
        for event in await self._store.transact(lambda rows: self._undo(rows, grant, caller)):
            self._audit.log(event)
        await self._sweeping.finish(grant.account_id or "")

    async def _undo(self, rows: Transaction, grant: OneTime, caller: Caller) -> list[Event]:
        before = await self._grants.consume(rows, grant, grant.account_id or "", caller)
        assert before is not None  # noqa: S101 - for the type checker: a grant without an account is void
        holder = await rows.accounts.get_by_email(grant.email)
        if holder is not None and holder.id != before.id:
            raise AccountExists
        after = msgspec.structs.replace(before, email=grant.email, email_verified=True, password_hash="", epoch=before.epoch + 1)
        await rows.accounts.update(after)
        await rows.one_time.delete_later_undos(grant)
        await forget_later_factors(rows, after.id, grant.created_at_ms - UNDO_REACH_MS)
        await rows.identities.delete_of(after.id)
        for email in (before.email, after.email):
            await self._throttling.forget(rows, email)
        sweep = Sweep(subject=after.id, why="password_changed", at_ms=caller.now_ms, epoch=after.epoch)
        detail: dict[str, str | int | None] = {"sessions": await self._sweeping.begin(rows, sweep)}
        kinds: list[EventKind] = ["factor_undone"] if grant.purpose == "undo_factor" else []
        if grant.purpose == "undo_change" or before.email != after.email:
            kinds.append("email_change_undone")
        events = [caller.event(kind, subject=after.id, detail=detail) for kind in kinds]
        for event in events:
            await rows.events.insert(event)
        issued = await self._grants.issue(
            rows,
            "reset_password",
            email=after.email,
            account=after,
            browser=keep_browser_secret(),
            caller=caller,
            with_code=False,
        )
        await self._notices.tell(rows, after, write_reset(issued), caller)
        if before.email != after.email:
            await self._notices.tell(rows, before, AddressChanged(old=before.email, new=after.email), caller)
        return events
