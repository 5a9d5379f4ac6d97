"""Look at mail that waits, for operators and for the development inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ...domain.event import Event
from ...domain.mail import Letter, Mail
from ...errors import NotFound
from ...storage.store import Store, Transaction
from ..operating.administration import Administrators
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.receipts import Receipts, request_repeated
from .delivery import Composer, DeliveryFailed, Message
from .outbox import Letters

BATCH = 500
"""The largest number of mails that one transaction makes due."""
SHOWN = 50
"""How many mails the development inbox lists."""


class WaitingMail(NamedTuple):
    """A mail with its address; None if its letter cannot be opened here, "" if it is not to be sent."""

    mail: Mail
    to: str | None


class MailQueue:
    """The use cases behind `handstamp mail queue` and `/admin/mails`."""

    def __init__(
        self, *, store: Store, letters: Letters, receipts: Receipts, administrators: Administrators, audit: Audit
    ) -> None:
        self._store = store
        self._letters = letters
        self._receipts = receipts
        self._administrators = administrators
        self._audit = audit

    async def list_newest(self, *, limit: int) -> tuple[list[WaitingMail], bool]:
        """Return up to `limit` mails that wait, newest first, and whether there are more. Raises `Unavailable`."""
        found = await self._store.read(lambda rows: rows.mails.list_newest(limit=limit + 1))
        return [WaitingMail(mail, self._address_of(mail)) for mail in found[:limit]], len(found) > limit

    async def retry(self, caller: Caller) -> int:
        """Make all mail due that failed before. Return how many there are. Raises `Unavailable`.

        An operator's request that is sent again returns what it returned first.
        """
        before = await self._store.read(lambda rows: self._receipts.find_of(rows, caller))
        if before is not None:
            self._audit.log(request_repeated(None, None, caller))
            return int(before)
        total = 0
        while count := await self._store.transact(lambda rows: rows.mails.retry(now_ms=caller.now_ms, limit=BATCH)):
            total += count
        if total:
            event = caller.event("mails_retried", detail={"count": total})

            async def record(rows: Transaction) -> None:
                await rows.events.insert(event)
                await self._receipts.save_of(rows, caller, str(total))

            await self._store.transact(record)
            self._audit.log(event)
        return total

    async def drop(self, mail_id: str, caller: Caller) -> None:
        """Delete a mail.

        Raises:
            NotFound: If there is none with that id.
            AdministratorProtected: If it is about an account that the caller may not change.
            Unavailable: If the store does not answer.
        """

        async def drop(rows: Transaction) -> Event:
            mail = await rows.mails.get(mail_id)
            if mail is None or not await rows.mails.delete(mail_id):
                raise NotFound(f"No mail {mail_id} waits.")
            account = None if mail.account is None else await rows.accounts.get(mail.account)
            if account is not None:
                await self._administrators.require_may_change(rows, account, caller)
            event = caller.event("mail_dropped", subject=mail.account, detail={"mail": mail.id, "mail_kind": mail.kind})
            await rows.events.insert(event)
            return event

        self._audit.log(await self._store.transact(drop))

    def _address_of(self, mail: Mail) -> str | None:
        try:
            return self._letters.open(mail).to
        except DeliveryFailed:
            return None


class ListedMail(NamedTuple):
    """A mail in the list of the development inbox."""

    mail: Mail
    to: str
    subject: str


class ShownMail(NamedTuple):
    """A mail of the development inbox, and its message."""

    mail: Mail
    message: Message


class DevelopmentInbox:
    """The use cases behind `/dev/mail`. What it shows is never sent."""

    def __init__(self, *, store: Store, letters: Letters, load: Callable[[], Awaitable[Composer]]) -> None:
        self._store = store
        self._letters = letters
        self._load = load

    async def list_newest(self) -> list[ListedMail]:
        """Return the newest mails. Raises `Unavailable`."""
        found = await self._store.read(lambda rows: rows.mails.list_newest(limit=SHOWN))
        composer = await self._load()
        letters = [(mail, self._open(mail)) for mail in found]
        return await asyncio.to_thread(
            lambda: [
                ListedMail(mail, letter.to, composer.write_subject(letter)) for mail, letter in letters if letter is not None
            ]
        )

    async def get(self, mail_id: str) -> ShownMail:
        """Return one mail. Raises `NotFound` and `Unavailable`."""
        mail = await self._store.read(lambda rows: rows.mails.get(mail_id))
        letter = None if mail is None else self._open(mail)
        if mail is None or letter is None:
            raise NotFound("There is no such mail. It may have been deleted: mail is kept here for three days.")
        composer = await self._load()
        return ShownMail(mail, await asyncio.to_thread(composer.compose, mail, letter))

    def _open(self, mail: Mail) -> Letter | None:
        """Return a letter that is shown; None if it is to be sent, has no recipient, or was sealed with another master secret."""
        if mail.next_at_ms is not None:
            return None
        try:
            letter = self._letters.open(mail)
        except DeliveryFailed:
            return None
        return letter if letter.to else None
