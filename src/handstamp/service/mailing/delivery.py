"""What sending mail needs from outside: a composer that makes messages, and a transport that a mail server accepts them from."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from ...domain.mail import Letter, Mail
from ...errors import reduce_error

Stage = Literal["dns", "connect", "tls", "auth", "sender", "recipient", "content"]
"""How far a try came: name, connection, TLS, sign-in, MAIL FROM, RCPT TO, DATA (RFC 5321 §3)."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it travels.

    Attributes:
        sender: The address of the envelope, in ASCII.
        to: The recipient. Its domain is in ASCII.
        subject: The subject, for the development inbox.
        text: The text part, for the development inbox.
        html: The HTML part, for the development inbox.
        data: The whole message, with CRLF.
        needs_utf8: True if an address is not ASCII, which not every server accepts (SMTPUTF8, RFC 6531).
    """

    sender: str
    to: str
    subject: str
    text: str
    html: str
    data: bytes
    needs_utf8: bool = False

    def __repr__(self) -> str:
        """Return a text without the content."""
        return "Message(****)"


class DeliveryFailed(Exception):
    """A mail server did not accept a message.

    Attributes:
        stage: How far it came.
        code: The reply's code; None if there was none, as after a time-out.
        why: The reply or the problem, as one line without the recipient's address.
    """

    def __init__(self, stage: Stage, why: str, code: int | None = None) -> None:
        super().__init__(f"{stage}: {why}")
        self.stage: Stage = stage
        self.why: str = why
        self.code: int | None = code

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how pickle and copy restore the error."""
        return reduce_error(self)

    @property
    def is_final(self) -> bool:
        """Whether another try would fail too: this recipient or this message is refused for good (RFC 5321 §4.2.1)."""
        return self.stage in ("recipient", "content") and self.code is not None and self.code >= 500

    @property
    def concerns_server(self) -> bool:
        """Whether any other message would fail too: the server is away (421 says so), or the settings are wrong."""
        return self.stage not in ("recipient", "content") or self.code == 421


class Composer(Protocol):
    """Makes messages."""

    def compose(self, mail: Mail, letter: Letter) -> Message:
        """Return the message of a letter. Raises `ValueError` if it has an address to which no mail can be sent."""

    def write_subject(self, letter: Letter) -> str:
        """Return the subject of a letter's message, which takes a tenth of the time."""


class Connection(Protocol):
    """An open connection to a mail server."""

    async def send(self, message: Message) -> None:
        """Send a message. After a failure that concerns the server, the connection is of no more use.

        Raises:
            DeliveryFailed: If the server does not accept it.
        """

    async def close(self) -> None:
        """Say goodbye. Never raises."""


class Transport(Protocol):
    """Connects to the mail server."""

    async def connect(self) -> Connection:
        """Return a connection that is protected and signed in as the settings say. Raises `DeliveryFailed`."""
