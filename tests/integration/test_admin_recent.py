"""The page of recent events, the page of the service, and the forms of the latter."""

from __future__ import annotations

import asyncio
import datetime
import html
import json
import re
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from handstamp.clock import now_ms
from handstamp.domain.event import EVENT_KINDS
from handstamp.service.operating import audit_trail
from handstamp.storage.sql import events
from handstamp.storage.sql.events import SqlEvents
from handstamp.web.pages.recent import _KINDS, PAGE_SIZE
from tests.administering import Service, serving
from tests.integration.test_admin_forms import follow, send
from tests.integration.test_admin_pages import visit
from tests.postgres import fresh_database

pytestmark = pytest.mark.anyio
PAGE = "/admin/service"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run the service."""
    async with serving(tmp_path, trusted_origins="https://app.example.com") as running:
        yield running


async def show(service: Service, visitor: dict[str, str], **query: str) -> str:
    """Return the page of events."""
    answer = await service.client.get("/admin/recent", params=query, headers=visitor)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


def count(page: str) -> int:
    """Return how many events the page shows."""
    return page.count("<li>") - page.count("<li>Nothing.</li>")


async def test_events_are_found_by_kind_person_and_time(service: Service) -> None:
    """By the address or the id of the person. Each names the person and the administrator, with a link."""
    ada = await service.account("ada@example.com")
    service.clock.advance(seconds=3600)
    root = await visit(service, "root@example.com", "admin")
    bob = await service.account("bob@example.com")
    await send(service, root, id=bob.id, action="grant", role="author")

    page = await show(service, root)
    assert count(page) == 5  # the key, three accounts, and the role
    assert page.index("the role author") < page.index(f"/admin/person?id={ada.id}")
    assert "by <bdi>root@example.com</bdi>" in page
    assert f'/admin/person?id={bob.id}"><bdi>bob@example.com</bdi></a>' in page

    for query, expected in (
        ({"kind": "role_granted"}, 1),
        ({"kind": "key_voided"}, 0),
        ({"person": "ADA@example.com"}, 1),
        ({"person": bob.id}, 2),
        ({"person": bob.id, "kind": "role_granted"}, 1),
        ({"since": minutes_ago(service, 1)}, 3),
        ({"until": minutes_ago(service, 1)}, 2),
        ({"since": minutes_ago(service, 61), "until": minutes_ago(service, 1), "person": ada.id}, 1),
        ({"since": minutes_ago(service, 30), "until": minutes_ago(service, 1)}, 0),
    ):
        assert count(await show(service, root, **query)) == expected, query

    await service.running.accounts.delete(ada.id, service.caller)
    assert f'/admin/why?id={ada.id}"' in await show(service, root)  # who has no account any more


def minutes_ago(service: Service, minutes: int) -> str:
    """Return a time as a browser sends it."""
    return datetime.datetime.fromtimestamp(service.clock() / 1000 - 60 * minutes, datetime.UTC).strftime("%Y-%m-%dT%H:%M")


async def test_older_events_are_a_page_away(service: Service) -> None:
    """Each page goes on where the one before ended, and the last one has no link."""
    root = await visit(service, "root@example.com", "admin")
    for number in range(PAGE_SIZE + 3):
        await service.account(f"p{number}@example.com")
    page, seen = await show(service, root, kind="account_created"), 0
    while True:
        seen += count(page)
        older = re.search(r'href="/admin/recent\?([^"]*before=[^"]*)"', page)
        if older is None:
            break
        assert "kind=account_created" in older[1]
        page = await show(service, root, **dict(httpx.QueryParams(older[1])))
    assert seen == PAGE_SIZE + 4


async def test_a_search_looks_at_few_events_at_a_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are. The page says so, and its link goes on."""
    monkeypatch.setattr(audit_trail, "PIECE", 2)
    monkeypatch.setattr(audit_trail, "MOST_LOOKED_AT", 4)
    root = await visit(service, "root@example.com", "admin")
    for number in range(5):
        await service.account(f"p{number}@example.com")
    page = await show(service, root, kind="key_added")
    assert (count(page), "Not all events were looked at" in page) == (0, True)
    (older,) = re.findall(r'href="/admin/recent\?([^"]*before=[^"]*)"', page)
    assert count(await show(service, root, **dict(httpx.QueryParams(older)))) == 1


