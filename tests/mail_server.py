# ruff: noqa: N802 - aiosmtpd calls the methods by the names of commands
"""A real mail server in this process, on loopback, which can refuse, stall and close connections."""

from __future__ import annotations

import asyncio
import email
import ssl
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests import certificates
from tests.serving import free_port

USER, PASSWORD = "handstamp", "p@ss w/rd:of the tests"


@dataclass(frozen=True)
class Received:
    """A message that the server has accepted, and the session in which it came."""

    sender: str
    to: list[str]
    raw: bytes
    was_encrypted: bool
    connection: int

    @property
    def message(self) -> EmailMessage:
        """The message, parsed."""
        parsed = email.message_from_bytes(self.raw, policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def part(self, subtype: str) -> str:
        """Return the text of one part: `plain` or `html`."""
        part = self.message.get_body((subtype,))
        assert part is not None
        text: str = part.get_content()
        return text


@dataclass
class MailServer:
    """What the server does, which a test may change at any time, and what it has received.

    Attributes:
        replies: Replies in place of 250, by `MAIL`, `RCPT` or `DATA`. Each is used once.
        stalls_at, closes_at: A command that the server does not answer, or after which it closes the connection. At `DATA` it has
            not read the message; at `END` it has read and accepted it.
    """

    port: int = 0
    replies: dict[str, list[str]] = field(default_factory=dict)
    stalls_at: str = ""
    closes_at: str = ""
    received: list[Received] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    """The recipients of messages whose content was announced."""
    connections: int = 0
    open: set[int] = field(default_factory=set)
    """The connections that are open."""

    async def handle_MAIL(self, server: SMTP, _: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        """Answer MAIL FROM."""
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return await self._answer("MAIL", server)

    async def handle_RCPT(self, server: SMTP, _: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        """Answer RCPT TO."""
        reply = await self._answer("RCPT", server)
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Answer the end of a message."""
        reply = await self._answer("END", server)
        if reply.startswith("250"):
            assert isinstance(envelope.original_content, bytes)
            assert envelope.mail_from is not None
            received = Received(
                envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content, session.ssl is not None, id(session)
            )
            self.received.append(received)
            if self.closes_at == "END":
                _abort(server)
        return reply

    async def _answer(self, command: str, server: SMTP) -> str:
        while self.stalls_at == command:  # noqa: ASYNC110 - another thread changes it
            await asyncio.sleep(0.01)
        if self.closes_at == command != "END":
            _abort(server)
        waiting = self.replies.get(command)
        return waiting.pop(0) if waiting else "250 OK"


class _Smtp(SMTP):
    """The protocol, with faults where aiosmtpd has no hook."""

    def connection_made(self, transport: Any) -> None:
        self.event_handler.connections += 1
        self.event_handler.open.add(id(self))
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.event_handler.open.discard(id(self))
        super().connection_lost(error)

    async def smtp_DATA(self, arg: str) -> None:
        """Fail after the command, before the message has been read."""
        server: MailServer = self.event_handler
        assert self.envelope is not None
        server.begun += self.envelope.rcpt_tos
        if server.closes_at == "DATA":
            await self.push("354 go on")
            _abort(self)
        else:
            while server.stalls_at == "DATA":  # noqa: ASYNC110 - another thread changes it
                await asyncio.sleep(0.01)
            await super().smtp_DATA(arg)


def _abort(server: SMTP) -> None:
    assert isinstance(server.transport, asyncio.WriteTransport)
    server.transport.abort()


class _Controller(Controller):
    def factory(self) -> SMTP:
        return _Smtp(self.handler, **self.SMTP_kwargs)


def _check_password(_: SMTP, __: Session, ___: Envelope, ____: str, data: Any) -> AuthResult:
    is_right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=is_right, handled=False)


@contextmanager
def mail_server(
    port: int = 0,
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    auth: bool = False,
    utf8: bool = True,
) -> Iterator[MailServer]:
    """Run a server in a thread.

    Args:
        port: Where it listens; 0 for a free port.
        starttls: Its certificate, if it offers STARTTLS. Without it, it takes no mail then.
        tls: Its certificate, if it speaks TLS from the start.
        auth: True to take mail from `USER` with `PASSWORD` only.
        utf8: True to accept addresses that are not ASCII (SMTPUTF8).
    """  # fmt: skip
    handler = MailServer(port=port or free_port())
    options: dict[str, Any] = {"enable_SMTPUTF8": utf8}
    if starttls is not None:
        options |= {"tls_context": starttls, "require_starttls": True}
    if auth:
        warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")
        options |= {
            "auth_required": True,
            "authenticator": _check_password,
            "auth_require_tls": starttls is not None,  # aiosmtpd does not see TLS from the start
        }
    controller = _Controller(handler, "127.0.0.1", handler.port, ssl_context=tls, ready_timeout=60, **options)
    controller.start()
    handler.connections = 0
    try:
        yield handler
    finally:
        controller.stop()


def make_certificate(folder: Path, *, name: str = "localhost") -> tuple[ssl.SSLContext, Path]:
    """Return the context of a server with a new certificate, and the file of the certificate."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(certificates.build_command(certificate, key, name=name), check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context, certificate
