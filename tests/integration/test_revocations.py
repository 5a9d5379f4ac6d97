"""Tests of the revocation feed as remote verifiers follow it: long polls, paging, restarts and restored backups."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import pytest

from handstamp.domain.policy import MAX_ACCESS_LIFETIME_MS, MAX_LEEWAY_S
from handstamp.service.sessions import revocations
from handstamp.service.sessions.revocations import HEARTBEAT_S, PAGE_SIZE
from tests.builders import HOUR_MS, MINUTE_MS, Clock
from tests.commands import run_command
from tests.deployment import caller, deployed, start_session
from tests.integration.helpers import (
    Credential,
    SignedIn,
    client_of,
    create_credential,
    expect_problem,
    profile,
    refresh,
    run_on_deployment,
    run_server,
    session_row,
    sign_in,
    sign_in_new_user,
    sign_up,
)
from tests.serving import PASSWORD, Server, cookie_name
from tests.verifying import eventually

pytestmark = pytest.mark.xdist_group("revocations")
MEMBERS = {"entries", "cursor", "snapshot", "more", "now"}
CHALLENGE = 'Basic realm="handstamp", charset="UTF-8"'
PATIENCE_S = 30.0
_ATTEMPTS = 6


@pytest.fixture(scope="module")
def credential(server: Server) -> Credential:
    """Return the credential of a service that verifies tokens."""
    return create_credential(server)


def read_page(client: httpx.Client, credential: Credential, after: str = "", wait: int = 0) -> dict[str, Any]:
    """Return one page of the feed and check what every page must satisfy."""
    answer = client.get("/revocations", params={"after": after, "wait": wait}, auth=credential.basic)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "no-store")
    page: dict[str, Any] = answer.json()
    assert page.keys() == MEMBERS
    assert abs(page["now"] - time.time()) < PATIENCE_S
    assert all(entry["exp"] > page["now"] - HEARTBEAT_S for entry in page["entries"])
    return page


def current_cursor(client: httpx.Client, credential: Credential) -> str:
    """Return the current cursor after reading all pages."""
    page = read_page(client, credential)
    while page["more"]:
        page = read_page(client, credential, page["cursor"])
    cursor: str = page["cursor"]
    return cursor


def settled_cursor(client: httpx.Client, credential: Credential) -> str:
    """Return the current cursor after the service has woken all readers for earlier entries."""
    return str(read_page(client, credential, current_cursor(client, credential), wait=1)["cursor"])


def sids(page: Mapping[str, Any]) -> list[str]:
    """Return the ids of the sessions that a page lists as revoked."""
    return [entry["sid"] for entry in page["entries"]]


class Read(NamedTuple):
    """The answer to a reader, and how long the reader waited for it."""

    answer: httpx.Response
    seconds: float


@contextmanager
def start_readers(
    server: Server, credential: Credential, cursor: str, *, readers: int = 1, wait: int = HEARTBEAT_S
) -> Iterator[list[Future[Read]]]:
    """Start readers that wait for new entries, each on its own connection. On entry the service has read their requests."""
    sent = threading.Semaphore(0)

    def note(event: str, _: object) -> None:
        if event == "http11.receive_response_headers.started":
            sent.release()

    def ask_for_news() -> Read:
        with client_of(server) as client:
            fields: dict[str, str | int] = {"after": cursor, "wait": wait}
            asked_at = time.monotonic()
            answer = client.get("/revocations", params=fields, auth=credential.basic, extensions={"trace": note})
            return Read(answer, time.monotonic() - asked_at)

    with ThreadPoolExecutor(readers) as pool:
        reading = [pool.submit(ask_for_news) for _ in range(readers)]
        assert all(sent.acquire(timeout=PATIENCE_S) for _ in range(readers))
        assert eventually(lambda: unread_bytes(server.port) == 0)
        yield reading


def unread_bytes(port: int) -> int:
    """Return how many bytes the connections of a local port have received that no process has read. 0 outside of Linux."""
    tables = [table for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if table.exists()]
    fields = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    established = [queues for _, local, _, state, queues, *_ in fields if state == "01" and local.endswith(f":{port:04X}")]
    return sum(int(queues.partition(":")[2], 16) for queues in established)


def before_heartbeat(attempt: Callable[[], float]) -> bool:
    """Return whether a reader was answered before its heartbeat, at least once: a busy machine may delay any single answer."""
    return any(attempt() < HEARTBEAT_S for _ in range(_ATTEMPTS))


# --- authentication


def percent_encode(text: str) -> str:
    """Return a text percent-encoded, as RFC 6749 §2.3.1 prescribes for Basic credentials."""
    return "".join(f"%{byte:02x}" for byte in text.encode())


def basic_header(text: str | bytes) -> dict[str, str]:
    """Return an `Authorization: Basic` header."""
    return {"authorization": f"Basic {base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()}"}


STRANGERS: dict[str, Callable[[Credential, SignedIn], dict[str, str]]] = {
    "nobody": lambda _c, _a: {},
    "a wrong secret": lambda c, _a: basic_header(f"{c.id}:{c.secret[:-1]}"),
    "a wrong secret, longer": lambda c, _a: basic_header(f"{c.id}:{c.secret}x"),
    "an empty secret": lambda c, _a: basic_header(f"{c.id}:"),
    "no secret": lambda c, _a: basic_header(c.id),
    "an unknown id": lambda c, _a: basic_header(f"nobody:{c.secret}"),
    "its name for its id": lambda c, _a: basic_header(f"{c.name}:{c.secret}"),
    "nothing in it": lambda _c, _a: {"authorization": "Basic"},
    "no base64": lambda c, _a: {"authorization": f"Basic {c.id}:{c.secret}"},
    "no text": lambda _c, _a: basic_header(b"\xff\xfe:\xff"),
    "percent signs that mean nothing": lambda c, _a: basic_header(f"{c.id}:%ff{c.secret}"),
    "a person": lambda _c, a: a.bearer,
    "a person by cookie": lambda _c, a: {"cookie": f"{cookie_name('access', a.origin)}={a.access}"},
    "a person as Basic": lambda _c, a: basic_header(f"{a.sid}:{a.access}"),
    "the credential as Bearer": lambda c, _a: {"authorization": f"Bearer {c.secret}"},
}


@pytest.mark.parametrize("who", STRANGERS)
def test_the_feed_requires_a_credential(client: httpx.Client, credential: Credential, who: str) -> None:
    """No credential, a wrong one or a person's access token get the same 401 and Basic challenge (R74)."""
    answer = client.get("/revocations", headers=STRANGERS[who](credential, sign_in_new_user(client)))
    expect_problem(answer, 401, "invalid_client")
    assert answer.headers.get_list("www-authenticate") == [CHALLENGE]


