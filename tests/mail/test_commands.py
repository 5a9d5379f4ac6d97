"""`handstamp mail`: what an operator learns about the mail server and the queue."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from handstamp.clock import now_ms
from tests.builders import Clock
from tests.commands import output_of, refusal_of, run_command
from tests.deployment import caller, deployed
from tests.mail.helpers import ADA, SENDER, add_mail, sender_of, settings_for
from tests.mail_server import MailServer
from tests.serving import free_port

ISSUER = "https://auth.example.com"
SECRET = "one secret for the commands, 0123456789"


def settings_of(server: MailServer, **settings: str) -> dict[str, str]:
    """Return the environment of a command."""
    return {"ISSUER": ISSUER, "SECRET": SECRET, "SMTP_URL": f"smtp://localhost:{server.port}", "MAIL_FROM": SENDER} | settings


def test_a_test_mail_arrives(tmp_path: Path, server: MailServer) -> None:
    """It needs no database, and says who has accepted what."""
    printed = output_of(run_command(tmp_path, "mail", "test", "ADA@bücher.example", **settings_of(server)))
    assert f"Connected to localhost:{server.port} without TLS." in printed
    assert "accepted a mail from no-reply@example.com for ada@xn--bcher-kva.example" in printed
    (received,) = server.received
    assert received.message["Subject"] == "Test of mail from auth.example.com"
    assert ISSUER in received.part("plain")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("replies", "setting"),
    [
        ({"MAIL": ["553 not yours"]}, "HANDSTAMP_MAIL_FROM"),
        ({"RCPT": ["550 relaying denied"]}, "HANDSTAMP_SMTP_URL"),
        ({"END": ["554 no"]}, "answer says why"),
    ],
)
def test_a_refusal_names_the_setting(tmp_path: Path, server: MailServer, replies: dict[str, list[str]], setting: str) -> None:
    """With the server's own words."""
    server.replies = {command: list(texts) for command, texts in replies.items()}
    printed = run_command(tmp_path, "mail", "test", ADA, **settings_of(server))
    assert printed.returncode == 1
    assert next(iter(replies.values()))[0] in printed.stderr
    assert setting in printed.stderr


def test_a_failed_connection_names_the_step(tmp_path: Path, server: MailServer) -> None:
    """No host, no server, no TLS, no password."""
    for url, step in (
        ("smtp://mail.handstamp.invalid", "step dns"),
        (f"smtp://localhost:{free_port()}", "step connect"),
        (f"smtps://localhost:{server.port}", "step tls"),
        (f"smtp://localhost:{server.port}?tls=required", "step tls"),
        (f"smtp://ada:hush@localhost:{server.port}", "step auth"),
    ):
        refused = refusal_of(run_command(tmp_path, "mail", "test", ADA, **settings_of(server, SMTP_URL=url)), 1)
        assert step in refused
        assert "HANDSTAMP_SMTP_URL" in refused or "smtps://" in refused
        assert "hush" not in refused


def test_a_test_needs_a_server_and_an_address(tmp_path: Path, server: MailServer) -> None:
    """Wrong usage says what is missing."""
    missing = {"ISSUER": ISSUER, "SECRET": SECRET}
    assert "HANDSTAMP_SMTP_URL" in refusal_of(run_command(tmp_path, "mail", "test", ADA, **missing), 2)
    settings = settings_of(server)
    del settings["MAIL_FROM"]
    assert "HANDSTAMP_MAIL_FROM" in refusal_of(run_command(tmp_path, "mail", "test", ADA, **settings), 2)
    assert "@" in refusal_of(run_command(tmp_path, "mail", "test", "nobody", **settings_of(server)), 1)


def test_a_person_is_sent_the_mail_for_a_new_password(tmp_path: Path, server: MailServer) -> None:
    """It waits for the service, as recorded of the operator. Where no mail can have a right link, the command says why."""
    settings = settings_of(server)

    async def fill() -> None:
        async with deployed(tmp_path, Clock(now_ms()), **settings_for(server, issuer=ISSUER, secret=SECRET)) as running:
            await running.create_account(ADA, None, caller(Clock(now_ms())))

    asyncio.run(fill())
    assert f"A mail to {ADA} is on its way" in output_of(run_command(tmp_path, "users", "reset-mail", ADA, **settings))
    (mail,) = json.loads(output_of(run_command(tmp_path, "mail", "queue", "--json", **settings)))
    assert (mail["kind"], mail["to"]) == ("reset_password", ADA)
    events = [json.loads(line) for line in output_of(run_command(tmp_path, "audit", "export", **settings)).splitlines()]
    assert [each["actor"] for each in events if each["kind"] == "mail_requested"] == ["operator"]
    del settings["ISSUER"]
    assert "HANDSTAMP_ISSUER" in refusal_of(run_command(tmp_path, "users", "reset-mail", ADA, **settings), 2)
    assert "HANDSTAMP_SMTP_URL" in refusal_of(run_command(tmp_path, "users", "reset-mail", ADA, SECRET=SECRET, ISSUER=ISSUER), 2)


def test_the_queue_shows_what_waits(tmp_path: Path, server: MailServer) -> None:
    """Address, tries and the last error; failed mail can be tried again, and a mail deleted."""
    clock = Clock(now_ms())

    async def fill() -> None:
        async with deployed(tmp_path, clock, **settings_for(server, issuer=ISSUER, secret=SECRET)) as running:
            server.replies = {"RCPT": ["450 4.2.1 busy"]}
            await add_mail(running, clock)
            await sender_of(running).send_due()
            clock.advance(ms=1)
            await add_mail(running, clock, to="bob@example.com")

    asyncio.run(fill())
    settings = settings_of(server)
    printed = output_of(run_command(tmp_path, "mail", "queue", **settings))
    lines = printed.splitlines()
    assert lines[0].split() == ["ID", "KIND", "TO", "TRIES", "WRITTEN", "NEXT", "LAST", "ERROR"]
    assert "bob@example.com" in lines[1]
    assert lines[1].endswith("now")
    assert ADA in lines[2]
    assert "in 29 seconds" in lines[2] or "in 30 seconds" in lines[2] or "seconds" in lines[2]
    assert lines[2].endswith("recipient: 450 4.2.1 busy")
    assert output_of(run_command(tmp_path, "mail", "queue", "--retry", **settings)) == "Mails that are tried again now: 1.\n"
    bob, ada = json.loads(output_of(run_command(tmp_path, "mail", "queue", "--json", **settings)))
    assert (ada["to"], ada["tries"]) == (ADA, 1)
    assert ada["nextAtMs"] <= now_ms()
    output_of(run_command(tmp_path, "mail", "queue", "--drop", bob["id"], **settings))
    assert "No mail" in refusal_of(run_command(tmp_path, "mail", "queue", "--drop", bob["id"], **settings), 1)
    cut = run_command(tmp_path, "mail", "queue", "--limit", "1", **settings)
    assert ADA in cut.stdout
    assert cut.stderr == ""
    output_of(run_command(tmp_path, "mail", "queue", f"--drop={ada['id']}", **settings))
    assert output_of(run_command(tmp_path, "mail", "queue", **settings)) == "No mail waits.\n"
    events = [json.loads(line) for line in output_of(run_command(tmp_path, "audit", "export", **settings)).splitlines()]
    left = [(event["kind"], event["actor"]) for event in events if event["kind"].startswith("mail")]
    assert left == [("mails_retried", "operator"), ("mail_dropped", "operator"), ("mail_dropped", "operator")]
