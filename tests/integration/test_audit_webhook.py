"""The audit trail reaches its receivers: signed, in order, at least once, whatever they and the service do meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from handstamp.assemble import auditing
from handstamp.assemble.deployment import Deployment
from handstamp.clock import now_ms
from handstamp.domain.receiver import LEASE_MS, Receiver, pause_ms
from handstamp.errors import ConfigurationError
from handstamp.service.operating.audit_trail import describe_event
from handstamp.service.operating.audit_webhook import MOST_EVENTS, AuditWebhook
from tests import webhooks
from tests.builders import DAY_MS, HOUR_MS, SECOND_MS, Clock
from tests.commands import run_command
from tests.deployment import caller, deployed, settings_in
from tests.hostile import STALL, Asked, Script, answer, drip, head, redirect
from tests.postgres import fresh_database
from tests.serving import Server
from tests.webhooks import PATH, new_webhook_secret, write_secrets

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_time")]
MASTER = "one secret of all nodes, 0123456789"
SECRET = new_webhook_secret()


@pytest.fixture
def receiver() -> Iterator[webhooks.Receiver]:
    """Run a receiver."""
    with webhooks.Receiver() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    """Return a clock that is right at first: the library of the receiver believes no other."""
    return Clock(now_ms())


def settings_for(folder: Path, *urls: str, **fields: object) -> dict[str, Any]:
    """Return the settings of a service that sends to these URLs."""
    file = write_secrets(folder / "webhook.secret", SECRET)
    common = {"audit_webhook_urls": urls, "audit_webhook_secret_file": file, "outbound_allow": ("127.0.0.1",), "secret": MASTER}
    return common | fields


@pytest.fixture
async def service(tmp_path: Path, clock: Clock, receiver: webhooks.Receiver) -> AsyncIterator[Deployment]:
    """Run a service that sends when a test says so."""
    async with deployed(tmp_path, clock, **settings_for(tmp_path, receiver.hook)) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
async def nodes(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, receiver: webhooks.Receiver
) -> AsyncIterator[list[Deployment]]:
    """Open a service twice on one database."""
    async with AsyncExitStack() as opened:
        settings = settings_for(tmp_path, receiver.hook)
        if request.param == "postgres":
            settings["database"] = await opened.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
        opened_nodes = [await opened.enter_async_context(deployed(tmp_path, clock, **settings)) for _ in range(2)]
        for node in opened_nodes:
            webhook_of(node)._clock = clock  # it would follow the clock of PostgreSQL
        yield opened_nodes


async def add_events(running: Deployment, clock: Clock, count: int = 1) -> None:
    """Write events as use cases do."""
    who = caller(clock)
    events = [who.event("signed_in", subject=f"person-{number}", sid=f"session-{number}") for number in range(count)]
    await running.store.transact(lambda rows: rows.events.insert_many(events))


def webhook_of(running: Deployment) -> AuditWebhook:
    """Return what sends to the first receiver."""
    return running.auditing.webhooks[0]


async def send_all(webhook: AuditWebhook) -> float:
    """Send until there is nothing more to do; return how long to wait then."""
    while not (wait_s := await webhook.send_next()):
        pass
    return wait_s


async def row_of(running: Deployment) -> Receiver:
    """Return how far the first receiver is."""
    return (await running.auditing.read_receivers())[0].receiver


async def exported(running: Deployment) -> list[dict[str, Any]]:
    """Return the audit trail, as `handstamp audit export` writes it."""
    pages = [page async for page in running.audit_trail.export()]
    return [json.loads(json.dumps(describe_event(number, event))) for page in pages for number, event in page]


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true."""
    while not condition():  # noqa: ASYNC110 - what is waited for happens in another thread or process
        await asyncio.sleep(0.01)


