"""A request that is sent again with the same `Idempotency-Key` gets the same answer again, and changes nothing twice."""

from __future__ import annotations

import random
import re
import signal
import socket
import sqlite3
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from handstamp.domain.receipt import LIFETIME_MS, Repeatable
from handstamp.errors import AccountExists, InvalidFields, Unavailable
from tests.builders import Clock
from tests.cutting import CuttingProxy
from tests.deployment import caller, deployed
from tests.integration.helpers import (
    Mint,
    SignedIn,
    cookies_by_kind,
    expect_ended,
    expect_problem,
    new_email,
    profile,
    refresh,
    sign_in,
    sign_in_new_user,
    sign_up,
)
from tests.nodes import nodes_in
from tests.postgres import fresh_database
from tests.serving import PASSWORD, Server

T = TypeVar("T")
OTHER = "another sentence, hers alone"
DELIVERIES = ["json", "split", "cookie"]
_AGAIN = 6


def a_key() -> str:
    """Return a key, as clients choose it."""
    return str(uuid.uuid4())


def log_in(client: httpx.Client, email: str, key: str, *, delivery: str = "json", password: str = PASSWORD) -> httpx.Response:
    """Sign in with a key."""
    headers = {"idempotency-key": key, "origin": str(client.base_url).rstrip("/")}
    return client.post("/login", json={"email": email, "password": password, "delivery": delivery}, headers=headers)


def change_password(
    client: httpx.Client, person: SignedIn, key: str, new: str = OTHER, current: str = PASSWORD
) -> httpx.Response:
    """Change a password with a key."""
    body = {"currentPassword": current, "newPassword": new}
    return client.post("/password", json=body, headers={**person.headers, "idempotency-key": key})


def register(client: httpx.Client, email: str, key: str, password: str = PASSWORD) -> httpx.Response:
    """Create an account with a key."""
    return client.post("/register", json={"email": email, "password": password}, headers={"idempotency-key": key})


