"""The parts that write, send and show mail: which of them a deployment has."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..config.brand import load_brand
from ..config.mail_server import load_mail_server
from ..config.private_files import require_unchangeable
from ..config.settings import Settings
from ..crypto.seal import MasterSecret
from ..domain.issuer import Issuer, is_loopback
from ..domain.smtp import Mailbox, SmtpServer
from ..errors import ConfigurationError
from ..service.mailing.outbox import Letters, Outbox, Way
from ..service.mailing.queue import DevelopmentInbox, MailQueue
from ..service.mailing.sender import Sender, Tools
from ..service.operating.administration import Administrators
from ..service.parts.audit import Audit
from ..service.parts.changes import Changes
from ..service.parts.receipts import Receipts
from ..storage.store import Store
from .tracing import NO_TRACING, Tracing

if TYPE_CHECKING:
    from ..mail.composer import Composer
    from ..service.mailing.delivery import Stage

REMEDIES: dict[Stage, str] = {
    "dns": "Check the host in HANDSTAMP_SMTP_URL.",
    "connect": "Check host and port in HANDSTAMP_SMTP_URL, and that no firewall is in between.",
    "tls": "Use smtps:// for a port that speaks TLS from the start, as 465 does, and smtp:// for one with STARTTLS. The "
    "certificate must be for that host, and from an authority that this machine trusts; SSL_CERT_FILE can name others.",
    "auth": "Check user and password in HANDSTAMP_SMTP_URL. A special character in them is written as %40 for @, %2F for /.",
    "sender": "Check HANDSTAMP_MAIL_FROM: the server must allow it, and may need user and password in HANDSTAMP_SMTP_URL.",
    "recipient": "Check the address. If the server relays nothing, it needs user and password in HANDSTAMP_SMTP_URL.",
    "content": "The server took both addresses and refused the message. Its answer says why.",
}
"""What to do after a failure, by how far the try came."""


class Mailing:
    """What becomes of mail: a mail server gets it, the development inbox shows it, or there is none."""

    outbox: Outbox
    queue: MailQueue
    sender: Sender | None
    inbox: DevelopmentInbox | None

    def __init__(
        self,
        settings: Settings,
        secret: MasterSecret,
        *,
        store: Store,
        changes: Changes,
        clock: Clock,
        audit: Audit,
        receipts: Receipts,
        administrators: Administrators,
        tracing: Tracing,
    ) -> None:
        """Create the parts. Raises `ConfigurationError` if the settings contradict each other."""
        self.tools: MailTools = MailTools(settings, tracing)
        letters = Letters(secret)
        way = self.tools.way
        self.outbox = outbox = Outbox(
            letters, way=way, confirms_sign_up=self.tools.confirms_sign_up, notices=settings.mail_notices
        )
        self.queue = MailQueue(store=store, letters=letters, receipts=receipts, administrators=administrators, audit=audit)
        self.inbox = DevelopmentInbox(store=store, letters=letters, load=self.tools.load_composer) if way == "inbox" else None
        self.sender = (
            Sender(store=store, changes=changes, clock=clock, outbox=outbox, letters=letters, audit=audit, load=self.tools.load)
            if way == "smtp"
            else None
        )

    async def prepare(self) -> None:
        """Check sender and templates, unless mail is only shown with the built-in ones. Raises `ConfigurationError`."""
        if self.sender is not None or self.tools.has_templates:
            await self.tools.load_composer()

    def works(self) -> list[Coroutine[Any, Any, None]]:
        """Return the work in the background."""
        return [] if self.sender is None else [self.sender.run()]


class MailTools:
    """Loads what makes and sends messages. Its libraries take tens of milliseconds to import, so that is done when it is used."""

    def __init__(self, settings: Settings, tracing: Tracing = NO_TRACING) -> None:
        """Raises `ConfigurationError` if the settings contradict each other."""
        self.server = server = load_mail_server(settings)
        self.issuer: Issuer = Issuer(settings.issuer)
        self.confirms_sign_up: bool = server is not None
        self.has_templates: bool = settings.mail_templates is not None
        self._settings = settings
        self._tracing = tracing
        self._composer: Composer | None = None
        self._tools: Tools | None = None
        may_show = self.issuer.is_loopback and is_loopback(settings.host) and not settings.trusted_proxies
        if server == "inbox" and not may_show:
            raise ConfigurationError(
                "HANDSTAMP_SMTP_URL=inbox shows all mail to every visitor: it is for loopback only, and not behind a proxy. "
                "Set HANDSTAMP_SMTP_URL to your mail server, as smtp://user:password@mail.example.com:587."
            )
        if isinstance(server, SmtpServer) and settings.mail_from is None:
            raise ConfigurationError(
                "HANDSTAMP_MAIL_FROM is not set: write the address that mail comes from, as Example <no-reply@example.com>."
            )
        self.way: Way = "smtp" if isinstance(server, SmtpServer) else "inbox" if may_show else "off"
        wanting = [name for name in ("sign_in_by_code", "require_verified_email") if getattr(settings, name)]
        if wanting and self.way == "off":
            names = " and ".join(f"HANDSTAMP_{name.upper()}" for name in wanting)
            raise ConfigurationError(f"{names} needs mail: set HANDSTAMP_SMTP_URL and HANDSTAMP_MAIL_FROM.")

    async def load_composer(self) -> Composer:
        """Return the composer. Raises `ConfigurationError` if the sender or a template cannot be used."""
        if self._composer is None:
            self._composer = await asyncio.to_thread(self._make_composer)
        return self._composer

    async def load(self) -> Tools:
        """Return what sends mail. Raises `ConfigurationError` as `load_composer` does, and if there is no mail server."""
        if self._tools is None:
            composer = await self.load_composer()
            self._tools = await asyncio.to_thread(self._make_tools, composer)
        return self._tools

    def _make_composer(self) -> Composer:
        from ..mail.composer import Composer  # noqa: PLC0415 - see the class
        from ..mail.layout import BUILT_IN, load_layout  # noqa: PLC0415

        settings, folder = self._settings, self._settings.mail_templates
        sender = settings.mail_from or Mailbox("", f"no-reply@{self.issuer.host}")
        try:
            layout = BUILT_IN if folder is None else load_layout(folder)
            for file in layout.files:  # a template is a program
                require_unchangeable(file, "template of mail")
        except OSError as problem:
            raise ConfigurationError(f"The folder {folder} of HANDSTAMP_MAIL_TEMPLATES cannot be read: {problem}") from None
        try:
            composer = Composer(issuer=self.issuer, sender=sender, brand=load_brand(settings), layout=layout)
        except ValueError as problem:
            raise ConfigurationError(f"No mail can come from HANDSTAMP_MAIL_FROM: {problem}.") from None
        if folder is not None:
            composer.check()
        return composer

    def _make_tools(self, composer: Composer) -> Tools:
        from ..mail.smtp import SmtpTransport  # noqa: PLC0415 - see the class

        transport = SmtpTransport(self.require_server(), name=self.issuer.host)
        return Tools(composer, self._tracing.trace_transport(transport))

    def require_server(self) -> SmtpServer:
        """Return the mail server. Raises `ConfigurationError` if none is set."""
        if not isinstance(self.server, SmtpServer):
            raise ConfigurationError(
                "No mail server is set: set HANDSTAMP_SMTP_URL, as smtp://user:password@mail.example.com:587, "
                "and HANDSTAMP_MAIL_FROM."
            )
        return self.server