async def test_a_receiver_gets_what_the_export_has(nodes: list[Deployment], clock: Clock, receiver: webhooks.Receiver) -> None:
    """Every event comes once and in order, in messages of a bounded size that Standard Webhooks accepts. News follow."""
    await add_events(nodes[0], clock, 2 * MOST_EVENTS)  # there is one about a key
    await send_all(webhook_of(nodes[0]))
    messages = receiver.read(SECRET)
    assert [len(message["data"]["events"]) for message in messages] == [MOST_EVENTS, MOST_EVENTS, 1]
    assert {message["type"] for message in messages} == {"audit.events"}
    for before, message in zip([{"last": 0}, *(each["data"] for each in messages)], messages, strict=False):
        assert message["data"]["after"] == before["last"]
        assert message["data"]["last"] == message["data"]["events"][-1]["number"]
        assert message["timestamp"] == message["data"]["events"][-1]["time"]
        assert message["data"]["issuer"] == "https://auth.example.com"
    await add_events(nodes[1], clock)
    await send_all(webhook_of(nodes[0]))
    assert receiver.events(SECRET) == await exported(nodes[1])
    assert len({asked.headers["webhook-id"] for asked in receiver.hooks}) == len(receiver.hooks) == 4


async def test_one_node_sends_and_another_takes_over(nodes: list[Deployment], clock: Clock, receiver: webhooks.Receiver) -> None:
    """While one node holds a receiver, others wait. When its time is over, or when it stops, another one goes on."""
    first, second = map(webhook_of, nodes)
    await add_events(nodes[0], clock)
    await send_all(first)
    await add_events(nodes[0], clock)
    assert 0 < await second.send_next() <= LEASE_MS / 1000
    assert len(receiver.hooks) == 1
    clock.advance(ms=LEASE_MS)
    await send_all(second)
    assert receiver.events(SECRET) == await exported(nodes[0])
    await add_events(nodes[0], clock)
    assert 0 < await first.send_next() <= LEASE_MS / 1000
    await nodes[1].store.transact(second._release)
    await send_all(first)
    assert receiver.events(SECRET) == await exported(nodes[0])


async def test_nodes_that_send_at_once_send_each_message_once(
    nodes: list[Deployment], clock: Clock, receiver: webhooks.Receiver
) -> None:
    """However their steps are interleaved."""
    for _ in range(3):
        await add_events(nodes[0], clock, 3)
        clock.advance(ms=LEASE_MS)
        await asyncio.gather(*(send_all(webhook_of(node)) for node in nodes))
    await add_events(nodes[0], clock)
    clock.advance(ms=LEASE_MS)
    await asyncio.gather(*(send_all(webhook_of(node)) for node in nodes))
    assert receiver.events(SECRET) == await exported(nodes[0])
    assert len({asked.headers["webhook-id"] for asked in receiver.hooks}) == len(receiver.hooks)


async def test_an_event_that_is_committed_late_is_not_passed_over(
    tmp_path: Path, clock: Clock, receiver: webhooks.Receiver, postgres_server: str
) -> None:
    """Numbers do not grow in the order of commits: the sender waits for a transaction with a lower number."""
    async with (
        fresh_database(postgres_server) as url,
        deployed(tmp_path, clock, **settings_for(tmp_path, receiver.hook, database=url)) as running,
    ):
        connection = await asyncpg.connect(url)
        late = connection.transaction()
        await late.start()
        await connection.execute(
            "INSERT INTO event (at_ms, kind, ip, user_agent, actor, detail) VALUES (1, 'key_added', '', '', 'service', '{}')"
        )
        await add_events(running, clock)
        sending = asyncio.create_task(send_all(webhook_of(running)))
        await asyncio.sleep(0.2)
        assert receiver.hooks == []
        await late.commit()
        await connection.close()
        await sending
        assert [event["kind"] for event in receiver.events(SECRET)[-2:]] == ["key_added", "signed_in"]


async def test_changed_secrets_sign_from_the_next_message_on(
    tmp_path: Path, service: Deployment, clock: Clock, receiver: webhooks.Receiver
) -> None:
    """With the new secret above the old one, both sign, so that a receiver may have either. No restart is needed."""
    await send_all(webhook_of(service))
    new = new_webhook_secret()
    write_secrets(tmp_path / "webhook.secret", new, SECRET)
    await add_events(service, clock)
    await send_all(webhook_of(service))
    write_secrets(tmp_path / "webhook.secret", new)
    await add_events(service, clock)
    await send_all(webhook_of(service))
    accepted = [[_is_signed(asked, secret) for secret in (SECRET, new)] for asked in receiver.hooks]
    assert accepted == [[True, False], [True, True], [False, True]]


def _is_signed(asked: Asked, secret: str) -> bool:
    try:
        Webhook(secret).verify(asked.body, dict(asked.headers))
    except WebhookVerificationError:
        return False
    return True


