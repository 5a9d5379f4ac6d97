"""Hand messages to a mail server (RFC 5321, RFC 6409). Every step has a time limit, and every failure says how far it came."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiosmtplib

from ..domain.smtp import SmtpServer
from ..service.mailing.delivery import DeliveryFailed, Message, Stage

CONNECT_S = 15.0
COMMAND_S = 30.0
"""RFC 5321 §4.5.3.2 suggests minutes, for servers that relay. A submission server answers sooner, and mail is tried again."""
_LONGEST_REPLY = 300


class SmtpTransport:
    """Implements `handstamp.service.mailing.delivery.Transport`."""

    def __init__(self, server: SmtpServer, *, name: str, context: ssl.SSLContext | None = None) -> None:
        """Create it.

        Args:
            server: The mail server.
            name: The name of this host, for the greeting.
            context: How the server's certificate is checked. By default by the authorities that this machine trusts.
        """
        self._server = server
        self._name = name
        self._context = context

    async def connect(self) -> SmtpConnection:
        """Return a connection that is protected and signed in as the settings say. Raises `DeliveryFailed`."""
        server = self._server
        context = None
        if server.protection != "none":
            context = self._context = self._context or await asyncio.to_thread(ssl.create_default_context)
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            local_hostname=self._name,
            timeout=COMMAND_S,
            use_tls=server.protection == "tls",
            start_tls=False,
            tls_context=context,
        )
        async with _stage("dns"):
            await asyncio.get_running_loop().getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
        try:
            async with _stage("connect"):
                await client.connect(timeout=CONNECT_S)
            if server.protection == "starttls":
                async with _stage("tls"):
                    await client.starttls(timeout=CONNECT_S)
            if server.user:
                async with _stage("auth"):
                    await client.login(server.user, server.password)
        except BaseException:
            client.close()
            raise
        return SmtpConnection(client)


class SmtpConnection:
    """Implements `handstamp.service.mailing.delivery.Connection`."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self._client = client

    async def send(self, message: Message) -> None:
        """Send a message. Raises `DeliveryFailed`."""
        client = self._client
        options, encoding = (["SMTPUTF8"], "utf-8") if message.needs_utf8 else ([], "ascii")
        if message.needs_utf8:
            async with _stage("sender"):
                await client.ehlo()
            if not client.supports_extension("smtputf8"):
                raise DeliveryFailed(
                    "recipient", "the mail server cannot send to addresses with such characters before the @", 550
                )
        async with _stage("sender", message.to):
            await client.mail(message.sender, options=options, encoding=encoding)
        try:
            async with _stage("recipient", message.to):
                await client.rcpt(message.to, encoding=encoding)
            async with _stage("content", message.to):
                await client.data(message.data)
        except DeliveryFailed as failed:
            if failed.code is not None:
                with suppress(aiosmtplib.SMTPException, OSError):
                    await client.rset()
            raise

    async def close(self) -> None:
        """Say goodbye. Never raises."""
        transport = self._client.transport
        with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._client.quit()
        self._client.close()
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()  # everything is said, and waiting for the end of TLS can take half a minute


@asynccontextmanager
async def _stage(stage: Stage, address: str = "") -> AsyncIterator[None]:
    """Turn what the library raises into `DeliveryFailed`."""
    try:
        yield
    except aiosmtplib.SMTPResponseException as reply:
        raise DeliveryFailed(stage, _one_line(f"{reply.code} {reply.message}", address), reply.code) from None
    except (aiosmtplib.SMTPTimeoutError, TimeoutError):
        raise DeliveryFailed(stage, "the server did not answer in time") from None
    except (aiosmtplib.SMTPException, OSError) as problem:
        is_tls = isinstance(problem, ssl.SSLError) or isinstance(problem.__cause__, ssl.SSLError)
        raise DeliveryFailed("tls" if is_tls else stage, _one_line(str(problem), address)) from None


def _one_line(text: str, address: str) -> str:
    """Return a reply as one printable line without the recipient's address, which is in no log."""
    line = "".join(character if character.isprintable() else " " for character in text[: 4 * _LONGEST_REPLY])
    if address:
        line = re.sub(re.escape(address), "the address", line, flags=re.IGNORECASE)
    return " ".join(line.split())[:_LONGEST_REPLY]