MANY = 100_000
HOSTILE: dict[str, dict[str, Any]] = {
    "no match": {"kind": "key_voided"},
    "only the oldest": {"kind": "account_unlocked"},
    "nobody": {"subject": "nobodys"},
    "of the crowd, no match": {"subject": "crowd", "kind": "key_voided"},
    "before all": {"until_ms": 1},
    "after all": {"since_ms": 2**45},
    "in the middle": {"until_ms": MANY // 2, "kind": "key_voided"},
    "all": {},
}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_no_step_of_a_search_is_long(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a trail of 100,000 events, with filters that fit nothing: the database and the event loop handle one piece at a time."""
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {}
        if kind == "postgres":
            url = await stack.enter_async_context(fresh_database(request.getfixturevalue("postgres_server")))
            settings = {"database": url, "secret": secrets.token_urlsafe(32), "now_ms": now_ms()}
        service = await stack.enter_async_context(serving(tmp_path, **settings))
        steps = await _fill(service, kind)
        reads, turns, list_back = list[tuple[int, int, int]](), [0], SqlEvents.list_back

        async def record(rows: SqlEvents, **asked: Any) -> Any:
            before = steps[0]
            found = await list_back(rows, **asked)
            reads.append((len(found), turns[0], steps[0] - before))
            return found

        async def turn() -> None:
            while True:
                turns[0] += 1
                await asyncio.sleep(0)

        monkeypatch.setattr(SqlEvents, "list_back", record)
        turning = asyncio.create_task(turn())
        for name, query in HOSTILE.items():
            reads.clear()
            found, _ = await service.running.audit_trail.look_back(**query, limit=30)
            assert len(found) == (30 if name == "all" else 0), name
            assert max(count for count, _, _ in reads) <= audit_trail.PIECE <= 25, name
            assert sum(count for count, _, _ in reads) <= audit_trail.MOST_LOOKED_AT, name
            assert len({turn for _, turn, _ in reads}) == len(reads), "other requests run between the reads"
            assert max(taken for _, _, taken in reads) <= 50 * audit_trail.PIECE, name
        turning.cancel()


async def test_a_page_of_the_api_is_read_in_pieces(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its events are all there, in their order, and the loop turns in between."""
    asked, list_page = list[int](), SqlEvents.list_page

    async def record(rows: SqlEvents, *, limit: int, **others: Any) -> Any:
        asked.append(limit)
        return await list_page(rows, limit=limit, **others)

    monkeypatch.setattr(SqlEvents, "list_page", record)
    auth = await service.credential("admin")
    for number in range(60):
        await service.account(f"p{number}@example.com")
    page = (await service.client.get("/admin/events?limit=60", auth=auth)).json()["events"]
    assert asked == [25, 25, 10]
    numbers = [event["number"] for event in page]
    assert (len(numbers), numbers) == (60, sorted(numbers))
    rest = (await service.client.get("/admin/events?limit=200", auth=auth)).json()["events"]
    assert rest[:60] == page


async def _fill(service: Service, kind: str) -> list[int]:
    """Write many events. Return a counter of the instructions of SQLite's machine; of PostgreSQL, expect short plans."""
    numbers = f"WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {MANY}) "
    columns = "at_ms, kind, subject, sid, ip, user_agent, actor, operator, detail"
    who, agent = "CASE n % 2 WHEN 0 THEN 'crowd' ELSE 'p' || n END", "x" * 200
    kind_of = "CASE n WHEN 1 THEN 'account_unlocked' ELSE 'signed_in' END"
    rows = f"SELECT n, {kind_of}, {who}, 's' || n, '', '{agent}', 'person', NULL, '{{}}' FROM many"
    into = f"INSERT INTO event ({columns}) "
    fill = numbers + into + rows if kind == "sqlite" else into + numbers + rows
    steps = [0]
    if kind == "sqlite":
        path = service.running.settings.database_path
        assert path is not None
        with closing(sqlite3.connect(path)) as file, file:
            file.execute(fill)
        await asyncio.sleep(0)  # so that the reader's transaction of this turn ends

        def count() -> int:
            steps[0] += 50
            return 0

        service.running.store._reader.get().set_progress_handler(count, 50)  # type: ignore[attr-defined]
        return steps
    connection = await asyncpg.connect(service.running.settings.database)
    try:
        await connection.execute(fill)
        await connection.execute("ANALYZE event")
        for sql, values in (
            (events._SELECT_BACK, (2**62, audit_trail.PIECE)),
            (events._SELECT_BACK_OF, ("'nobodys'", 2**62, audit_trail.PIECE)),
            (events._SELECT_BACK_OF, ("'crowd'", 2**62, audit_trail.PIECE)),
            (events._SELECT_PLACE, (1,)),
        ):
            statement = sql.replace("?", "%s") % values
            (plan,) = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"))
            assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] <= 4 * audit_trail.PIECE, plan
    finally:
        await connection.close()
    return steps


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"person": "nobody@example.com"}, "person"),
        ({"person": "no@address@"}, "person"),
        ({"person": "a\x00b"}, "person"),
        ({"since": "yesterday"}, "since"),
        ({"until": "2026-99-01T00:00"}, "until"),
        ({"kind": "explosion"}, "kind"),
    ],
)
async def test_a_query_that_is_none_is_named(service: Service, query: dict[str, str], field: str) -> None:
    """Beside its field, with what was typed."""
    root = await visit(service, "root@example.com", "admin")
    answer = await service.client.get("/admin/recent", params=query, headers=root)
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    if field == "person":
        assert html.escape(query["person"]) in answer.text