FAILURES: dict[str, tuple[Callable[[str], Script], str]] = {
    "an error": (lambda _: answer(b"", 500), "it answered 500"),
    "gone": (lambda _: answer(b"", 410), "it answered 410"),
    "a redirect": (lambda url: redirect(f"{url}/elsewhere"), "it answered 302: set the address that it redirects to"),
    "a huge answer": (lambda _: [head(200), *[b"x" * 65536] * 8], "did not answer: its answer"),
    "a slow answer": (lambda _: drip(answer(b"x" * 1000, 200), 0.2), "did not answer"),
    "no answer": (lambda _: [STALL], "did not answer"),
    "half an answer": (lambda _: [head(200, content_length="10"), b"x"], "did not answer"),
    "no HTTP": (lambda _: [b"\x00\xff\r\n\r\n"], "did not answer"),
}


SLOW = {"a slow answer", "no answer"}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_message_that_is_not_accepted_is_sent_again(
    name: str, service: Deployment, clock: Clock, receiver: webhooks.Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the same id and the same bytes, and nothing is sent before. The last error says what to do."""
    if name in SLOW:
        monkeypatch.setattr(auditing, "DEADLINE_S", 0.5)
    make, error = FAILURES[name]
    webhook = webhook_of(service)
    receiver.refuse(make(receiver.url))
    await add_events(service, clock, 3)
    waits_s = []
    for _ in range(3):
        waits_s.append(await webhook.send_next())
        assert await webhook.send_next() == pytest.approx(waits_s[-1], abs=1)
        clock.advance(ms=int(waits_s[-1] * 1000) + 1)
        await add_events(service, clock)
    assert all(4 * 2**tries <= wait_s <= 6 * 2**tries for tries, wait_s in enumerate(waits_s))
    row = await row_of(service)
    assert error in row.error
    assert PATH not in row.error
    receiver.accept()
    await send_all(webhook)
    first, *repeated, following = receiver.hooks
    assert {(asked.headers["webhook-id"], asked.body) for asked in repeated} == {(first.headers["webhook-id"], first.body)}
    assert following.headers["webhook-id"] != first.headers["webhook-id"]
    assert receiver.events(SECRET) == await exported(service)
    assert {asked.path for asked in receiver.asked} == {PATH}
    row = await row_of(service)
    assert (row.error, row.tries, row.lost) == ("", 0, 0)


async def test_a_receiver_that_wants_less_gets_less(service: Deployment, clock: Clock, receiver: webhooks.Receiver) -> None:
    """After 413 the next message has half as many events, down to one. Then that one is sent until it is accepted."""
    await send_all(webhook_of(service))
    del receiver.asked[:]

    def take_three(asked: Asked) -> Script:
        return answer(b"", 204 if len(json.loads(asked.body)["data"]["events"]) <= 3 else 413)

    receiver.refuse(take_three)
    await add_events(service, clock, 20)
    await send_all(webhook_of(service))
    accepted = [hook for hook in receiver.hooks if len(json.loads(hook.body)["data"]["events"]) <= 3]
    numbers = [event["number"] for hook in accepted for event in json.loads(hook.body)["data"]["events"]]
    assert numbers == [event["number"] for event in (await exported(service))[-20:]]
    receiver.refuse(answer(b"", 413))
    await add_events(service, clock)
    assert await webhook_of(service).send_next() > 0
    assert (await row_of(service)).error == "it answered 413"


async def test_a_receiver_may_ask_for_a_longer_pause(service: Deployment, clock: Clock, receiver: webhooks.Receiver) -> None:
    """`Retry-After` counts up to an hour. Anything but seconds is ignored."""
    for wished, shortest_ms, longest_ms in (("900", 720_000, 1_080_000), ("9" * 8, 2_880_000, 4_320_000), ("soon", 0, 600_000)):
        receiver.refuse(answer(b"", 503, retry_after=wished))
        await webhook_of(service).send_next()
        assert shortest_ms <= (await row_of(service)).next_at_ms - clock() <= longest_ms
        clock.advance(ms=longest_ms)


async def test_a_receiver_that_was_down_for_a_day_has_missed_nothing(
    service: Deployment, clock: Clock, receiver: webhooks.Receiver
) -> None:
    """The pauses grow to ten minutes and no longer, so it has all events soon after it is back."""
    began = clock()
    receiver.refuse([])
    while clock() < began + DAY_MS:
        await add_events(service, clock)
        await webhook_of(service).send_next()
        pause = (await row_of(service)).next_at_ms - clock()
        assert pause <= 720_000
        clock.advance(ms=pause)
    assert len(receiver.hooks) < 200
    receiver.accept()
    del receiver.asked[:]
    await send_all(webhook_of(service))
    numbers = [event["number"] for hook in receiver.hooks for event in json.loads(hook.body)["data"]["events"]]
    assert numbers == [event["number"] for event in await exported(service)]


def test_pauses_are_bounded_however_many_tries_there_were() -> None:
    """Five seconds at first, ten minutes at most."""
    assert [pause_ms(tries) // SECOND_MS for tries in (1, 2, 3, 8, 10**9)] == [5, 10, 20, 600, 600]
    assert pause_ms(1, wished_s=10**9) == HOUR_MS


def test_times_of_a_clock_that_was_wrong_hold_up_nothing() -> None:
    """A lease or a pause that ends in a year was written by a clock that has been set back since."""
    receiver = Receiver(id="id", name="name").claimed("one", 365 * DAY_MS)
    assert receiver.waits_ms("other", 365 * DAY_MS) == LEASE_MS
    assert receiver.waits_ms("one", 365 * DAY_MS) == receiver.waits_ms("other", 0) == 0
    paused = receiver.refused("it answered 500", 365 * DAY_MS)
    assert (paused.waits_ms("one", 365 * DAY_MS - 5), paused.waits_ms("one", 0)) == (5, 0)


async def test_events_are_given_up_when_the_retention_deletes_them(
    nodes: list[Deployment], clock: Clock, receiver: webhooks.Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """They are counted, an operator sees it, and later events follow."""
    webhook = webhook_of(nodes[0])
    await send_all(webhook)
    receiver.refuse(answer(b"", 500))
    await add_events(nodes[0], clock, 7)
    await webhook.send_next()
    clock.advance(ms=90 * DAY_MS + HOUR_MS)
    await add_events(nodes[0], clock, 2)
    await nodes[0].store.transact(lambda rows: rows.purge(now_ms=clock(), limit=100))
    assert (await row_of(nodes[0])).lost == 7
    receiver.accept()
    await send_all(webhook)
    last = json.loads(receiver.hooks[-1].body)["data"]
    assert [event["number"] for event in last["events"]] == [event["number"] for event in await exported(nodes[0])]
    assert (await row_of(nodes[0])).lost == 7
    assert "audit_events_lost receiver='127.0.0.1' count=7" in caplog.messages


async def test_a_receiver_that_does_not_answer_delays_no_other(tmp_path: Path, clock: Clock, receiver: webhooks.Receiver) -> None:
    """Each has its own work in the background, and the service answers meanwhile."""
    with webhooks.Receiver() as stalled:
        stalled.refuse([STALL])
        running = Deployment(settings_in(tmp_path, **settings_for(tmp_path, stalled.hook, receiver.hook)))
        async with running.run():
            await until(lambda: stalled.hooks)
            for number in range(3):
                await running.create_account(f"person-{number}@example.com", "a long enough password 47", caller(clock))
            await until(lambda: "account_created" in str([hook.body for hook in receiver.hooks]))
            names = {status.receiver.name for status in await running.auditing.read_receivers()}
        assert len(names) == 2


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_a_killed_node_loses_no_event(
    request: pytest.FixtureRequest, tmp_path: Path, receiver: webhooks.Receiver, database: str
) -> None:
    """It is killed with `kill -9` when the receiver has the message and before it has noted that.

    The service answers while it waits. Another node sends the same message again, with the same id and the same bytes.
    """
    async with AsyncExitStack() as opened:
        url = f"sqlite:///{tmp_path}/handstamp.db"
        if database == "postgres":
            url = await opened.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
        settings = settings_for(tmp_path, receiver.hook, database=url)
        receiver.refuse([STALL])
        service = Server(
            tmp_path,
            DATABASE=url,
            ISSUER="http://localhost:8000",
            SECRET=MASTER,
            AUDIT_WEBHOOK_URLS=receiver.hook,
            AUDIT_WEBHOOK_SECRET_FILE=str(tmp_path / "webhook.secret"),
            OUTBOUND_ALLOW="127.0.0.1",
        )
        await asyncio.to_thread(service.start)
        try:
            await until(lambda: receiver.hooks)
            assert (await asyncio.to_thread(service.register)).status_code == 201
        finally:
            service.kill()
        receiver.accept()
        later = Clock(now_ms() + LEASE_MS)
        other = await opened.enter_async_context(deployed(tmp_path, later, **settings | {"issuer": "http://localhost:8000"}))
        webhook_of(other)._clock = later
        await send_all(webhook_of(other))
        first, again, *_ = receiver.hooks
        assert (again.headers["webhook-id"], again.body) == (first.headers["webhook-id"], first.body)
        assert receiver.events(SECRET) == await exported(other)
        assert "account_created" in {event["kind"] for event in receiver.events(SECRET)}


async def test_what_cannot_be_sent_is_refused_at_the_start(tmp_path: Path) -> None:
    """Without a secret, with a weak one, one that others can read, or a URL that is never requested. No message has the URL."""
    good = settings_for(tmp_path, "https://siem.example.com/hush")
    readable = write_secrets(tmp_path / "readable.secret", SECRET)
    readable.chmod(0o644)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"audit_webhook_secret_file": None}, "AUDIT_WEBHOOK_SECRET_FILE"),
        ({"audit_webhook_secret_file": tmp_path / "missing"}, "cannot be read"),
        ({"audit_webhook_secret_file": readable}, "chmod 600"),
        ({"audit_webhook_secret_file": write_secrets(tmp_path / "a", "whsec_c2hvcnQ=")}, "24 to 64"),
        ({"audit_webhook_secret_file": write_secrets(tmp_path / "b", SECRET.removeprefix("whsec_"))}, "whsec_"),
        ({"audit_webhook_secret_file": write_secrets(tmp_path / "c", SECRET, SECRET, SECRET)}, "one secret, or two"),
        ({"audit_webhook_urls": ["http://siem.example.com/hush"]}, "must be https"),
        ({"audit_webhook_urls": ["https://10.0.0.1/hush"]}, "no public address"),
        ({"audit_webhook_urls": ["ftp://siem.example.com/hush"]}, "write it as https"),
    ]
    for fields, words in wrong:
        with pytest.raises(ConfigurationError, match=words) as refused:
            Deployment(settings_in(tmp_path, **good | fields))
        assert "hush" not in str(refused.value)
        assert SECRET not in str(refused.value)


def test_the_command_shows_how_far_receivers_are(tmp_path: Path, clock: Clock, receiver: webhooks.Receiver) -> None:
    """It says where each is, what failed, and sends a signed test. It never shows a URL."""
    settings = settings_for(tmp_path, receiver.hook)
    options = {
        "AUDIT_WEBHOOK_URLS": receiver.hook,
        "AUDIT_WEBHOOK_SECRET_FILE": str(tmp_path / "webhook.secret"),
        "OUTBOUND_ALLOW": "127.0.0.1",
        "SECRET": MASTER,
    }

    async def send() -> int:
        async with deployed(tmp_path, clock, **settings) as running:
            await send_all(webhook_of(running))
            receiver.refuse(answer(b"", 500))
            await add_events(running, clock)
            await webhook_of(running).send_next()
            return int((await exported(running))[-1]["number"])

    def run(*arguments: str, status: int = 0) -> str:
        result = run_command(tmp_path, "audit", "webhook", *arguments, **options)
        assert result.returncode == status, result
        assert PATH not in result.stdout + result.stderr
        return result.stdout

    last = asyncio.run(send())
    assert "it answered 500" in run("--test", status=1)
    receiver.accept()
    assert "accepted" in run("--test")
    assert receiver.read(SECRET)[-1] == {"type": "audit.test", "data": {}}
    (shown,) = json.loads(run("--json"))
    assert (shown["receiver"], shown["configured"], shown["tries"], shown["error"]) == ("127.0.0.1", True, 1, "it answered 500")
    assert (shown["sentTo"], shown["lost"]) == (last - 1, 0)
    assert "it answered 500" in run()
    options.pop("AUDIT_WEBHOOK_URLS")
    assert "not configured" in run()
