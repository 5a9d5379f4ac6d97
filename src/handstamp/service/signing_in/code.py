"""Sign in with a link or a code that comes by mail."""

from __future__ import annotations

from collections.abc import Iterable

from ...domain.account import Account
from ...domain.delivery import Delivery
from ...domain.event import Event
from ...domain.mail import AnyContent, SignInCode
from ...domain.proof import Proof
from ...domain.receipt import Repeatable
from ...errors import InvalidCode
from ...storage.store import Store, Transaction
from ..mailing.grant_mail import GrantMail
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.devices import NO_EARLIER, EarlierSignIns
from ..parts.email_address import normalise_email
from ..parts.one_time import Issued, OneTimeGrants, Proven, Shown
from ..parts.throttling import Throttling
from ..parts.tokens import TokenPair
from ..parts.verified import mark_verified
from ..sessions.begin import BeginSession

METHODS = ("otp",)
"""The `amr` of such a session (RFC 8176): one-time password."""


class CodeSignIn:
    """The use case behind `POST /login/code` and `POST /login/code/confirm`: proves with a mailbox, then begins a session."""

    def __init__(
        self,
        *,
        store: Store,
        grants: OneTimeGrants,
        mail: GrantMail,
        throttling: Throttling,
        begin_session: BeginSession,
        audit: Audit,
    ) -> None:
        self._store = store
        self._grants = grants
        self._mail = mail
        self._throttling = throttling
        self._begin_session = begin_session
        self._audit = audit

    async def ask(
        self,
        email: str,
        caller: Caller,
        *,
        browser: str,
        earlier: EarlierSignIns = NO_EARLIER,
        remembered: dict[str, str] | None = None,
    ) -> str:
        """Send a link and a code to an address, if it has an account. The answer and the work are the same if it has none.

        Args:
            email: The address as it was typed.
            caller: The time of the request and where it came from.
            browser: The secret of the browser, from `keep_browser_secret`. The code of the mail is accepted in this one.
            earlier: What shows that the person has signed in on this device before. Its mails are limited apart.
            remembered: What the page that confirms needs.

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
                rows, "sign_in", _write, email=email, browser=browser, caller=caller, earlier=earlier, details=remembered
            )

        with self._throttling.logging("mail", caller):
            event = await self._store.transact(send)
        self._audit.log(event)
        return email

    async def look(self, shown: Shown, caller: Caller) -> Proven:
        """Return the grant of a link or a code, which stays unused. Raises as `OneTimeGrants.prove`."""
        return await self._grants.prove("sign_in", shown, caller)

    async def __call__(
        self,
        shown: Shown,
        *,
        delivery: Delivery,
        caller: Caller,
        presented: Iterable[str] = (),
        request: Repeatable | None = None,
    ) -> TokenPair:
        """Begin a session, and mark the address as verified.

        Args:
            shown: The link or the code.
            delivery: How the tokens of the session travel.
            caller: The time of the request and where it came from.
            presented: Tokens that came with the request. Their sessions end (T15).
            request: What is repeatable, or None.

        Raises:
            InvalidCode: If the link or the code is not accepted.
            InvalidFields: If neither a link nor six digits were sent.
            Unavailable: If the store, the signing key or the claims hook fails.
        """
        try:
            proven = await self.look(shown, caller)
            return await self._begin(proven, delivery=delivery, caller=caller, presented=presented, request=request)
        except InvalidCode as refused:
            return await self._begin_session.repeat_used(
                refused, _prove("", None, caller), request, delivery=delivery, caller=caller
            )

    async def _begin(
        self, proven: Proven, *, delivery: Delivery, caller: Caller, presented: Iterable[str], request: Repeatable | None
    ) -> TokenPair:
        grant, account = proven.grant, proven.account
        assert account is not None  # noqa: S101 - for the type checker: a grant without an account is void
        verified: list[Event] = []

        async def use_up(rows: Transaction) -> None:
            current = await self._grants.consume(rows, grant, account.id, caller)
            assert current is not None  # noqa: S101 - as above
            verified[:] = await mark_verified(rows, current, caller)

        return await self._begin_session(
            _prove(account.id, account, caller),
            delivery=delivery,
            caller=caller,
            confirm=use_up,
            beside=verified,
            replaced=presented,
            request=request,
        )


def _prove(subject: str, account: Account | None, caller: Caller) -> Proof:
    return Proof(subject=subject, account=account, amr=METHODS, authenticated_at_ms=caller.now_ms)


def _write(issued: Issued) -> AnyContent:
    return SignInCode(link=issued.link, code=issued.code)
