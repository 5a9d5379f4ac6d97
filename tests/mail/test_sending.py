"""Mail reaches a real mail server: once, after the commit, and after every kind of failure."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from handstamp.assemble.deployment import Deployment
from handstamp.domain.mail import NewDevice, SignInCode
from handstamp.embedded import Handstamp
from handstamp.mail import smtp, words
from handstamp.service.mailing import sender as sender_module
from handstamp.service.mailing.sender import LEASE_MS
from handstamp.storage.store import Transaction
from tests.builders import DAY_MS, HOUR_MS, Clock
from tests.deployment import caller, deployed, settings_in
from tests.mail.helpers import ADA, CODE, LINK, NOTICE, RESET, add_mail, events_of, sender_of, settings_for, until, waiting_in
from tests.mail_server import MailServer, mail_server
from tests.serving import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_time")]


async def test_a_message_arrives_with_link_and_code(service: Deployment, clock: Clock, server: MailServer) -> None:
    """Both parts have the link and the code. The outbox is empty afterwards."""
    await add_mail(service, clock, RESET)
    (waiting,) = await waiting_in(service)
    assert await sender_of(service).send_due() == pytest.approx(60)
    (received,) = server.received
    message = received.message
    assert (received.sender, received.to) == ("no-reply@example.com", [ADA])
    assert (message["From"], message["To"]) == ("Example <no-reply@example.com>", ADA)
    assert message["Subject"] == "Choose a new password for auth.example.com"
    assert message["Message-ID"] == f"<{waiting.id}@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    for part in (received.part("plain"), received.part("html")):
        assert LINK in part
        assert CODE in part
        assert "192.0.2.1" in part
    assert await waiting_in(service) == []


async def test_nothing_is_sent_before_the_commit_or_without_it(service: Deployment, clock: Clock, server: MailServer) -> None:
    """Mail belongs to its transaction."""

    async def fail(rows: Transaction) -> None:
        await service.outbox.add(rows, RESET, to=ADA, language="", caller=caller(clock))
        raise LookupError

    with pytest.raises(LookupError):
        await service.store.transact(fail)
    await sender_of(service).send_due()
    assert server.received == []


async def test_mail_to_nobody_is_work_without_a_message(service: Deployment, clock: Clock, server: MailServer) -> None:
    """A use case that must not tell whether an account exists writes the same row, and nothing is sent."""
    await add_mail(service, clock, RESET, to=None)
    await add_mail(service, clock, RESET)
    silent, real = sorted(await waiting_in(service), key=lambda mail: len(mail.sealed))
    assert len(real.sealed) - len(silent.sealed) == len(ADA)
    await sender_of(service).send_due()
    assert [received.to for received in server.received] == [[ADA]]
    assert await waiting_in(service) == []


async def test_what_waits_is_sealed(service: Deployment, clock: Clock, tmp_path: Path) -> None:
    """Neither the link nor the code nor the address is in the files of the database."""
    await add_mail(service, clock, RESET)
    files = await asyncio.to_thread(lambda: [file.read_bytes() for file in tmp_path.glob("handstamp.db*")])
    assert len(files) > 1
    for stored in files:
        for text in (LINK, "hush", CODE, ADA):
            assert text.encode() not in stored


async def test_nothing_secret_is_logged(
    service: Deployment, clock: Clock, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells of every try, and never the address, the link or the code."""
    caplog.set_level(logging.DEBUG)
    server.replies = {"RCPT": ["450 not now, ada@example.com", "550 who is Ada@Example.com"]}
    await add_mail(service, clock, RESET)
    await sender_of(service).send_due()
    clock.advance(seconds=60)
    await sender_of(service).send_due()
    await add_mail(service, clock, RESET)
    await sender_of(service).send_due()
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("mail.")]  # the test's server logs too
    text = "\n".join(ours) + str([await waiting_in(service), await events_of(service)])
    for word in ("mail_postponed", "mail_given_up", "mail_sent"):
        assert word in text
    for secret in (ADA, "Ada@Example", "hush", CODE):
        assert secret not in text


async def test_notices_can_be_turned_off(tmp_path: Path, clock: Clock, server: MailServer) -> None:
    """Mail that a person asks for is sent all the same."""
    async with deployed(tmp_path, clock, **settings_for(server, mail_notices="new_device")) as running:
        for content in (NOTICE, NewDevice(), RESET):
            await add_mail(running, clock, content)
        assert sorted(mail.kind for mail in await waiting_in(running)) == ["new_device", "reset_password"]


async def test_many_mails_share_a_connection(service: Deployment, clock: Clock, server: MailServer) -> None:
    """Also after a recipient was refused among them."""
    for number in range(5):
        await add_mail(service, clock, to=f"person-{number}@example.com")
    server.replies = {"RCPT": ["250 OK", "550 no such mailbox"]}
    await sender_of(service).send_due()
    assert len(server.received) == 4
    assert server.connections == 1


