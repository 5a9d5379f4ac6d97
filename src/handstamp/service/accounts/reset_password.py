"""Reset a forgotten password by mail."""

from __future__ import annotations

import msgspec

from ...crypto.identifiers import new_secret
from ...domain.account import Account
from ...domain.event import Event, EventKind
from ...domain.mail import AnyContent, PasswordChanged, ResetPassword
from ...domain.sweep import Sweep
from ...errors import NotFound
from ...storage.store import Store, Transaction
from ...text import mark
from ..mailing.grant_mail import GrantMail
from ..mailing.notices import Notices
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.devices import NO_EARLIER, EarlierSignIns
from ..parts.email_address import normalise_email
from ..parts.hashing import Hashing
from ..parts.one_time import Issued, OneTimeGrants, Proven, Shown
from ..parts.receipts import Receipts, request_repeated
from ..parts.throttling import Throttling
from ..sessions.sweeping import Sweeping
from .factor_changes import forget_factors
from .new_password import PasswordRules


class PasswordReset:
    """The use cases behind `POST /password/reset` and `POST /password/reset/confirm`."""

    def __init__(
        self,
        *,
        store: Store,
        grants: OneTimeGrants,
        mail: GrantMail,
        notices: Notices,
        hashing: Hashing,
        throttling: Throttling,
        rules: PasswordRules,
        sweeping: Sweeping,
        receipts: Receipts,
        audit: Audit,
    ) -> None:
        self._store = store
        self._receipts = receipts
        self._grants = grants
        self._mail = mail
        self._notices = notices
        self._hashing = hashing
        self._throttling = throttling
        self._rules = rules
        self._sweeping = sweeping
        self._audit = audit

    async def ask(self, email: str, caller: Caller, *, browser: str, earlier: EarlierSignIns = NO_EARLIER) -> str:
        """Send a link and a code to an address, if it has an account. The answer and the work are the same if it has none.

        Args:
            email: The address as it was typed.
            caller: The time of the request and where it came from.
            browser: The secret of the browser, from `keep_browser_secret`. The code of the mail is accepted in this one.
            earlier: What shows that the person has signed in on this device before. Its mails are limited apart.

        Returns:
            The normalised address.

        Raises:
            InvalidFields: If the address is malformed.
            TooManyAttempts: If the network has asked for too many mails.
            Unavailable: If the store does not answer.
        """
        email = await normalise_email(email)

        async def send(rows: Transaction) -> Event:
            return await self._mail.send_to_owner(
                rows, "reset_password", write_reset, email=email, browser=browser, caller=caller, earlier=earlier
            )

        with self._throttling.logging("mail", caller):
            event = await self._store.transact(send)
        self._audit.log(event)
        return email

    async def send(self, account_id: str, caller: Caller) -> bool:
        """Send a link to the person of an account, as an operator. Until the link is used, nothing changes.

        Returns:
            False if none was sent: the account is disabled, or its mailbox has got so many that it has a valid link. True for
            the same request again.

        Raises:
            NotFound: If there is no such account.
            TooManyAttempts: If the network has asked for too many mails.
            Unavailable: If the store does not answer.
        """

        async def send(rows: Transaction) -> Event | None:
            if await self._receipts.find_of(rows, caller) is not None:
                return request_repeated(account_id, None, caller)
            account = await rows.accounts.get(account_id)
            if account is None:
                raise NotFound(mark("There is no account with this id."))
            if account.disabled_at_ms is not None:
                return None
            event = await self._mail.send(
                rows,
                "reset_password",
                write_reset,
                email=account.email,
                account=account,
                browser=new_secret(),  # of nobody: the person opens the link
                caller=caller,
                language=account.language,
                with_code=False,
            )
            if event.kind == "mail_requested":
                await self._receipts.save_of(rows, caller, account_id)
            return event

        with self._throttling.logging("mail", caller):
            event = await self._store.transact(send)
        if event is None:
            return False
        self._audit.log(event)
        return event.kind != "attempt_throttled"

    async def look(self, shown: Shown, caller: Caller) -> Proven:
        """Return the grant of a link or a code, which stays unused. Raises as `OneTimeGrants.prove`."""
        return await self._grants.prove("reset_password", shown, caller)

    async def confirm(self, shown: Shown, password: str, caller: Caller) -> None:
        """Set a new password for the account of a link or a code. All its sessions end.

        A person who can read the mailbox has proved that the address is theirs, so it counts as verified. No session begins:
        they sign in with the new password.

        Args:
            shown: The token of the link, or the code and the secret of the browser.
            password: The new password as it was typed.
            caller: The time of the request and where it came from.

        Raises:
            InvalidFields: If the password cannot be chosen. The link stays valid.
            InvalidCode: If the link or the code is wrong, used, expired or void.
            TooManyAttempts: If the client's network has too many passwords hashed.
            Unavailable: If the store does not answer, or if too many passwords wait to be hashed.
        """
        self._rules.normalise(password, "", field="newPassword")  # first, because looking at a code counts
        grant = (await self.look(shown, caller)).grant
        new = self._rules.normalise(password, grant.email, field="newPassword")
        new_hash = await self._hashing.hash(new, ip=caller.ip)

        async def reset(rows: Transaction) -> list[Event]:
            before = await self._grants.consume(rows, grant, grant.account_id or "", caller)
            assert before is not None  # noqa: S101 - for the type checker: a grant without an account is void
            after = msgspec.structs.replace(before, password_hash=new_hash, epoch=before.epoch + 1, email_verified=True)
            await rows.accounts.update(after)
            if not before.email_verified:  # whoever had created the account may be another person, with keys of their own
                await rows.identities.delete_of(after.id)
                await forget_factors(rows, after.id)
                await self._throttling.forget_factors(rows, after.id)
            sweep = Sweep(subject=after.id, why="password_changed", at_ms=caller.now_ms, epoch=after.epoch)
            events = [_event("password_reset", after, caller, sessions=await self._sweeping.begin(rows, sweep))]
            if await self._throttling.forget(rows, after.email):
                events.append(_event("account_unlocked", after, caller))
            for event in events:
                await rows.events.insert(event)
            await self._notices.tell(rows, after, PasswordChanged(was_reset=True), caller)
            return events

        for event in await self._store.transact(reset):
            self._audit.log(event)
        await self._sweeping.finish(grant.account_id or "")


def write_reset(issued: Issued) -> AnyContent:
    """Return the mail with a link and a code."""
    return ResetPassword(link=issued.link, code=issued.code)


def _event(kind: EventKind, account: Account, caller: Caller, **detail: str | int | None) -> Event:
    return caller.event(kind, subject=account.id, detail=detail)