async def test_a_place_that_is_none_is_the_beginning(service: Service) -> None:
    """No database can look for it."""
    root = await visit(service, "root@example.com", "admin")
    for before in ("9" * 400, "-1", "x", "\u0663"):
        assert count(await show(service, root, before=before)) == 2


def test_each_kind_can_be_chosen_that_is_stored() -> None:
    """Routine ones are in the log alone."""
    assert set(_KINDS) == {kind for kind, rule in EVENT_KINDS.items() if rule.level != "debug"}


async def test_the_page_of_the_service_shows_its_health(service: Service) -> None:
    """Each part by its name in /readyz, in words; what fails is said."""
    root = await visit(service, "root@example.com", "admin")
    page = (await service.client.get(PAGE, headers=root)).text
    for name in await service.running.readiness.look(is_stopping=False):
        assert f'<code>{name}</code></dt><dd class="good">In order' in page, name
    monkey = service.running.readiness._find_mail_problem
    service.running.readiness._find_mail_problem = lambda: "connection refused <b>"
    page = (await service.client.get(PAGE, headers=root)).text
    assert '<dd class="bad"><bdi lang="en">connection refused &lt;b&gt;</bdi>' in page
    service.running.readiness._find_mail_problem = monkey


async def test_keys_are_rotated_retired_and_revoked_after_a_question(service: Service) -> None:
    """The form of a new key publishes one, however often it is sent. Each step is recorded as the administrator's."""
    root = await visit(service, "root@example.com", "admin")
    (first,) = await service.running.keys.read_timetable(service.clock())
    page = (await service.client.get(PAGE, headers=root)).text
    assert first.kid in page
    before = len(await service.events())
    key = ""
    for action in ("void", "retire", "rotate"):
        asked = await send(service, root, PAGE, action=action, id=first.kid)
        assert (asked.status_code, 'name="sure" value="yes"' in asked.text) == (200, True)
        (key,) = re.findall(r'name="idempotency_key" value="([^"]+)"', asked.text)
    assert len(await service.events()) == before
    for _ in range(2):
        done = await send(service, root, PAGE, action="rotate", sure="yes", idempotency_key=key)
        assert "The new key is published." in await follow(service, root, done)
    timetable = await service.running.keys.read_timetable(service.clock())
    assert [key.state for key in timetable] == ["active", "published"]
    for _ in range(2):
        done = await send(service, root, PAGE, action="void", id=first.kid, sure="yes")
        assert "The key is revoked" in await follow(service, root, done)
    kinds = [(event.kind, event.actor) for event in (await service.events())[before:]]
    assert kinds == [("key_added", "operator"), ("key_voided", "operator"), ("key_added", "operator")]
    newest = (await service.running.keys.read_timetable(service.clock()))[-1]
    done = await send(service, root, PAGE, action="retire", id=newest.kid, sure="yes")
    assert "The key stops signing." in await follow(service, root, done)


async def test_a_credential_is_shown_once(service: Service) -> None:
    """It works, it is listed without its secret, and it is removed after a question."""
    root = await visit(service, "root@example.com", "admin")
    form = {"action": "create", "name": "orders", "scopes": "both", "idempotency_key": "of-the-page-of-the-service"}
    made = await send(service, root, PAGE, **form)
    assert re.findall("<pre.*?</pre>", (await send(service, root, PAGE, **form)).text, re.DOTALL) == re.findall(
        "<pre.*?</pre>", made.text, re.DOTALL
    )
    found = re.search(r"id: +(\S+)\nsecret: (\S+)</pre>", html.unescape(made.text))
    assert found is not None
    assert made.headers["cache-control"] == "no-store"
    assert (await service.client.get("/readyz", auth=(found[1], found[2]))).json()["parts"]
    page = (await service.client.get(PAGE, headers=root)).text
    assert ("orders" in page, found[2] in page) == (True, False)
    for name in ("orders", "no name", ""):
        wrong = await send(service, root, PAGE, action="create", name=name, scopes="admin")
        assert (wrong.status_code, "name-error" in wrong.text, f'value="{name}"' in wrong.text) == (422, True, True)
    asked = await send(service, root, PAGE, action="remove", id=found[1], name="orders")
    assert "Remove this credential?" in asked.text
    assert (await service.client.get("/readyz", auth=(found[1], found[2]))).status_code == 200
    for _ in range(2):
        done = await send(service, root, PAGE, action="remove", id=found[1], sure="yes")
        assert "The credential is removed." in await follow(service, root, done)
    assert (await service.client.get("/readyz", auth=(found[1], found[2]))).status_code == 401
    assert (await send(service, root, PAGE, action="explode", id="x", sure="yes")).status_code == 400
    kinds = [event.kind for event in await service.events() if event.operator]
    assert kinds == ["credential_added", "credential_removed"]
