"""Verify the address of an account that exists, such as one that an operator created, or that is older than the mail server."""

from __future__ import annotations

import msgspec

from ...domain.account import Account
from ...domain.event import Event
from ...domain.mail import AnyContent, VerifyEmail
from ...domain.one_time import OneTime
from ...errors import InvalidCode, InvalidFields, NotFound
from ...storage.store import Store, Transaction
from ...text import mark
from ..mailing.grant_mail import GrantMail
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.devices import NO_EARLIER, EarlierSignIns
from ..parts.one_time import Issued, OneTimeGrants, Proven, Shown
from ..parts.throttling import Throttling
from ..parts.verified import mark_verified
from ..signing_in.password import PasswordSignIn


class VerifyAddress:
    """The use case behind `POST /email/verify` and `POST /email/verify/confirm`."""

    def __init__(
        self,
        *,
        store: Store,
        grants: OneTimeGrants,
        mail: GrantMail,
        sign_in: PasswordSignIn,
        throttling: Throttling,
        audit: Audit,
    ) -> None:
        self._store = store
        self._grants = grants
        self._mail = mail
        self._sign_in = sign_in
        self._throttling = throttling
        self._audit = audit

    async def ask(self, account_id: str, caller: Caller, *, browser: str, device: str = "") -> str:
        """Send the mail that verifies the address of an account. Return the address.

        Args:
            account_id: The account of the person, who is signed in or has just proved the password.
            caller: The time of the request and where it came from.
            browser: The secret of the browser, from `keep_browser_secret`.
            device: The session in which it is asked for, "" if in none.

        Raises:
            NotFound: If there is no such account.
            InvalidFields: If the address is verified already.
            TooManyAttempts: If the network has asked for too many mails.
            Unavailable: If the store does not answer.
        """

        async def send(rows: Transaction) -> tuple[str, Event]:
            account = await rows.accounts.get(account_id)
            if account is None:
                raise NotFound(mark("This session belongs to no account of this service."))
            if account.email_verified:
                raise InvalidFields([("email", mark("is verified already"))])
            event = await self._mail.send(
                rows,
                "verify_email",
                _write,
                email=account.email,
                account=account,
                browser=browser,
                caller=caller,
                language=account.language,
                device=device,
            )
            return account.email, event

        with self._throttling.logging("mail", caller):
            email, event = await self._store.transact(send)
        self._audit.log(event)
        return email

    async def ask_with_password(
        self, email: str, password: str, caller: Caller, *, browser: str, earlier: EarlierSignIns = NO_EARLIER
    ) -> str:
        """Do as `ask`, for a person who cannot sign in before the address is verified.

        Raises:
            As `PasswordSignIn.prove` and `ask`.
        """
        with self._throttling.logging("sign_in", caller):
            proof, confirm, _ = await self._sign_in.prove(email, password, caller, earlier=earlier)
            await self._store.transact(confirm)
        return await self.ask(proof.subject, caller, browser=browser)

    async def look(self, shown: Shown, caller: Caller) -> Proven:
        """Return the grant of a link or a code, which stays unused. Raises as `OneTimeGrants.prove`."""
        return await self._grants.prove("verify_email", shown, caller)

    async def confirm(self, shown: Shown, caller: Caller) -> Account:
        """Mark the address as verified. Return the account. Doing it again with the same link or code has no effect.

        Raises:
            InvalidCode: If the link or the code is not accepted.
            InvalidFields: If neither a link nor six digits were sent.
            Unavailable: If the store does not answer.
        """
        try:
            return await self._verify((await self.look(shown, caller)).grant, caller)
        except InvalidCode as refused:
            used_for = refused.subject
            account = None if used_for is None else await self._store.read(lambda rows: rows.accounts.get(used_for))
            if account is None or not account.email_verified:
                raise
            return account

    async def _verify(self, grant: OneTime, caller: Caller) -> Account:
        async def verify(rows: Transaction) -> tuple[Account, list[Event]]:
            account = await self._grants.consume(rows, grant, grant.account_id or "", caller)
            assert account is not None  # noqa: S101 - for the type checker: a grant without an account is void
            events = await mark_verified(rows, account, caller)
            return msgspec.structs.replace(account, email_verified=True), events

        account, events = await self._store.transact(verify)
        for event in events:
            self._audit.log(event)
        return account


def _write(issued: Issued) -> AnyContent:
    return VerifyEmail(link=issued.link, code=issued.code)
