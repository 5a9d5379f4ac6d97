"""Tell people by mail what happened to their account, in the transaction in which it happens."""

from __future__ import annotations

from ...domain.account import Account
from ...domain.mail import AnyContent, Mail, NewDevice, SessionReused
from ...domain.network import network_of
from ...domain.policy import HOUR_MS
from ...storage.store import Transaction
from ..parts.caller import Caller
from .outbox import Outbox

SIGN_UP_MS = HOUR_MS
"""Sign-ins of the first hour of an account belong to the sign-up: no device is new then."""


class Notices:
    """Writes notices to the address of an account. Kinds that `MAIL_NOTICES` turns off are left out."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def tell(self, rows: Transaction, account: Account, content: AnyContent, caller: Caller, *, to: str = "") -> None:
        """Add a mail about an account to a transaction.

        Args:
            rows: The transaction.
            account: The account, for its address and its language.
            content: What the mail is about.
            caller: When it happened, and from where.
            to: Another address; "" for that of the account.
        """
        await self._outbox.add(
            rows, content, to=to or account.email, language=account.language, caller=caller, account=account.id
        )

    async def tell_of_sign_in(self, rows: Transaction, account: Account, caller: Caller, *, is_known_device: bool) -> None:
        """Tell of a sign-in on a new device, before its session is inserted.

        A device is new if it is not known (see decision 0020), and if no stored session of the account comes from the same
        network with the same `User-Agent`: a browser that drops its cookies causes no mail at each sign-in.
        """
        if is_known_device or not self._outbox.sends("new_device") or caller.now_ms - account.created_at_ms < SIGN_UP_MS:
            return
        if not await rows.sessions.has_any_like(account.id, network_of(caller.ip), caller.user_agent):
            await self.tell(rows, account, NewDevice(), caller)

    def tell_of_reuse(self, account: Account | None, caller: Caller) -> tuple[Mail, ...]:
        """Return the mail about a session that an old copy of its refresh token has ended; none without an account."""
        if account is None:
            return ()
        mail = self._outbox.make(SessionReused(), to=account.email, language=account.language, caller=caller, account=account.id)
        return () if mail is None else (mail,)