def test_the_credential_may_be_percent_encoded(client: httpx.Client, credential: Credential) -> None:
    """Percent-encoded and plain credentials are both accepted.

    RFC 6749 §2.3.1 requires the encoding, but many clients omit it.
    """
    both = percent_encode(credential.id), percent_encode(credential.secret)
    assert client.get("/revocations", headers=basic_header(":".join(both))).status_code == 200
    header = basic_header(f"{credential.id}:{credential.secret}")["authorization"]
    assert client.get("/revocations", headers={"authorization": header.replace("Basic", "bASIC")}).status_code == 200


def test_two_credentials_are_refused(client: httpx.Client, credential: Credential) -> None:
    """A request with two `Authorization` headers is refused."""
    header = basic_header(f"{credential.id}:{credential.secret}")["authorization"]
    answer = client.get("/revocations", headers=[("authorization", header), ("authorization", header)])
    expect_problem(answer, 400, "invalid_request")


def test_a_credential_in_the_url_is_ignored(client: httpx.Client, credential: Credential) -> None:
    """Credentials in the query string are refused, because query strings are logged (R44)."""
    expect_problem(client.get("/revocations", params=credential.fields), 401, "invalid_client")


def test_a_removed_credential_is_refused_at_the_next_request(server: Server, client: httpx.Client) -> None:
    """A removed credential is refused at once; the service does not cache it."""
    credential = create_credential(server)
    cursor = current_cursor(client, credential)
    run_on_deployment(server, lambda opened, asking: opened.credentials.remove(credential.name, asking))
    expect_problem(client.get("/revocations", params={"after": cursor}, auth=credential.basic), 401, "invalid_client")


# --- pages and cursors