@pytest.mark.parametrize(
    ("command", "error"),
    [("RCPT", "recipient: 450 4.2.1 busy"), ("END", "content: 450 4.2.1 busy"), ("MAIL", "sender: 450 4.2.1 busy")],
)
async def test_a_temporary_refusal_is_tried_again(
    service: Deployment, clock: Clock, server: MailServer, command: str, error: str
) -> None:
    """As greylisting does it. The second try has the same Message-ID."""
    server.replies = {command: ["450 4.2.1 busy"]}
    await add_mail(service, clock)
    wait_s = await sender_of(service).send_due()
    (postponed,) = await waiting_in(service)
    assert postponed.error == error
    assert server.received == []
    clock.advance(seconds=int(wait_s) + 1)
    await sender_of(service).send_due()
    assert [received.message["Message-ID"] for received in server.received] == [f"<{postponed.id}@example.com>"]


@pytest.mark.parametrize("replies", [{"RCPT": ["550 5.1.1 no such mailbox"]}, {"END": ["554 5.7.1 looks like spam"]}])
async def test_a_final_refusal_is_given_up(
    service: Deployment, clock: Clock, server: MailServer, replies: dict[str, list[str]]
) -> None:
    """The audit trail says why, and the mail is deleted."""
    server.replies = {command: list(texts) for command, texts in replies.items()}
    await add_mail(service, clock)
    await sender_of(service).send_due()
    assert server.received == []
    assert await waiting_in(service) == []
    (event,) = await events_of(service)
    assert (event.kind, event.detail["mail_kind"]) == ("mail_given_up", "password_changed")
    assert event.detail["because"] == next(iter(replies.values()))[0]


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA", "END"])
async def test_a_connection_that_breaks_costs_a_retry(
    service: Deployment, clock: Clock, server: MailServer, command: str
) -> None:
    """If the server had accepted the message before, both copies have one Message-ID."""
    server.closes_at = command
    await add_mail(service, clock)
    await sender_of(service).send_due()
    assert len(await waiting_in(service)) == 1
    server.closes_at = ""
    clock.advance(seconds=60)
    await sender_of(service).send_due()
    assert await waiting_in(service) == []
    assert len(server.received) == (2 if command == "END" else 1)
    assert len({received.message["Message-ID"] for received in server.received}) == 1


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA", "END"])
async def test_a_server_that_stalls_is_left(
    service: Deployment, clock: Clock, server: MailServer, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit ends the try, and the mail is sent later."""
    server.stalls_at = command
    await add_mail(service, clock)
    with monkeypatch.context() as short:
        short.setattr(smtp, "COMMAND_S", 0.2)
        await sender_of(service).send_due()
    (postponed,) = await waiting_in(service)
    assert "time" in postponed.error
    server.stalls_at = ""
    clock.advance(seconds=60)
    await sender_of(service).send_due()
    assert len(server.received) == 1


async def test_a_whole_try_has_a_limit(
    service: Deployment, clock: Clock, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shorter than the claim, so that no two processes send a mail at the same time."""
    assert sender_module.TRY_S * 1000 < LEASE_MS
    server.stalls_at = "RCPT"
    await add_mail(service, clock)
    monkeypatch.setattr(sender_module, "TRY_S", 0.2)
    await sender_of(service).send_due()
    (postponed,) = await waiting_in(service)
    assert postponed.error == "content: the server took too long"


async def test_a_server_that_is_away_for_an_hour_delays_mail(tmp_path: Path, clock: Clock) -> None:
    """Notices arrive, and so does a fresh link. A link that has expired meanwhile is not sent."""
    port = free_port()
    settings = {"smtp_url": f"smtp://127.0.0.1:{port}", "mail_from": "no-reply@example.com"}
    async with deployed(tmp_path, clock, **settings) as running:
        await add_mail(running, clock, RESET)
        await add_mail(running, clock, NOTICE)
        pauses_s = []
        until_ms = clock() + HOUR_MS
        while clock() < until_ms:
            pauses_s.append(await sender_of(running).send_due())
            clock.advance(ms=int(pauses_s[-1] * 1000))
        assert pauses_s[:4] == [1, 2, 4, 8]
        assert all(earlier <= later <= 60 for earlier, later in pairwise(pauses_s))
        assert "connect: " in "".join(mail.error for mail in await waiting_in(running))
        await add_mail(running, clock, SignInCode(link=LINK, code=CODE))
        with mail_server(port) as back:
            clock.advance(seconds=60)
            await sender_of(running).send_due()
        subjects = {received.message["Subject"] for received in back.received}
        assert subjects == {"Your password for auth.example.com has changed", "Sign in to auth.example.com"}
        assert [(event.kind, event.detail["mail_kind"]) for event in await events_of(running)] == [
            ("mail_given_up", "reset_password")
        ]


async def test_mail_is_given_up_after_two_days(service: Deployment, clock: Clock, server: MailServer) -> None:
    """Tries become rare: about fifty in all."""
    server.replies = {"RCPT": ["450 busy"] * 100}
    await add_mail(service, clock)
    began_ms = clock()
    while await waiting_in(service):
        await sender_of(service).send_due()
        next_at_ms = await service.store.read(lambda rows: rows.mails.get_next_at_ms())
        clock.now_ms = next_at_ms or clock.now_ms
    assert 2 * DAY_MS <= clock() - began_ms < 2 * DAY_MS + 2 * HOUR_MS
    (event,) = await events_of(service)
    assert event.detail["because"] == "it was not sent in time"
    assert 40 < 100 - len(server.replies["RCPT"]) < 70


async def test_mail_of_another_master_secret_waits_for_its_node(tmp_path: Path, clock: Clock, server: MailServer) -> None:
    """While the secret is being changed, a node that cannot open a mail leaves it to the others."""
    settings = settings_for(server, secret="first secret of the tests, 0123456789")
    async with deployed(tmp_path, clock, **settings) as first:
        await add_mail(first, clock, NOTICE)
        (other := tmp_path / "other").mkdir()
        async with deployed(other, clock, **settings | {"secret": "second secret of the tests, 9876543210"}) as second:
            (mail,) = await waiting_in(first)
            await second.store.transact(lambda rows: rows.mails.insert(mail))
            await sender_of(second).send_due()
            (left,) = await waiting_in(second)
            assert "another master secret" in left.error
            assert server.received == []


async def test_a_fault_of_one_mail_does_not_hold_up_others(
    service: Deployment, clock: Clock, server: MailServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even one in our own code: the log has the traceback, and the mail is tried again later."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    await add_mail(service, clock)
    clock.advance(ms=1)
    await add_mail(service, clock, RESET)
    monkeypatch.setattr(words, "_draft_notice", fail)
    await sender_of(service).send_due()
    assert [received.message["Subject"] for received in server.received] == ["Choose a new password for auth.example.com"]
    (left,) = await waiting_in(service)
    assert left.kind == "password_changed"
    assert "mail_sending_failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_claim_of_a_dead_process_is_taken_over(service: Deployment, clock: Clock, server: MailServer) -> None:
    """After two minutes, and not before."""
    await add_mail(service, clock)
    await service.store.transact(lambda rows: rows.mails.claim(now_ms=clock(), until_ms=clock() + LEASE_MS))
    clock.advance(ms=LEASE_MS - 1)
    await sender_of(service).send_due()
    assert server.received == []
    clock.advance(ms=1)
    await sender_of(service).send_due()
    assert len(server.received) == 1


async def test_a_stop_finishes_the_mail_that_is_being_sent(
    tmp_path: Path, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And begins no other. A deployment of a new version sends nothing twice."""
    monkeypatch.setattr(sender_module, "_GOODBYE_S", 60.0)
    clock = Clock()
    server.stalls_at = "END"
    async with deployed(tmp_path, clock, **settings_for(server)) as watching:
        for number in range(2):
            clock.advance(ms=1)
            await add_mail(watching, clock, to=f"person-{number}@example.com")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(Deployment(settings_in(tmp_path, **settings_for(server)), clock=clock).run())
            await until(lambda: server.begun)
            stopping = asyncio.create_task(stack.pop_all().aclose())
            await asyncio.sleep(0)
            server.stalls_at = ""
            await stopping
        assert [received.to for received in server.received] == [["person-0@example.com"]]
        (left,) = await waiting_in(watching)
        assert left.tries == 0


async def test_a_running_service_sends_at_once(tmp_path: Path, server: MailServer) -> None:
    """Mail that this process or another one writes goes out after the commit, and a stop finishes what is being sent."""
    clock = Clock()
    running = Deployment(settings_in(tmp_path, **settings_for(server)), clock=clock)
    async with running.run():
        await add_mail(running, clock)
        await until(lambda: len(server.received) == 1)
        async with deployed(tmp_path, clock, **settings_for(server)) as other:
            await add_mail(other, clock)
        await until(lambda: len(server.received) == 2)


async def test_an_application_that_embeds_the_service_sends_too(
    tmp_path: Path, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own process, from its start to its stop."""
    monkeypatch.chdir(tmp_path)
    auth = Handstamp(issuer="https://app.example.com/auth", **settings_for(server))
    async with auth:
        await add_mail(auth._deployment, auth._deployment.clock)
        await until(lambda: len(server.received) == 1)
