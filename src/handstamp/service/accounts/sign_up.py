"""Create accounts whose address is proven by mail first.

Until then there is no account: what the person has chosen waits in the grant of the mail. So a stranger who signs up with the
address of another person has no account and no password that could ever open one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...crypto.identifiers import new_id
from ...domain.account import Account, normalise_name
from ...domain.delivery import Delivery
from ...domain.event import Event
from ...domain.mail import AnyContent, ConfirmSignUp, SignUpExists
from ...domain.one_time import OneTime
from ...domain.proof import Proof
from ...domain.receipt import Repeatable
from ...errors import InvalidCode, InvalidFields
from ...storage.store import Store, Transaction
from ...text import mark
from ..mailing.grant_mail import GrantMail
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.hashing import Hashing
from ..parts.one_time import Issued, OneTimeGrants, Proven, Shown
from ..parts.throttling import Throttling
from ..parts.tokens import TokenPair
from ..sessions.begin import BeginSession
from .new_password import PasswordRules

NEEDS_PASSWORD = mark("is needed: this is not the browser in which the account was asked for. Choose a password for it here")


class SignUp:
    """The use case behind `POST /register` with mail, and `POST /register/confirm`."""

    def __init__(
        self,
        *,
        store: Store,
        grants: OneTimeGrants,
        mail: GrantMail,
        hashing: Hashing,
        rules: PasswordRules,
        throttling: Throttling,
        begin_session: BeginSession,
        audit: Audit,
    ) -> None:
        self._store = store
        self._grants = grants
        self._mail = mail
        self._hashing = hashing
        self._rules = rules
        self._throttling = throttling
        self._begin_session = begin_session
        self._audit = audit

    async def ask(
        self,
        email: str,
        password: str,
        caller: Caller,
        *,
        browser: str,
        name: str = "",
        language: str = "",
        remembered: Mapping[str, str] | None = None,
    ) -> str:
        """Send the mail that proves an address, or one that says that it has an account. The answer and the work are the same.

        Args:
            email: The address as it was typed.
            password: The password as it was typed.
            caller: The time of the request and where it came from.
            browser: The secret of the browser, from `keep_browser_secret`. The code of the mail is accepted in this one.
            name: What the person wants to be called, as it was typed; "" if unknown.
            language: The language of the person, "" if unknown.
            remembered: What the page that confirms needs.

        Returns:
            The normalised address.

        Raises:
            InvalidFields: If the address, the password or the name is invalid.
            TooManyAttempts: If the network has asked for too many mails, or has too many passwords hashed.
            Unavailable: If the store does not answer, or if too many passwords wait to be hashed.
        """
        email, password = await self._rules.normalise_with_email(email, password, must_be_public=True)
        name = normalise_name(name)
        with self._throttling.logging("register", caller):
            mails = self._throttling.of_mails_from(caller.ip)
            await self._store.read(lambda rows: self._throttling.require_no_wait(rows, mails, caller.now_ms))
            password_hash = await self._hashing.hash(password, ip=caller.ip)
            chosen = {"password_hash": password_hash, "name": name, "language": language, **(remembered or {})}

            async def send(rows: Transaction) -> Event:
                account = await rows.accounts.get_by_email(email)
                return await self._mail.send(
                    rows,
                    "register",
                    _write_confirmation if account is None else _write_existing,
                    email=email,
                    account=None,
                    browser=browser,
                    caller=caller,
                    language=language if account is None else account.language,
                    details=chosen,
                )

            event = await self._store.transact(send)
        self._audit.log(event)
        return email

    async def look(self, shown: Shown, caller: Caller) -> Proven:
        """Return the sign-up of a link or a code, which stays unused. Raises as `OneTimeGrants.prove`."""
        return await self._grants.prove("register", shown, caller)

    async def confirm(
        self,
        shown: Shown,
        caller: Caller,
        *,
        password: str | None = None,
        delivery: Delivery,
        presented: Iterable[str] = (),
        request: Repeatable | None = None,
    ) -> TokenPair:
        """Create the account, verified, and sign in.

        Args:
            shown: The link or the code.
            caller: The time of the request and where it came from.
            password: The password as it was typed. None for the one of the sign-up, which counts in its browser alone.
            delivery: How the tokens of the session travel.
            presented: Tokens that came with the request. Their sessions end.
            request: What is repeatable, or None.

        Raises:
            InvalidCode: If the link or the code is not accepted.
            InvalidFields: If the password cannot be chosen, or is missing in another browser.
            TooManyAttempts: If the network has too many passwords hashed.
            Unavailable: If the store does not answer, or if too many passwords wait to be hashed.
        """
        try:
            grant, account = await self._prove(shown, password, caller)
            return await self._create(grant, account, caller, delivery=delivery, presented=presented, request=request)
        except InvalidCode as refused:
            return await self._begin_session.repeat_used(
                refused, _prove("", None, caller), request, delivery=delivery, caller=caller
            )

    async def _prove(self, shown: Shown, password: str | None, caller: Caller) -> tuple[OneTime, Account]:
        """Return the grant, and the account that it is for. What was chosen in another browser does not count."""
        proven = await self.look(shown, caller)
        grant, chosen = proven.grant, proven.grant.details
        if password is not None:
            password_hash = await self._hashing.hash(self._rules.normalise(password, grant.email), ip=caller.ip)
        elif proven.in_same_browser:
            password_hash = chosen["password_hash"]
        else:
            raise InvalidFields([("password", NEEDS_PASSWORD)])
        return grant, Account(
            id=new_id(),
            email=grant.email,
            password_hash=password_hash,
            created_at_ms=caller.now_ms,
            email_verified=True,
            name=chosen["name"] if proven.in_same_browser else "",
            language=chosen["language"],
        )

    async def _create(
        self,
        grant: OneTime,
        account: Account,
        caller: Caller,
        *,
        delivery: Delivery,
        presented: Iterable[str],
        request: Repeatable | None,
    ) -> TokenPair:
        recorded: list[Event] = []

        async def create(rows: Transaction) -> None:
            await self._grants.consume(rows, grant, account.id, caller)
            if not await rows.accounts.insert(account):
                raise InvalidCode("void")
            recorded[:] = [caller.event("account_created", subject=account.id)]
            await rows.events.insert(recorded[0])

        return await self._begin_session(
            _prove(account.id, account, caller),
            delivery=delivery,
            caller=caller,
            confirm=create,
            beside=recorded,
            replaced=presented,
            request=request,
        )


def _prove(subject: str, account: Account | None, caller: Caller) -> Proof:
    return Proof(subject=subject, account=account, amr=("pwd",), acr="pwd", authenticated_at_ms=caller.now_ms)


def _write_confirmation(issued: Issued) -> AnyContent:
    return ConfirmSignUp(link=issued.link, code=issued.code)


def _write_existing(_: Issued) -> AnyContent:
    return SignUpExists()
