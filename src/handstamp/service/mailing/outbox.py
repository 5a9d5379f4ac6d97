"""Write mail in the transaction that needs it. It is sent after the commit, and not if the transaction fails."""

from __future__ import annotations

from typing import Literal

import msgspec

from ...clock import monotonic_s
from ...crypto.identifiers import new_id
from ...crypto.seal import MasterSecret
from ...domain.mail import MAIL_KINDS, AnyContent, Letter, Mail, MailKind, kind_of, undoes
from ...errors import ConfigurationError
from ...storage.store import Transaction
from ..parts.caller import Caller
from .delivery import DeliveryFailed

Way = Literal["smtp", "inbox", "off"]
"""What becomes of mail: a mail server gets it, the development inbox shows it, or there is none."""


class Letters:
    """Seals the letters of the outbox with the master secret, each for its own row."""

    __slots__ = ("_secret",)

    def __init__(self, secret: MasterSecret) -> None:
        self._secret = secret

    def seal(self, mail_id: str, letter: Letter) -> bytes:
        """Return a letter, sealed for the row with that id."""
        return self._secret.seal(msgspec.json.encode(letter), context=f"mail {mail_id}")

    def open(self, mail: Mail) -> Letter:
        """Return the letter of a row.

        Raises:
            DeliveryFailed: If a node with another master secret or of a newer version has written it. That one can send it.
        """
        try:
            return msgspec.json.decode(self._secret.open(mail.sealed, context=f"mail {mail.id}"), type=Letter)
        except (ConfigurationError, msgspec.DecodeError):
            raise DeliveryFailed("content", "it was written with another master secret or by a newer version") from None


class Outbox:
    """Adds mail to the outbox.

    Attributes:
        is_on: True if mail can be sent, or shown in the development inbox.
        confirms_sign_up: True if an account is only created once its address is proven by mail, because `SMTP_URL` is set.
        last_added_s: When mail was last added, by `monotonic_s`. The sender of this process looks for it after the next commit.
    """

    def __init__(self, letters: Letters, *, way: Way, confirms_sign_up: bool, notices: frozenset[MailKind]) -> None:
        """Create it.

        Args:
            letters: Seals what waits.
            way: What becomes of mail.
            confirms_sign_up: Whether signing up waits for the mailbox to be proven.
            notices: The kinds of notices that are sent. Mail that a person has asked for, and mail with a link that undoes what
                it tells of, is sent in any case.
        """
        self.is_on: bool = way != "off"
        self.confirms_sign_up: bool = confirms_sign_up
        self.last_added_s: float = float("-inf")
        self._letters = letters
        self._is_sent = way == "smtp"
        self._notices = notices

    async def add(
        self,
        rows: Transaction,
        content: AnyContent,
        *,
        to: str | None,
        language: str,
        caller: Caller,
        account: str | None = None,
    ) -> None:
        """Add a mail to a transaction. Do nothing if mail is off, or if this kind of notice is turned off.

        Args:
            rows: The transaction.
            content: What the mail is about. Its class is the kind of mail.
            to: The normalised address. None does the same work and sends nothing, so that an answer takes the same time
                whether an account exists or not.
            language: The language of the person, "" if unknown.
            caller: When it was asked for, or happened, and from where. The mail says so.
            account: The id of the account that it is about, if there is one.
        """
        mail = self.make(content, to=to, language=language, caller=caller, account=account)
        if mail is not None:
            await rows.mails.insert(mail)

    def sends(self, kind: MailKind) -> bool:
        """Return whether mail of this kind is written: not if mail is off, or if this kind of notice is turned off."""
        return self.is_on and (not MAIL_KINDS[kind].is_notice or kind in self._notices)

    def make(
        self, content: AnyContent, *, to: str | None, language: str, caller: Caller, account: str | None = None
    ) -> Mail | None:
        """Return the row of a mail, or None if mail of this kind is not written.

        The arguments are those of `add`. The caller writes the row in its transaction.
        """
        kind = kind_of(content)
        if not (self.sends(kind) or (self.is_on and undoes(content))):
            return None
        letter = Letter(
            to=to or "", language=language, at_ms=caller.now_ms, ip=caller.ip, user_agent=caller.user_agent, content=content
        )
        mail_id = new_id()
        self.last_added_s = monotonic_s()
        return Mail(
            id=mail_id,
            kind=kind,
            account=account,
            sealed=self._letters.seal(mail_id, letter),
            created_at_ms=caller.now_ms,
            next_at_ms=caller.now_ms if self._is_sent else None,
        )