def test_a_registration_that_is_sent_again_gets_the_same_account(client: httpx.Client) -> None:
    """The second answer is 201 with the account of the first, and not that the address is taken."""
    email, key = new_email(), a_key()
    first, second = (register(client, email, key) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    expect_problem(register(client, email, a_key()), 409, "account_exists")
    expect_problem(client.post("/register", json={"email": email, "password": PASSWORD}), 409, "account_exists")


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_sign_in_that_is_sent_again_begins_one_session(client: httpx.Client, delivery: str) -> None:
    """Both answers have the same refresh token, byte for byte, in the body or as a cookie. Another key begins another session."""
    email, key = sign_up(client), a_key()
    first, second = (log_in(client, email, key, delivery=delivery) for _ in range(2))
    assert first.json()["sessionId"] == second.json()["sessionId"]
    tokens = [answer.json().get("refreshToken") or cookies_by_kind(answer)["refresh"].value for answer in (first, second)]
    assert tokens[0] == tokens[1]
    other = log_in(client, email, a_key()).json()
    listed = client.get("/sessions", headers={"authorization": f"Bearer {other['accessToken']}"}).json()["sessions"]
    assert {entry["id"] for entry in listed} == {first.json()["sessionId"], other["sessionId"]}


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_password_change_that_is_sent_again_is_not_told_that_it_was_signed_out(client: httpx.Client, delivery: str) -> None:
    """The token of the second request belongs to the session that the first has ended. It gets the new session all the same."""
    person, key = sign_in_new_user(client, delivery=delivery), a_key()
    first, second = (change_password(client, person, key) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["sessionId"] == second.json()["sessionId"] != person.sid
    assert person.after(first).refresh == person.after(second).refresh
    assert profile(client, person.after(second)).status_code == 200
    assert refresh(client, person.after(first)).status_code == 200
    expect_ended(profile(client, person), "password_changed")
    expect_ended(change_password(client, person, a_key()), "password_changed")
    assert sign_in(client, person.email, password=OTHER).sid


def test_a_password_change_is_recognised_with_an_expired_token_and_with_a_token_of_the_new_session(
    client: httpx.Client, mint: Mint
) -> None:
    """The access token may have expired meanwhile, and the browser may have taken the new cookies before the answer broke off."""
    person, key = sign_in_new_user(client), a_key()
    first = person.after(change_password(client, person, key))
    expired = {"authorization": f"Bearer {mint.expired_access(person.access)}"}
    body = {"currentPassword": PASSWORD, "newPassword": OTHER}
    again = client.post("/password", json=body, headers={**expired, "idempotency-key": key})
    assert again.json()["sessionId"] == first.sid
    assert change_password(client, first, key).json()["sessionId"] == first.sid


def test_another_request_with_the_same_key_is_refused(client: httpx.Client) -> None:
    """A key with other content is 422 (draft-ietf-httpapi-idempotency-key-header §2.7), and tells nothing about passwords."""
    email, key = new_email(), a_key()
    assert register(client, email, key).status_code == 201
    for answer in (
        register(client, email, key, password=OTHER),
        (log_in(client, email, key), log_in(client, email, key, delivery="split"))[1],
    ):
        assert [field["name"] for field in expect_problem(answer, 422, "invalid_request")["fields"]] == ["Idempotency-Key"]
    expect_problem(log_in(client, email, key, password=OTHER), 401, "invalid_credentials")
    person = sign_in(client, email)
    assert change_password(client, person, key).status_code == 200
    expect_problem(change_password(client, person, key, new="a third sentence of hers"), 422, "invalid_request")
    expect_problem(change_password(client, person, key, current=OTHER), 422, "invalid_request")


def test_a_key_belongs_to_one_person(client: httpx.Client) -> None:
    """Two people with the same key do not meet: neither gets the other's session, or is refused."""
    key = a_key()
    ada, eve = sign_up(client), sign_up(client)
    assert log_in(client, ada, key).json()["sessionId"] != log_in(client, eve, key).json()["sessionId"]
    assert change_password(client, sign_in(client, ada), key).status_code == 200
    thief = sign_in(client, eve)
    expect_problem(change_password(client, thief, key, current=OTHER, new=PASSWORD), 401, "invalid_credentials")


@pytest.mark.parametrize("key", ["", "short", "x" * 129, "with spaces in between", '"' + "x" * 20, "ö" * 20, 'x"' * 10])
def test_a_key_that_could_be_guessed_or_is_malformed_is_refused(client: httpx.Client, key: str) -> None:
    """Such a key is 400 before anything is done, with words that name the header."""
    email = new_email()
    answer = client.post(
        "/register", json={"email": email, "password": PASSWORD}, headers=[(b"idempotency-key", key.encode("latin-1"))]
    )
    assert "Idempotency-Key" in expect_problem(answer, 400, "invalid_request")["detail"]
    twice = [("idempotency-key", a_key()), ("idempotency-key", a_key())]
    expect_problem(client.post("/register", json={"email": email, "password": PASSWORD}, headers=twice), 400, "invalid_request")
    assert sign_up(client, email)


def test_a_key_may_stand_in_quotes(client: httpx.Client) -> None:
    """A string of structured fields (RFC 9651) and its bare content are the same key."""
    email, key = new_email(), a_key()
    assert register(client, email, key).json() == register(client, email, f'"{key}"').json()


def test_an_ended_session_does_not_come_back(client: httpx.Client) -> None:
    """After its session has ended, a sign-in is a new one, and a password change is told that it was signed out."""
    email, key = sign_up(client), a_key()
    first = log_in(client, email, key).json()
    assert client.post("/logout", json={"refreshToken": first["refreshToken"]}).status_code == 204
    assert log_in(client, email, key).json()["sessionId"] != first["sessionId"]
    person = sign_in(client, email)
    new = person.after(change_password(client, person, key))
    assert client.post("/logout-everywhere", headers=new.bearer).status_code == 204
    expect_ended(change_password(client, person, key), "password_changed")


def test_a_wrong_password_with_a_key_is_counted_and_leaves_nothing(client: httpx.Client, server: Server) -> None:
    """Refusals are not kept: the same key with the right password signs in."""
    email, key = sign_up(client), a_key()
    before = receipts(server)
    expect_problem(log_in(client, email, key, password=OTHER), 401, "invalid_credentials")
    assert receipts(server) <= before
    assert log_in(client, email, key).status_code == 200


def test_no_receipt_tells_what_was_sent(client: httpx.Client, server: Server) -> None:
    """The rows hold neither key nor address nor password, nor a plain hash of one, nor a token."""
    email, key = new_email(), a_key()
    account = register(client, email, key).json()["user"]["id"]
    sid = log_in(client, email, key).json()["sessionId"]
    with closing(sqlite3.connect(server.folder / "handstamp.db")) as database:
        rows = database.execute("SELECT key, request, result FROM receipt WHERE result IN (?, ?)", (account, sid)).fetchall()
    assert {result for *_, result in rows} == {account, sid}
    assert all(re.fullmatch("[A-Za-z0-9_-]{22}", value) for row in rows for value in row)


def test_ending_sessions_twice_is_no_error(client: httpx.Client) -> None:
    """Sign-outs need no key: the same request again is 204 again, also with the token of the session that it has ended."""
    email = sign_up(client)
    one, two, three = (sign_in(client, email) for _ in range(3))
    for target in (two, two, one, one):
        assert client.delete(f"/sessions/{target.sid}", headers=one.bearer).status_code == 204
    expect_ended(client.delete(f"/sessions/{three.sid}", headers=one.bearer), "logout")
    for _ in range(2):
        assert client.post("/logout-everywhere", headers=three.bearer).status_code == 204
    assert profile(client, later := sign_in(client, email)).status_code == 200
    assert client.post("/logout-everywhere", headers=three.bearer).status_code == 204
    assert profile(client, later).status_code == 200  # a token of an ended session ends no other
    expect_ended(client.post("/logout-everywhere", headers=one.bearer), "logout")


def test_the_document_names_the_header(client: httpx.Client) -> None:
    """OpenAPI shows the header at the operations that take it."""
    paths = client.get("/openapi.json").json()["paths"]
    named = {
        path
        for path, operations in paths.items()
        for operation in operations.values()
        if any(each["in"] == "header" and each["name"] == "Idempotency-Key" for each in operation.get("parameters", []))
    }
    signing_in = {"/login", "/login/code/confirm", "/login/passkey", "/login/second-factor", "/register", "/register/confirm"}
    of_operators = {path for path, operations in paths.items() if path.startswith("/admin/") and "post" in operations}
    of_operators.remove("/admin/accounts/{id}/impersonation-link")  # begins nothing
    assert named == signing_in | of_operators | {"/password", "/passkeys", "/recovery-codes", "/totp/confirm"}


# --- lost answers


def test_an_answer_that_is_cut_on_the_socket_is_had_again(client: httpx.Client, server: Server) -> None:
    """The client sends its request and closes the connection without reading. It asks again, and has the one session."""
    email, key = sign_up(client), a_key()
    body = f'{{"email": "{email}", "password": "{PASSWORD}"}}'.encode()
    fields = f"Host: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(f"POST /login HTTP/1.1\r\n{fields}".encode() + body)
        assert connection.recv(1)
    mine = log_in_default(client, email, key)
    other = sign_in(client, email)
    listed = client.get("/sessions", headers=other.bearer).json()["sessions"]
    assert {entry["id"] for entry in listed} == {mine, other.sid}


def log_in_default(client: httpx.Client, email: str, key: str) -> str:
    """Sign in without naming a delivery; return the session's id."""
    answer = client.post("/login", json={"email": email, "password": PASSWORD}, headers={"idempotency-key": key})
    assert answer.status_code == 200, answer.text
    sid: str = answer.json()["sessionId"]
    return sid


@pytest.mark.slow
def test_a_kill_between_commit_and_answer_loses_nothing(serve: Callable[..., Server]) -> None:
    """The service is killed as soon as the change is on the disk. After the restart the same request gets the same result."""
    server = serve()
    email = new_email()
    with server.client() as client:
        sign_up(client, email)
        person = sign_in(client, email)
    current, new = PASSWORD, OTHER
    for _ in range(3):
        key, before = a_key(), receipts(server)
        with ThreadPoolExecutor(1) as pool, server.client() as client:
            asked = pool.submit(change_password, client, person, key, new, current)
            while receipts(server) <= before:
                assert not asked.done() or asked.exception() is not None or asked.result().status_code == 200
            server.kill(signal.SIGKILL)
        server.start()
        with server.client() as client:
            person = person.after(change_password(client, person, key, new, current))
            assert profile(client, person).status_code == 200
        current, new = new, current


def receipts(server: Server) -> set[str]:
    """Return the keys of the receipts in the database file."""
    with closing(sqlite3.connect(server.folder / "handstamp.db", timeout=60)) as database:
        return {key for (key,) in database.execute("SELECT key FROM receipt")}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_two_nodes_that_get_a_request_at_once_carry_it_out_once(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """Six copies of a registration, a sign-in and a password change arrive at two nodes. All get the same answer."""
    if kind == "sqlite":
        await _send_copies(tmp_path, f"sqlite:///{tmp_path}/shared.db")
    else:
        async with fresh_database(request.getfixturevalue("postgres_server")) as url:
            await _send_copies(tmp_path, url)


async def _send_copies(folder: Path, database: str) -> None:
    async with nodes_in(folder, database, ahead_s=(0.0, 0.0)) as nodes:
        clients = [node.client() for node in nodes]
        copies = [clients[number % 2] for number in range(_AGAIN)]

        def at_once(send: Callable[[httpx.Client], httpx.Response]) -> list[httpx.Response]:
            with ThreadPoolExecutor(_AGAIN) as pool:
                answers = list(pool.map(send, copies))
            assert {answer.status_code for answer in answers} <= {200, 201}, [answer.text for answer in answers]
            return answers

        email, key = new_email(), a_key()
        registered = at_once(partial(register, email=email, key=key))
        assert len({answer.text for answer in registered}) == 1
        signed_in = at_once(
            lambda client: client.post("/login", json={"email": email, "password": PASSWORD}, headers={"idempotency-key": key})
        )
        assert len({answer.json()["refreshToken"] for answer in signed_in}) == 1
        person = sign_in(clients[0], email)
        changed = at_once(partial(change_password, person=person, key=key))
        assert len({answer.json()["refreshToken"] for answer in changed}) == 1
        living = clients[1].get("/sessions", headers=person.after(changed[0]).bearer).json()["sessions"]
        assert len(living) == 1
        for client in clients:
            client.close()


@pytest.mark.anyio
async def test_a_commit_of_which_the_service_hears_nothing_is_made_once(tmp_path: Path, postgres_server: str) -> None:
    """The connection to PostgreSQL breaks at COMMIT, before or after it: 503. The same request then has one result."""
    random.seed(16)
    clock = Clock()
    async with fresh_database(postgres_server) as url, CuttingProxy(url) as proxy:
        async with deployed(tmp_path, clock, database=proxy.url, secret="0123456789abcdef" * 4) as running:
            for number in range(6):
                email, key = f"ada{number}@example.com", a_key()
                create = partial(running.create_account, email, PASSWORD, caller(clock), request=repeatable(key))
                request = Repeatable("login", key, ())
                begin = partial(running.sign_in, email, PASSWORD, delivery="json", caller=caller(clock), request=request)
                account = await _repeat_after_cut(proxy, create)
                pair = await _repeat_after_cut(proxy, begin)
                (session,) = (await running.sessions.list_page(account.id, caller(clock))).sessions
                assert session.id == pair.session_id
        assert min(proxy.cuts.values()) > 0


async def _repeat_after_cut(proxy: CuttingProxy, send: Callable[[], Awaitable[T]]) -> T:
    proxy.chance = 1.0
    with pytest.raises(Unavailable):
        await send()
    proxy.chance = 0.0
    return await send()


# --- the window


def repeatable(key: str, *content: str) -> Repeatable:
    """Return a request of the tests below."""
    return Repeatable("register", key, content)


@pytest.mark.anyio
async def test_a_receipt_is_good_for_a_minute(tmp_path: Path) -> None:
    """One millisecond later the request counts as a new one, and housekeeping deletes the row."""
    clock, request = Clock(), repeatable(a_key(), PASSWORD)
    async with deployed(tmp_path, clock) as running:
        first = await running.create_account("ada@example.com", PASSWORD, caller(clock), request=request)
        clock.advance(ms=LIFETIME_MS)
        assert await running.create_account("ada@example.com", PASSWORD, caller(clock), request=request) == first
        with pytest.raises(InvalidFields):
            await running.create_account("ada@example.com", OTHER, caller(clock), request=repeatable(request.key, OTHER))
        clock.advance(ms=1)
        with pytest.raises(AccountExists):
            await running.create_account("ada@example.com", PASSWORD, caller(clock), request=request)
        assert await running.housekeeping.run_once() == 1


@pytest.mark.anyio
async def test_without_grace_there_are_no_repeats(tmp_path: Path) -> None:
    """`GRACE=0` is strict here too: keys have no effect, and no row is written."""
    clock, request = Clock(), repeatable(a_key(), PASSWORD)
    async with deployed(tmp_path, clock, grace=0) as running:
        await running.create_account("ada@example.com", PASSWORD, caller(clock), request=request)
        with pytest.raises(AccountExists):
            await running.create_account("ada@example.com", PASSWORD, caller(clock), request=request)
    with closing(sqlite3.connect(tmp_path / "handstamp.db")) as database:
        assert database.execute("SELECT count(*) FROM receipt").fetchone() == (0,)
