"""Build messages: words, laid out by templates as text and as HTML, with headers into which nothing can be injected."""

from __future__ import annotations

import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8

import idna

from ..crypto.identifiers import new_id
from ..domain.brand import ACCENT, DARK_ACCENT, NO_BRAND, Brand
from ..domain.issuer import Issuer
from ..domain.mail import MAIL_KINDS, Letter, Mail
from ..domain.smtp import Mailbox
from ..errors import ConfigurationError
from ..languages.catalogue import ENGLISH, Catalogue, read_catalogue
from ..languages.choice import ENGLISH_TAG, first_available
from ..logger import Logger
from ..service.mailing.delivery import Message
from .layout import BUILT_IN, Layout
from .samples import make_sample
from .words import Words, write

_log = Logger("handstamp.mail")


class Composer:
    """Implements `handstamp.service.mailing.delivery.Composer`."""

    def __init__(self, *, issuer: Issuer, sender: Mailbox, brand: Brand = NO_BRAND, layout: Layout = BUILT_IN) -> None:
        """Create it.

        Args:
            issuer: The public URL, to which the links of notices lead.
            sender: Whom mail comes from.
            brand: The name, the colours and whom people can ask.
            layout: The templates.

        Raises:
            ValueError: If no mail can come from `sender`.
        """
        self._home = issuer.url
        self._brand = brand
        self._name = brand.name or issuer.host
        self._layout = layout
        self._from = make_address(sender.address, sender.name)
        if not self._from.addr_spec.isascii():
            raise ValueError("the part before the @ must be ASCII")

    def check(self) -> None:
        """Lay an example of each kind of mail out. Raises `ConfigurationError` with every template that fails."""
        problems = []
        for kind in MAIL_KINDS:
            _, letter = make_sample(kind)
            try:
                self._render(self._layout, kind, self._write(letter, ENGLISH), ENGLISH)
            except Exception as problem:  # noqa: BLE001 - a template can raise anything
                problems.append(f"HANDSTAMP_MAIL_TEMPLATES: {find_line(problem)} fails for {kind}: {problem}")
        if problems:
            raise ConfigurationError(*problems)

    def compose(self, mail: Mail, letter: Letter) -> Message:
        """Return the message of a letter. Raises `ValueError` if it has an address to which no mail can be sent."""
        language = _language_of(letter)
        return self._compose(
            mail.id, mail.kind, mail.created_at_ms, letter.to, words=self._write(letter, language), language=language
        )

    def write_subject(self, letter: Letter) -> str:
        """Return the subject of a letter's message, without laying it out."""
        return self._write(letter, _language_of(letter)).subject

    def compose_test(self, to: str, now_ms: int) -> Message:
        """Return a message that tries the mail server. Raises `ValueError` as `compose` does."""
        words = Words(
            subject=f"Test of mail from {self._name}",
            text=f"This is a test. {self._home} can send mail to this address.",
            closing=self._name,
        )
        return self._compose(new_id(), "test", now_ms, to, words=words, language=ENGLISH)

    def _write(self, letter: Letter, language: Catalogue) -> Words:
        return write(letter, brand=self._name, home=self._home, support=self._brand.support, language=language)

    def _compose(self, name: str, kind: str, at_ms: int, to: str, *, words: Words, language: Catalogue) -> Message:
        text, html = self._lay_out(kind, words, language)
        recipient = make_address(to)
        needs_utf8 = not recipient.addr_spec.isascii()
        message = EmailMessage(policy=SMTPUTF8 if needs_utf8 else SMTP)
        message["From"] = self._from
        message["To"] = recipient
        message["Subject"] = " ".join(words.subject.split())
        message["Date"] = datetime.datetime.fromtimestamp(at_ms // 1000, tz=datetime.UTC)
        message["Message-ID"] = f"<{name}@{self._from.domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834 §5: no automatic answer, such as "out of office"
        message.set_content(text, cte="quoted-printable")
        message.add_alternative(html, subtype="html", cte="quoted-printable")
        message["Content-Language"] = language.tag  # last, because setting the content removes such headers
        return Message(
            sender=self._from.addr_spec,
            to=recipient.addr_spec,
            subject=message["Subject"],
            text=text,
            html=html,
            data=message.as_bytes(),
            needs_utf8=needs_utf8,
        )

    def _lay_out(self, kind: str, words: Words, language: Catalogue) -> tuple[str, str]:
        """Return both parts. A template of the deployment that fails is replaced by the built-in one."""
        try:
            return self._render(self._layout, kind, words, language)
        except Exception as problem:  # noqa: BLE001 - a template can raise anything, and the mail must go out
            # The text of the exception is not logged: it can show values, such as the link.
            _log.warning("mail_template_failed", mail_kind=kind, problem=type(problem).__name__, where=find_line(problem))
            return self._render(BUILT_IN, kind, words, language)

    def _render(self, layout: Layout, kind: str, words: Words, language: Catalogue) -> tuple[str, str]:
        values = {
            "kind": kind,
            "words": words,
            "brand": self._name,
            "home": self._home,
            "support": self._brand.support,
            "accent": self._brand.light or ACCENT,
            "dark_accent": self._brand.dark or DARK_ACCENT,
            "language": language.tag,
            "direction": language.direction,
        }
        return layout.render(kind, "txt", values), layout.render(kind, "html", values)


def _language_of(letter: Letter) -> Catalogue:
    return read_catalogue(first_available([letter.language]) or ENGLISH_TAG)


def make_address(address: str, name: str = "") -> Address:
    """Return an address with its domain in ASCII (RFC 5891). Raises `ValueError` if it is none."""
    local, _, domain = address.rpartition("@")
    try:
        encoded = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
        return Address(display_name=name, username=local, domain=encoded)
    except (UnicodeError, ValueError):  # idna's errors are UnicodeErrors
        raise ValueError("the address cannot be written in a message") from None


def find_line(problem: BaseException) -> str:
    """Return the file and line of the template in which an exception was raised, as `mail.html:3`; "" if in none."""
    trace, found = problem.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.endswith((".html", ".txt")):
            found = f"{file.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