def test_without_a_cursor_the_feed_sends_everything(client: httpx.Client, credential: Credential) -> None:
    """A verifier without a cursor receives all revoked sessions whose tokens could still be valid (R47 and R53).

    Each entry states its expiry.
    """
    ada, bob = sign_in_new_user(client), sign_in_new_user(client)
    client.post("/logout", headers=ada.bearer)
    page = read_page(client, credential)
    assert (page["snapshot"], page["more"]) == (True, False)
    (entry,) = [entry for entry in page["entries"] if entry["sid"] == ada.sid]
    assert entry.keys() == {"sid", "exp"}
    remembered_s = MAX_ACCESS_LIFETIME_MS // 1000 + MAX_LEEWAY_S
    assert remembered_s - PATIENCE_S < entry["exp"] - page["now"] <= remembered_s + 2
    assert bob.sid not in sids(page)


def test_a_cursor_continues_after_the_last_entry(client: httpx.Client, credential: Credential) -> None:
    """Each page lists new entries once and in order. Without new entries the cursor does not move."""
    cursor = current_cursor(client, credential)
    read: list[str] = []
    ended: list[str] = []
    for _ in range(4):
        ada = sign_in_new_user(client)
        client.post("/logout", headers=ada.bearer)
        ended.append(ada.sid)
        page = read_page(client, credential, cursor)
        assert (page["snapshot"], page["more"]) == (False, False)
        read += sids(page)
        cursor = page["cursor"]
        assert read_page(client, credential, cursor) | {"now": 0} == page | {"entries": [], "now": 0}
    assert read == ended


def test_readers_have_independent_cursors(client: httpx.Client, credential: Credential) -> None:
    """Reading consumes nothing: an old cursor returns the same entries again."""
    cursor = current_cursor(client, credential)
    ended = [sign_in_new_user(client) for _ in range(3)]
    for one in ended:
        client.post("/logout", headers=one.bearer)
    for _ in range(2):
        assert sids(read_page(client, credential, cursor)) == [one.sid for one in ended]


def test_ends_without_valid_tokens_are_not_in_the_feed(client: httpx.Client, credential: Credential) -> None:
    """Requests that end no session add no entry: a second sign-out, a refresh, a repeated refresh or an invalid token."""
    ada, bob = sign_in_new_user(client), sign_in_new_user(client)
    client.post("/logout", headers=ada.bearer)
    cursor = current_cursor(client, credential)
    client.post("/logout", headers=ada.bearer)
    assert refresh(client, ada).status_code == 401
    assert refresh(client, bob).status_code == refresh(client, bob).status_code == 200
    client.post("/logout", json={"refreshToken": "rubbish"})
    assert read_page(client, credential, cursor)["entries"] == []


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "0", "1", "1.", "1.x", ".", "-1.x", "1e3.x", "999999999.x", "9" * 400 + ".x", "٣.x", "1.\0", "x" * 5000, "1.'--"],
    ids=lambda cursor: cursor[:12] or "empty",
)
def test_an_unknown_cursor_gets_a_snapshot(client: httpx.Client, credential: Credential, cursor: str) -> None:
    """An unknown cursor is answered with a snapshot, so a reader that lost its place misses no entry."""
    ada = sign_in_new_user(client)
    client.post("/logout", headers=ada.bearer)
    page = read_page(client, credential, cursor)
    assert page["snapshot"] is True
    assert ada.sid in sids(page)
    assert page["cursor"] == current_cursor(client, credential)


@pytest.mark.parametrize("wait", ["6", "-1", "1.5", "x", "05", "٣", "1 ", "1e0", "0x1", "\0", "99999999999999999999"])
def test_an_invalid_wait_is_refused(client: httpx.Client, credential: Credential, wait: str) -> None:
    """`wait` must be whole seconds from 0 to 5; any other value is refused with a message that says so."""
    answer = client.get("/revocations", params={"wait": wait}, auth=credential.basic)
    problem = expect_problem(answer, 422, "invalid_request")
    assert problem["fields"] == [{"name": "wait", "problem": "must be whole seconds from 0 to 5"}]


