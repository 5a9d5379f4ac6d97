"""The connection to the mail server is protected, and nothing is sent where it is not."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from urllib.parse import quote

import pytest
import uvloop

from handstamp.config.values import parse_smtp_url
from handstamp.domain.issuer import Issuer
from handstamp.domain.smtp import Mailbox, SmtpServer
from handstamp.mail.composer import Composer
from handstamp.mail.layout import load_layout
from handstamp.mail.smtp import SmtpTransport
from handstamp.service.mailing.delivery import DeliveryFailed, Message
from tests.builders import NOW_MS
from tests.mail.helpers import until
from tests.mail_server import PASSWORD, USER, MailServer, mail_server, make_certificate
from tests.serving import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_time")]


def make_message(to: str = "ada@example.com") -> Message:
    """Return a message."""
    composer = Composer(issuer=Issuer("https://auth.example.com"), sender=Mailbox("", "no-reply@example.com"))
    return composer.compose_test(to, NOW_MS)


async def send(url: str, trusted: Path | None = None, to: str = "ada@example.com") -> None:
    """Send a message to the server of a URL. Only the certificate in `trusted` is trusted, or no certificate at all."""
    server = parse_smtp_url(url)
    assert isinstance(server, SmtpServer)
    context = ssl.create_default_context(cafile=trusted) if trusted else ssl.create_default_context()
    connection = await SmtpTransport(server, name="auth.example.com", context=context).connect()
    try:
        await connection.send(make_message(to))
    finally:
        await connection.close()


async def failure_of(url: str, trusted: Path | None = None, to: str = "ada@example.com") -> DeliveryFailed:
    """Return why a message could not be sent."""
    with pytest.raises(DeliveryFailed) as failed:
        await send(url, trusted, to)
    return failed.value


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context for `localhost`, and its certificate."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


async def test_starttls_protects_password_and_message(certificate: tuple[ssl.SSLContext, Path]) -> None:
    """The server takes nothing without it."""
    context, trusted = certificate
    with mail_server(starttls=context, auth=True) as server:
        await send(f"smtp://{USER}:{quote(PASSWORD, safe='')}@localhost:{server.port}?tls=required", trusted)
        failed = await failure_of(f"smtp://localhost:{server.port}?tls=off")
        assert (failed.stage, failed.concerns_server) == ("sender", True)
    assert [received.was_encrypted for received in server.received] == [True]


async def test_tls_from_the_start(certificate: tuple[ssl.SSLContext, Path]) -> None:
    """As port 465 has it."""
    context, trusted = certificate
    with mail_server(tls=context, auth=True) as server:
        await send(f"smtps://{USER}:{quote(PASSWORD, safe='')}@localhost:{server.port}", trusted)
    assert len(server.received) == 1


def test_tls_works_in_the_loop_that_servers_use(certificate: tuple[ssl.SSLContext, Path]) -> None:
    """`handstamp serve` runs on uvloop. The connection is closed at once, without waiting for the end of TLS."""
    context, trusted = certificate

    async def send_and_part(server: MailServer, url: str) -> None:
        await send(url, trusted)
        await until(lambda: not server.open)

    with mail_server(starttls=context) as server:
        uvloop.run(send_and_part(server, f"smtp://localhost:{server.port}?tls=required"))
    assert [received.was_encrypted for received in server.received] == [True]
    with mail_server(tls=context) as server:
        uvloop.run(send_and_part(server, f"smtps://localhost:{server.port}"))
    assert len(server.received) == 1


async def test_a_certificate_that_is_not_trusted_is_refused(certificate: tuple[ssl.SSLContext, Path], tmp_path: Path) -> None:
    """Nor one for another name."""
    other, other_trusted = make_certificate(tmp_path, name="mail.example.com")
    for context, trusted in ((certificate[0], None), (other, other_trusted)):
        with mail_server(starttls=context) as server:
            assert (await failure_of(f"smtp://localhost:{server.port}?tls=required", trusted)).stage == "tls"
        with mail_server(tls=context) as server:
            assert (await failure_of(f"smtps://localhost:{server.port}", trusted)).stage == "tls"
        assert server.received == []


async def test_a_server_without_starttls_gets_neither_password_nor_message() -> None:
    """Somebody on the way can remove the offer (RFC 3207 §6): then nothing is sent."""
    with mail_server() as server:
        failed = await failure_of(f"smtp://{USER}:secret@localhost:{server.port}?tls=required")
    assert (failed.stage, failed.concerns_server, server.received) == ("tls", True, [])


@pytest.mark.parametrize(("user", "password"), [(USER, "wrong"), ("somebody", PASSWORD)])
async def test_a_wrong_password_says_so(
    user: str, password: str, certificate: tuple[ssl.SSLContext, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """It concerns the server: mail waits until the setting is right. Nothing shows the password."""
    caplog.set_level(logging.DEBUG)
    context, trusted = certificate
    with mail_server(starttls=context, auth=True) as server:
        failed = await failure_of(f"smtp://{user}:{quote(password, safe='')}@localhost:{server.port}?tls=required", trusted)
    assert (failed.stage, failed.code, failed.concerns_server, failed.is_final) == ("auth", 535, True, False)
    assert password not in f"{failed}{caplog.text}"


async def test_a_password_for_a_server_that_knows_none() -> None:
    """It is not sent, and the step is named."""
    with mail_server() as server:
        assert (await failure_of(f"smtp://{USER}:secret@localhost:{server.port}")).stage == "auth"


async def test_a_server_that_is_not_there() -> None:
    """The name, or the port."""
    assert (await failure_of("smtp://mail.handstamp.invalid")).stage == "dns"
    assert (await failure_of(f"smtp://localhost:{free_port()}")).stage == "connect"


async def test_tls_on_a_port_without() -> None:
    """The step is named, so that the operator finds the scheme that is wrong."""
    with mail_server() as server:
        assert (await failure_of(f"smtps://localhost:{server.port}")).stage == "tls"


@pytest.mark.parametrize("to", ["ada@bücher.example", "ada@xn--bcher-kva.example"])
async def test_an_international_domain_is_sent_in_ascii(to: str) -> None:
    """Every server can take it."""
    with mail_server(utf8=False) as server:
        await send(f"smtp://localhost:{server.port}", to=to)
    (received,) = server.received
    assert received.to == ["ada@xn--bcher-kva.example"]
    assert received.message["To"].addresses[0].domain == "xn--bcher-kva.example"


async def test_an_international_local_part_needs_a_server_for_it() -> None:
    """A server with SMTPUTF8 gets it (RFC 6531). Another one can never send it, so it is given up."""
    with mail_server() as server:
        await send(f"smtp://localhost:{server.port}", to="björn@bücher.example")
    assert server.received[0].to == ["björn@xn--bcher-kva.example"]
    with mail_server(utf8=False) as old:
        failed = await failure_of(f"smtp://localhost:{old.port}", to="björn@bücher.example")
    assert failed.is_final
    assert not failed.concerns_server


async def test_lines_with_dots_and_long_links_arrive_unchanged(tmp_path: Path) -> None:
    """What SMTP treats in its own way: a line with one dot, and lines of any length."""
    (tmp_path / "mail.txt").write_text(".\n..\n.hidden\n" + "x" * 3000 + "\n{{ words.text }}")
    composer = Composer(
        issuer=Issuer("https://auth.example.com"), sender=Mailbox("", "no-reply@example.com"), layout=load_layout(tmp_path)
    )
    message = composer.compose_test("ada@example.com", NOW_MS)
    with mail_server() as server:
        connection = await SmtpTransport(SmtpServer(host="localhost", port=server.port, protection="none"), name="x").connect()
        await connection.send(message)
        await connection.close()
    assert server.received[0].part("plain").replace("\r\n", "\n").rstrip() == message.text.rstrip()
