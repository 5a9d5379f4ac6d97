"""Send the mail of a one-time grant, within the limits of its address and of the network that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...domain.account import Account
from ...domain.event import Actor, Event
from ...domain.mail import AnyContent
from ...domain.one_time import Purpose
from ...errors import TooManyAttempts
from ...storage.store import Transaction
from ..parts.caller import Caller
from ..parts.devices import Devices, EarlierSignIns
from ..parts.one_time import Issued, OneTimeGrants
from ..parts.throttling import Throttling
from .outbox import Outbox

Write = Callable[[Issued], AnyContent]
"""Returns the content of the mail with this link and code."""

_FOR_VISITORS: frozenset[Purpose] = frozenset({"register", "sign_in", "reset_password"})
"""What a person asks for who is not signed in."""


class GrantMail:
    """Issues grants and adds their mails to the outbox."""

    def __init__(self, *, grants: OneTimeGrants, outbox: Outbox, throttling: Throttling, devices: Devices) -> None:
        self._grants = grants
        self._outbox = outbox
        self._throttling = throttling
        self._devices = devices

    async def send_to_owner(
        self,
        rows: Transaction,
        purpose: Purpose,
        write: Write,
        *,
        email: str,
        browser: str,
        caller: Caller,
        earlier: EarlierSignIns,
        details: Mapping[str, str] | None = None,
    ) -> Event:
        """Do as `send` for the account with an address, for a person who is not signed in.

        Without an account, and while it is disabled, the work is the same and nothing is sent. `earlier` is what shows that the
        person has signed in on this device before. The other arguments are those of `send`.

        Raises:
            TooManyAttempts: As `send`.
        """
        found = await rows.accounts.get_by_email(email)
        account = None if found is None or found.disabled_at_ms is not None else found
        return await self.send(
            rows,
            purpose,
            write,
            email=email,
            account=account,
            browser=browser,
            caller=caller,
            is_sent=account is not None,
            language="" if account is None else account.language,
            device=self._devices.find("" if found is None else found.id, earlier) or "",
            details=details,
        )

    async def send(
        self,
        rows: Transaction,
        purpose: Purpose,
        write: Write,
        *,
        email: str,
        account: Account | None,
        browser: str,
        caller: Caller,
        is_sent: bool = True,
        language: str = "",
        device: str = "",
        with_code: bool = True,
        details: Mapping[str, str] | None = None,
    ) -> Event:
        """Add a grant and its mail to a transaction. Return the event, for the log after the commit.

        The work is the same whether there is an account or not, and whether the mail is sent or not. Only at the limit of an
        address nothing is added: its mailbox has a valid link then.

        Args:
            rows: The transaction.
            purpose: What the link and the code allow.
            write: Returns the mail.
            email: The normalised address.
            account: The account that the grant is about. With None, a grant for an account is never accepted.
            browser: The secret of the browser that asks.
            caller: When and from where it is asked for.
            is_sent: False to do all the work and send nothing.
            language: The language of the person, "" if unknown.
            device: The name of the known device that asks, "" for an unknown one. It has a limit of its own.
            with_code: False to leave the code out although the purpose has one.
            details: What the purpose needs later.

        Raises:
            TooManyAttempts: If the network has asked for too many mails. This does not depend on the address.
        """
        await self._throttling.count_failure(rows, self._throttling.of_mails_from(caller.ip), caller.now_ms)
        counters = self._throttling.of_mails_to(email, purpose, device=device)
        subject = None if account is None else account.id
        try:
            await self._throttling.count_failure(rows, counters, caller.now_ms)
        except TooManyAttempts as refused:
            return self._throttling.refusal(refused, "mail", caller, subject=subject)
        issued = await self._grants.issue(
            rows,
            purpose,
            email=email,
            account=account,
            browser=browser,
            caller=caller,
            with_code=with_code and await self._throttling.may_have_code(rows, email, caller.now_ms),
            details=details,
        )
        to = email if is_sent else None
        await self._outbox.add(rows, write(issued), to=to, language=language, caller=caller, account=subject)
        actor: Actor | None = "visitor" if purpose in _FOR_VISITORS and caller.actor == "person" else None
        event = caller.event("mail_requested", subject=subject, actor=actor, detail={"purpose": purpose})
        await rows.events.insert(event)
        return event