def test_long_results_are_paged(serve: Callable[..., Server]) -> None:
    """Two and a half pages of entries arrive once each and in order. Only the first page is marked as a snapshot."""
    server = serve()
    credential = create_credential(server)
    exp_s = int(time.time()) + 3600
    names = [f"session-{number:05}" for number in range(2 * PAGE_SIZE + PAGE_SIZE // 2)]
    with closing(sqlite3.connect(server.folder / "handstamp.db", timeout=10)) as database, database:
        rows = (("sid", name, exp_s) for name in names)
        database.executemany("INSERT INTO revocation (kind, name, exp_s) VALUES (?, ?, ?)", rows)
    with server.client() as client:
        pages = [read_page(client, credential)]
        while pages[-1]["more"]:
            pages.append(read_page(client, credential, pages[-1]["cursor"], wait=HEARTBEAT_S))
    assert [page["snapshot"] for page in pages] == [True, False, False]
    assert len(sids(pages[0])) <= PAGE_SIZE
    assert [name for page in pages for name in sids(page)] == names


# --- waiting


def log_out(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    """Sign out."""
    assert client.post("/logout", headers=ada.bearer).status_code == 204


def log_out_everywhere(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    """Sign out everywhere."""
    assert client.post("/logout-everywhere", headers=ada.bearer).status_code == 204


def change_password(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    """Change the password."""
    body = {"currentPassword": PASSWORD, "newPassword": "another kelp lantern rivet of the tests"}
    assert client.post("/password", json=body, headers=ada.bearer).status_code == 200


def end_from_the_list(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    """End the session from another device."""
    other = sign_in(client, ada.email)
    assert client.delete(f"/sessions/{ada.sid}", headers=other.bearer).status_code == 204


def use_an_old_copy(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    """Present a refresh token that was replaced two refreshes ago."""
    renewed = ada.after(refresh(client, ada))
    renewed.after(refresh(client, renewed))
    assert refresh(client, ada).json()["reason"] == "reuse"


def revoke_by_oauth(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    """Sign out with the OAuth revocation endpoint."""
    assert client.post("/revoke", data={"token": ada.refresh}).status_code == 200


def sign_in_again_in_a_browser(_: Server, client: httpx.Client, ada: SignedIn) -> None:
    """Sign in again with the session's cookie, which replaces the session."""
    headers = {"cookie": f"{cookie_name('refresh', ada.origin)}={ada.refresh}", "sec-fetch-site": "same-origin"}
    assert client.post("/login", json={"email": ada.email, "password": PASSWORD}, headers=headers).status_code == 200


def disable_by_command(server: Server, _: httpx.Client, ada: SignedIn) -> None:
    """Disable the account from another process."""
    assert run_command(server.folder, "users", "disable", ada.email).returncode == 0


def end_by_command(server: Server, _: httpx.Client, ada: SignedIn) -> None:
    """End the session with the operator's command, in another process."""
    assert run_command(server.folder, "sessions", "end", ada.sid).returncode == 0


End = Callable[[Server, httpx.Client, SignedIn], None]
ENDS_ONE: list[End] = [log_out, end_from_the_list, use_an_old_copy, revoke_by_oauth, sign_in_again_in_a_browser, end_by_command]
ENDS_ALL: list[End] = [log_out_everywhere, change_password, disable_by_command]


@pytest.mark.parametrize("end", [*ENDS_ONE, *ENDS_ALL], ids=lambda end: end.__name__)
def test_a_waiting_reader_is_woken(server: Server, client: httpx.Client, credential: Credential, end: End) -> None:
    """Every way to end a session, in any process, wakes waiting readers at once, before the heartbeat (R25)."""

    def attempt() -> float:
        email = sign_up(client)
        sessions = [sign_in(client, email, delivery=delivery) for delivery in ("json", "json", "split")]
        ends = {session.sid for session in sessions[: None if end in ENDS_ALL else 1]}
        cursor = settled_cursor(client, credential)
        with start_readers(server, credential, cursor) as (reader,):
            end(server, client, sessions[0])
            read = reader.result(PATIENCE_S)
        assert ends <= {*sids(read.answer.json()), *sids(read_page(client, credential, read.answer.json()["cursor"]))}
        for session in sessions:
            assert (session_row(server, session.sid)["revoked_at_ms"] is not None) == (session.sid in ends)
            assert profile(client, session).status_code == (401 if session.sid in ends else 200)
        return read.seconds

    assert before_heartbeat(attempt)


def test_a_waiting_reader_gets_a_heartbeat(client: httpx.Client, credential: Credential) -> None:
    """Without new entries the answer comes after the requested wait. It is empty and has the same cursor."""
    cursor = settled_cursor(client, credential)

    def attempt() -> float:
        asked_at = time.monotonic()
        page = read_page(client, credential, cursor, wait=1)
        assert page | {"now": 0} == {"entries": [], "cursor": cursor, "snapshot": False, "more": False, "now": 0}
        seconds = time.monotonic() - asked_at
        assert seconds > 0.9
        return seconds

    assert before_heartbeat(attempt)


def test_a_reader_with_news_does_not_wait(client: httpx.Client, credential: Credential) -> None:
    """New entries and snapshots are returned at once. Only an up-to-date reader waits."""
    cursor = current_cursor(client, credential)
    ada = sign_in_new_user(client)
    client.post("/logout", headers=ada.bearer)

    def attempt(after: str) -> float:
        asked_at = time.monotonic()
        assert ada.sid in sids(read_page(client, credential, after, wait=HEARTBEAT_S))
        return time.monotonic() - asked_at

    assert all(before_heartbeat(partial(attempt, after)) for after in (cursor, "", "unknown"))


@pytest.mark.slow
def test_an_end_in_one_process_wakes_readers_in_another(tmp_path: Path) -> None:
    """With two workers, a sign-out at one worker wakes the readers at both (R87)."""
    with run_server(tmp_path, "--workers", "2") as server, server.client() as client:
        credential = create_credential(server)

        def attempt() -> float:
            ada = sign_in_new_user(client)
            with start_readers(server, credential, current_cursor(client, credential), readers=10) as readers:
                log_out(server, client, ada)
                read = [reader.result(PATIENCE_S) for reader in readers]
            assert [sids(each.answer.json()) for each in read] == [[ada.sid]] * 10
            return max(each.seconds for each in read)

        assert before_heartbeat(attempt)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_lets_waiting_readers_finish(tmp_path: Path, workers: int) -> None:
    """After SIGTERM the service answers all waiting readers and then exits."""
    with run_server(tmp_path, "--workers", str(workers)) as server, server.client() as client:
        credential = create_credential(server)
        with start_readers(server, credential, current_cursor(client, credential), readers=6, wait=2) as readers:
            assert server.kill(signal.SIGTERM) in (0, -signal.SIGTERM)
            assert all(sids(reader.result(PATIENCE_S).answer.json()) == [] for reader in readers)
        assert "Traceback" not in server.log.read_text()


# --- kills, backups and a missing database


@contextmanager
def removed_database(server: Server) -> Iterator[None]:
    """Move the database's files to another folder for the length of a `with` block."""
    files, away = list(server.folder.glob("handstamp.db*")), server.folder / "away"
    away.mkdir(exist_ok=True)
    try:
        for file in files:
            file.rename(away / file.name)
        yield
    finally:
        for file in files:
            (away / file.name).rename(file)


def test_an_acknowledged_end_is_in_the_feed_after_a_kill(serve: Callable[..., Server]) -> None:
    """A 204 promises that verifiers receive the entry, even if the process is killed in the next instant (R54)."""
    server = serve()
    credential = create_credential(server)
    with server.client() as client:
        ada = sign_in_new_user(client)
        cursor = current_cursor(client, credential)
        assert client.post("/logout", headers=ada.bearer).status_code == 204
        server.kill()
    server.start()
    with server.client() as client:
        page = read_page(client, credential, cursor)
        assert (page["snapshot"], sids(page)) == (False, [ada.sid])


@pytest.mark.slow
def test_a_restored_backup_is_noticed(serve: Callable[..., Server]) -> None:
    """A cursor issued after the backup gets a snapshot once the backup is restored.

    It must get one even if the restored database has reused the cursor's number.
    """
    server = serve()
    credential = create_credential(server)
    database = server.folder / "handstamp.db"
    with server.client() as client:
        people = [sign_in_new_user(client) for _ in range(4)]
        client.post("/logout", headers=people[0].bearer)
        before = current_cursor(client, credential)
        with closing(sqlite3.connect(database)) as live, closing(sqlite3.connect(server.folder / "backup.db")) as copy:
            live.backup(copy)
        client.post("/logout", headers=people[1].bearer)
        lost = current_cursor(client, credential)
        client.post("/logout", headers=people[2].bearer)
        lost_further = current_cursor(client, credential)
    server.kill()
    for leftover in server.folder.glob("handstamp.db-*"):
        leftover.unlink()
    (server.folder / "backup.db").rename(database)
    server.start()
    with server.client() as client:
        client.post("/logout", headers=people[3].bearer)
        assert current_cursor(client, credential).partition(".")[0] == lost.partition(".")[0], "the number was given again"
        for cursor in (lost, lost_further):
            page = read_page(client, credential, cursor)
            assert (page["snapshot"], sids(page)) == (True, [people[0].sid, people[3].sid])
        page = read_page(client, credential, before)
        assert (page["snapshot"], sids(page)) == (False, [people[3].sid])


def test_an_unavailable_store_is_not_an_empty_feed(server: Server, client: httpx.Client, credential: Credential) -> None:
    """While the database is missing, the feed answers 503 with Retry-After, not an empty page.

    Afterwards every entry is delivered (R88).
    """
    cursor = current_cursor(client, credential)
    ada = sign_in_new_user(client)
    client.post("/logout", headers=ada.bearer)
    answers: list[httpx.Response] = []
    for _ in range(_ATTEMPTS):
        settled = settled_cursor(client, credential)
        with start_readers(server, credential, settled, wait=2) as (reader,), removed_database(server):
            was_waiting = not reader.done()  # otherwise a busy machine removed the files after the answer: try again
            immediate = client.get("/revocations", params={"after": cursor}, auth=credential.basic)
            answers = [immediate, reader.result(PATIENCE_S).answer]
        if was_waiting:
            break
    for answer in answers:
        expect_problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
    assert sids(read_page(client, credential, cursor)) == [ada.sid]


# --- retention and paging, on a clock that the test moves


@pytest.mark.anyio
async def test_an_end_stays_in_the_feed_while_tokens_may_be_valid(tmp_path: Path) -> None:
    """An entry is kept for the longest token lifetime plus the widest leeway, then deleted (R53 and R90).

    The test checks this to the millisecond.
    """
    clock = Clock()
    async with deployed(tmp_path, clock, access_lifetime="1h") as service:

        async def list_names(cursor: str = "") -> list[str]:
            page = await service.revocations.read_after(cursor, wait_s=0, reader="orders", caller=caller(clock))
            return [entry.name for entry in page.entries]

        session, pair = await start_session(service, clock)
        await service.sign_out.end_by_tokens([pair.access_token], caller(clock))
        cursor = (await service.revocations.read_after("", wait_s=0, reader="orders", caller=caller(clock))).cursor
        clock.advance(ms=HOUR_MS + MINUTE_MS - 1)
        await service.housekeeping.run_once()
        assert await list_names() == [session.id]
        clock.advance(ms=1)
        assert await list_names() == []
        await service.housekeeping.run_once()
        other, pair = await start_session(service, clock)
        await service.sign_out.end_by_tokens([pair.refresh_token], caller(clock))
        assert await list_names(cursor) == [other.id], "a quiet hour costs no reader its place"
        page = await service.revocations.read_after(cursor, wait_s=0, reader="orders", caller=caller(clock))
        assert not page.is_snapshot


@pytest.mark.anyio
async def test_constant_sign_outs_use_bounded_memory(tmp_path: Path) -> None:
    """Under steady load the table holds only the entries of the last hour (R53)."""
    clock = Clock()
    async with deployed(tmp_path, clock) as service:
        for _ in range(6):
            for _ in range(10):
                _, pair = await start_session(service, clock)
                await service.sign_out.end_by_tokens([pair.access_token], caller(clock))
                clock.advance(ms=2 * MINUTE_MS)
            await service.housekeeping.run_once()
            rows = await service.store.read(lambda rows: rows.revocations.list_since(0, limit=1000))
            assert len(rows) <= 31


@pytest.mark.anyio
@pytest.mark.parametrize("ends", [0, 1, 2, 3, 4, 5, 6, 7, 30])
async def test_pages_of_any_size_are_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: int) -> None:
    """With just under, exactly and just over a page, each entry arrives once. The last page says that there are no more."""
    monkeypatch.setattr(revocations, "PAGE_SIZE", 3)
    clock = Clock()
    async with deployed(tmp_path, clock) as service:
        names = []
        for _ in range(ends):
            session, pair = await start_session(service, clock)
            await service.sign_out.end_by_tokens([pair.access_token], caller(clock))
            names.append(session.id)
        page = await service.revocations.read_after("", wait_s=0, reader="orders", caller=caller(clock))
        names_read = [entry.name for entry in page.entries]
        assert page.is_snapshot
        while page.has_more:
            page = await service.revocations.read_after(page.cursor, wait_s=0, reader="orders", caller=caller(clock))
            assert not page.is_snapshot
            assert len(page.entries) <= 3
            names_read += [entry.name for entry in page.entries]
        assert names_read == names


@pytest.mark.anyio
async def test_too_many_readers_are_answered_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers beyond the limit are answered at once, so a flood of them costs no more than ordinary requests (R74)."""
    monkeypatch.setattr(revocations, "MAX_WAITING", 0)
    monkeypatch.setattr(revocations, "HEARTBEAT_S", 3600)
    clock = Clock()
    async with deployed(tmp_path, clock) as service:
        page = await service.revocations.read_after("", wait_s=0, reader="orders", caller=caller(clock))
        async with asyncio.timeout(PATIENCE_S):
            again = await service.revocations.read_after(page.cursor, wait_s=3600, reader="orders", caller=caller(clock))
        assert (again.cursor, list(again.entries), again.is_snapshot) == (page.cursor, [], False)


@pytest.mark.anyio
async def test_one_credential_takes_no_place_from_the_readers_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A credential has a number of waiting readers. Another one of it is answered at once, and one of another service waits."""
    monkeypatch.setattr(revocations, "MAX_WAITING_EACH", 1)
    monkeypatch.setattr(revocations, "HEARTBEAT_S", 3600)
    clock = Clock()
    async with deployed(tmp_path, clock) as service:
        page = await service.revocations.read_after("", wait_s=0, reader="orders", caller=caller(clock))

        def read(reader: str) -> asyncio.Task[revocations.FeedPage]:
            reading = service.revocations.read_after(page.cursor, wait_s=3600, reader=reader, caller=caller(clock))
            return asyncio.create_task(reading)

        first, others = read("orders"), read("bills")
        while service.revocations._waiting.total() < 2:  # noqa: ASYNC110 - nothing tells when a reader waits
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            second = await read("orders")
        assert (second.cursor, list(second.entries)) == (page.cursor, [])
        assert (first.done(), others.done()) == (False, False)
        for task in (first, others):
            task.cancel()
        await asyncio.gather(first, others, return_exceptions=True)
        assert not service.revocations._waiting
    assert [line for line in caplog.messages if line.startswith("feed_crowded credential='orders'")]


@pytest.mark.anyio
async def test_an_unexpected_failure_is_shown_by_its_type_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`/readyz` shows it to holders of credentials, and the message of an unknown error may contain anything."""

    async def fail(_seq: int) -> None:
        raise RuntimeError("postgresql://handstamp:secret@db/")

    async with deployed(tmp_path, Clock()) as service:
        monkeypatch.setattr(service.revocations, "_notify", fail)
        following = asyncio.create_task(service.revocations.run())
        while not service.revocations.problem:  # noqa: ASYNC110 - nothing tells when the failure was met
            await asyncio.sleep(0)
        following.cancel()
        assert service.revocations.problem == "RuntimeError"


def test_no_service_secret_is_logged(server: Server, client: httpx.Client, credential: Credential) -> None:
    """Neither valid nor wrong credentials are logged (R83)."""
    current_cursor(client, credential)
    client.get("/revocations", headers=basic_header(f"{credential.id}:a wrong secret of theirs"))
    logged = server.log.read_text()
    assert json.dumps("credential_added") not in logged, "made from another process"
    for secret in (credential.secret, percent_encode(credential.secret), urlencode(credential.fields), "wrong secret of theirs"):
        assert secret not in logged
        assert base64.b64encode(secret.encode()).decode() not in logged
