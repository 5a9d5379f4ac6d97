"""A person's own data: change the name and the language, export all data, delete the account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from ...domain.account import Account, normalise_name
from ...domain.event import Event
from ...domain.session import Session, home_network_of
from ...errors import DeletionBlocked, InvalidFields
from ...languages.choice import require_language
from ...storage.store import Rows, Store, Transaction
from ...text import mark
from ...transfer.own_data import Pages, Row
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.email_address import normalise_email
from ..parts.throttling import Throttling
from ..sessions.living import require_account, require_fresh, require_living_session, require_strong
from .forgetting import Forgetting

PAGE_SIZE = 50
"""Rows that are read at once. More would hold the event loop for too long."""
MOST = 4 * PAGE_SIZE
"""Rows of kinds of which an account has a few: counts, mails that wait, and links. Other limits keep them far below this."""
_HASHES = ("link_hash", "code_hash", "browser_hash", "details")


class ChangeProfile:
    """The use case behind `POST /profile`."""

    def __init__(self, *, store: Store, audit: Audit) -> None:
        self._store = store
        self._audit = audit

    async def __call__(
        self, session: Session, account: Account | None, caller: Caller, *, name: str | None = None, language: str | None = None
    ) -> Account:
        """Set the name or the language of a session's account, or both. Return the account.

        Args:
            session: The session of the person.
            account: Its account.
            caller: The time of the request and where it came from.
            name: As it was typed, "" for none. None leaves it.
            language: One of `LANGUAGES`, "" for that of each browser. None leaves it.

        Raises:
            NotFound: If the session belongs to no account.
            InvalidFields: If the name is too long or has characters that no name has, or if there is no such language.
            SessionEnded: If the session has ended meanwhile.
            Unavailable: If the store does not answer.
        """
        require_account(account)
        changes = {} if name is None else {"name": normalise_name(name)}
        if language is not None:
            changes["language"] = require_language(language)
        event = caller.event("profile_changed", subject=session.subject, sid=session.id)

        async def change(rows: Transaction) -> tuple[Account, Event | None]:
            _, before = await require_living_session(rows, session.id, caller)
            after = msgspec.structs.replace(before, **changes)
            if after == before:
                return before, None
            await rows.accounts.update(after)
            await rows.events.insert(event)
            return after, event

        changed, recorded = await self._store.transact(change)
        if recorded is not None:
            self._audit.log(recorded)
        return changed


class ExportData:
    """The use cases that return all that is stored about a person, but for secrets, to the person or to an operator."""

    def __init__(self, *, store: Store, throttling: Throttling, audit: Audit) -> None:
        self._store = store
        self._throttling = throttling
        self._audit = audit

    async def __call__(self, session: Session, account: Account | None, caller: Caller) -> Mapping[str, Pages]:
        """Return the sections of an export with their rows. Reading one raises `Unavailable` if the store does not answer.

        Raises:
            InsufficientAuthentication: If the person of the session proved too long ago, or not strongly enough, who they are.
            Unavailable: If the store does not answer.
        """
        require_fresh(session, caller.now_ms)
        require_strong(session, await self._store.read(lambda rows: rows.factors.get(session.subject)))
        await self._record(caller.event("data_exported", subject=session.subject, sid=session.id))
        return self._list_sections(session.subject, account)

    async def of(self, account: Account, caller: Caller) -> Mapping[str, Pages]:
        """Return the same about an account, for an operator. Raises `Unavailable` if the store does not answer."""
        await self._record(caller.event("data_exported", subject=account.id))
        return self._list_sections(account.id, account)

    async def _record(self, event: Event) -> None:
        await self._store.transact(lambda rows: rows.events.insert(event))
        self._audit.log(event)

    def _list_sections(self, subject: str, account: Account | None) -> Mapping[str, Pages]:
        return {
            "account": _once([] if account is None else [_describe_account(account)]),
            "secondFactors": self._list_factors(account),
            "identities": self._list_identities(account),
            "sessions": self._list_sessions(subject),
            "events": self._list_events(subject),
            "failedSignIns": self._list_failures(account),
            "mails": self._list_mails(account),
            "links": self._list_links(account),
        }

    async def _list_factors(self, account: Account | None) -> Pages:
        """Return the second factors, without what is secret of them."""
        if account is not None:
            totp = await self._store.read(lambda rows: rows.totp.get(account.id))
            codes = await self._store.read(lambda rows: rows.recovery_codes.list_of(account.id))
            app = [] if totp is None else [{"factor": "totp", **_leave_out(msgspec.structs.asdict(totp), "sealed", "last_step")}]
            used = [{"factor": "recovery_code", **_leave_out(msgspec.structs.asdict(code), "hash")} for code in codes]
            keys = await self._store.read(lambda rows: rows.passkeys.list_of(account.id))
            yield app + used + [{"factor": "passkey", **_leave_out(msgspec.structs.asdict(key), "public_key")} for key in keys]

    async def _list_identities(self, account: Account | None) -> Pages:
        """Return whom the person is at other providers, and which sessions began there."""
        if account is not None:
            found = await self._store.read(lambda rows: rows.identities.list_of(account.id))
            yield [msgspec.structs.asdict(each) for each in found]
            begun = await self._read(lambda rows: rows.provider_sessions.list_of(account.id, limit=MOST))
            yield [msgspec.structs.asdict(each) for each in begun]

    async def _list_sessions(self, subject: str) -> Pages:
        after = ("", "")
        while found := await self._read(
            lambda rows, after=after: rows.sessions.list_all_of(subject, after=after, limit=PAGE_SIZE)  # type: ignore[misc]
        ):
            after = (home_network_of(found[-1]), found[-1].id)
            yield [_describe_session(each) for each in found]

    async def _list_events(self, subject: str) -> Pages:
        after = 0
        while found := await self._read(
            lambda rows, after=after: rows.events.list_all_of(subject, after=after, limit=PAGE_SIZE)  # type: ignore[misc]
        ):
            after = found[-1][0]
            yield [msgspec.structs.asdict(event) for _, event in found]

    async def _list_failures(self, account: Account | None) -> Pages:
        if account is not None:
            found = await self._read(lambda rows: self._throttling.list_counts(rows, account, limit=MOST))
            yield [msgspec.structs.asdict(each) for each in found]

    async def _list_mails(self, account: Account | None) -> Pages:
        if account is not None:
            found = await self._read(lambda rows: rows.mails.list_of(account.id, limit=MOST))
            yield [_leave_out(msgspec.structs.asdict(each), "sealed") for each in found]

    async def _list_links(self, account: Account | None) -> Pages:
        """Return the grants behind the links and codes that were sent, without the hashes of these."""
        if account is not None:
            found = await self._read(lambda rows: rows.one_time.list_of(account.id, limit=MOST))
            yield [_leave_out(msgspec.structs.asdict(each), *_HASHES) for each in found]

    async def _read(self, work: Callable[[Rows], Awaitable[list[Any]]]) -> list[Any]:
        return await self._store.read(work)


class DeleteAccount:
    """The use case behind `POST /me/delete`."""

    def __init__(self, *, store: Store, forgetting: Forgetting) -> None:
        self._store = store
        self._forgetting = forgetting

    async def __call__(self, session: Session, account: Account | None, email: str, caller: Caller) -> None:
        """Delete the account of a session with all that belongs to it.

        Args:
            session: The session of the person who asks.
            account: Its account, read together with it, or None if it has none.
            email: The address of the account, which the person types to confirm.
            caller: The time of the request and where it came from.

        Raises:
            NotFound: If the session belongs to no account.
            InsufficientAuthentication: If the person proved too long ago, or not strongly enough, who they are.
            InvalidFields: If `email` is not the address of the account.
            DeletionBlocked: If the old address of the account can still undo a change of the address.
            SessionEnded: If the session has ended meanwhile.
            Unavailable: If the store does not answer. The account may be deleted then.
        """
        account = require_account(account)
        require_fresh(session, caller.now_ms)
        if await normalise_email(email) != account.email:
            raise InvalidFields([("email", mark("is not the address of this account"))])

        async def delete(rows: Transaction) -> Event:
            living, current = await require_living_session(rows, session.id, caller)
            require_strong(living, await rows.factors.get(current.id))
            if await rows.one_time.has_undo(current.id, now_ms=caller.now_ms):
                raise DeletionBlocked  # otherwise a thief would change the address and then make the undoing impossible
            return await self._forgetting.begin(rows, current, caller)

        event = await self._store.transact(delete)
        await self._forgetting.finish(event)


async def _once(rows: list[Row]) -> Pages:
    yield rows


def _describe_account(account: Account) -> Row:
    row = _leave_out(msgspec.structs.asdict(account), "password_hash")
    return row | {"has_password": account.password_hash != ""}


def _describe_session(session: Session) -> Row:
    row, by = msgspec.structs.asdict(session), session.impersonator
    if by is None:
        return row
    return row | {"impersonator": by.account_id, "ip": "", "user_agent": ""}  # the place is that of the operator


def _leave_out(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}
