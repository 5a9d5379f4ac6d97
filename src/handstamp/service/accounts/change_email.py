"""Change the address of an account."""

from __future__ import annotations

import msgspec

from ...domain.account import Account
from ...domain.event import Event, EventKind
from ...domain.mail import AddressChanged, AnyContent, ConfirmNewAddress, SignUpExists
from ...domain.session import Session
from ...errors import AccountExists, InvalidFields
from ...storage.store import Rows, Store, Transaction
from ...text import mark
from ..mailing.grant_mail import GrantMail
from ..mailing.notices import Notices
from ..mailing.undo_links import UndoLinks
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.email_address import normalise_email
from ..parts.one_time import Issued, OneTimeGrants, Proven, Shown
from ..parts.throttling import Throttling
from ..sessions.living import require_account, require_fresh, require_living_session, require_strong


class ChangeEmail:
    """The use cases behind `POST /email/change` and what follows it."""

    def __init__(
        self,
        *,
        store: Store,
        grants: OneTimeGrants,
        mail: GrantMail,
        notices: Notices,
        undo_links: UndoLinks,
        throttling: Throttling,
        audit: Audit,
    ) -> None:
        self._store = store
        self._grants = grants
        self._mail = mail
        self._notices = notices
        self._undo_links = undo_links
        self._throttling = throttling
        self._audit = audit

    async def ask(self, session: Session, account: Account | None, email: str, caller: Caller, *, browser: str) -> str:
        """Send a link and a code to the new address. The account keeps its address until one of them is used.

        The answer and the work are the same if the new address has an account. The mail to its owner says so then.

        Args:
            session: The session of the person who asks.
            account: Its account, read together with it, or None if it has none.
            email: The new address as it was typed.
            caller: The time of the request and where it came from.
            browser: The secret of the browser, from `keep_browser_secret`. The code of the mail is accepted in this one.

        Returns:
            The normalised new address.

        Raises:
            NotFound: If the session belongs to no account.
            InsufficientAuthentication: If the person signed in too long ago.
            InvalidFields: If the address is malformed, or is that of the account.
            TooManyAttempts: If the network has asked for too many mails.
            SessionEnded: If the session has ended meanwhile.
            Unavailable: If the store does not answer.
        """
        account = require_account(account)
        require_fresh(session, caller.now_ms)
        require_strong(session, await self._store.read(lambda rows: rows.factors.get(account.id)))
        email = await normalise_email(email, must_be_public=True)
        if email == account.email:
            raise InvalidFields([("email", mark("is the address of this account already"))])

        async def send(rows: Transaction) -> Event:
            _, current = await require_living_session(rows, session.id, caller)
            holder = await rows.accounts.get_by_email(email)
            return await self._mail.send(
                rows,
                "change_email",
                _write_confirmation if holder is None else _write_taken,
                email=email,
                account=current,
                browser=browser,
                caller=caller,
                language=current.language if holder is None else holder.language,
                device=session.id,
            )

        with self._throttling.logging("mail", caller):
            event = await self._store.transact(send)
        self._audit.log(event)
        return email

    async def look(self, shown: Shown, caller: Caller) -> Proven:
        """Return the grant of a link or a code, which stays unused. Raises as `OneTimeGrants.prove`."""
        return await self._grants.prove("change_email", shown, caller)

    async def confirm(self, shown: Shown, caller: Caller) -> Account:
        """Give an account its new address, which counts as verified. Return the account; its sessions go on.

        Both addresses are told. If the old one was verified, its mail has a link that undoes the change.

        Raises:
            InvalidCode: If the link or the code is wrong, used, expired or void.
            AccountExists: If another account has the address by now.
            Unavailable: If the store does not answer.
        """
        grant = (await self.look(shown, caller)).grant

        async def change(rows: Transaction) -> tuple[Account, Event]:
            before = await self._grants.consume(rows, grant, grant.account_id or "", caller)
            assert before is not None  # noqa: S101 - for the type checker: a grant without an account is void
            after = msgspec.structs.replace(before, email=grant.email, email_verified=True)
            await _require_free(rows, after)
            await rows.accounts.update(after)
            await self._throttling.forget(rows, before.email)  # it would count against the next account with this address
            event = _event("email_changed", after, caller)
            await rows.events.insert(event)
            undo_link = await self._undo_links.issue(rows, "undo_change", before, caller)
            told = AddressChanged(old=before.email, new=after.email)
            await self._notices.tell(rows, before, msgspec.structs.replace(told, undo_link=undo_link), caller)
            await self._notices.tell(rows, after, told, caller)
            return after, event

        changed, event = await self._store.transact(change)
        self._audit.log(event)
        return changed


def _write_confirmation(issued: Issued) -> AnyContent:
    return ConfirmNewAddress(link=issued.link, code=issued.code)


def _write_taken(_: Issued) -> AnyContent:
    return SignUpExists()


async def _require_free(rows: Rows, account: Account) -> None:
    """Raise `AccountExists` if another account has this one's address."""
    holder = await rows.accounts.get_by_email(account.email)
    if holder is not None and holder.id != account.id:
        raise AccountExists


def _event(kind: EventKind, account: Account, caller: Caller, **detail: str | int | None) -> Event:
    return caller.event(kind, subject=account.id, detail=detail)
