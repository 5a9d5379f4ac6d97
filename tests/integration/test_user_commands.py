"""Tests of the commands that change accounts beside the running service, and of `migrate` before the first start."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pyotp

from tests.commands import output_of, refusal_of, run_command
from tests.integration.helpers import (
    SignedIn,
    client_of,
    expect_ended,
    expect_problem,
    new_email,
    profile,
    read_claims,
    refresh,
    run_server,
    sign_in,
    sign_in_new_user,
    sign_up,
)
from tests.serving import PASSWORD, Server


def list_events(server: Server, subject: str) -> list[tuple[str, dict[str, object]]]:
    """Return the kinds and details of the events about a subject."""
    with closing(sqlite3.connect(server.folder / "handstamp.db")) as database:
        rows = database.execute("SELECT kind, detail FROM event WHERE subject = ? ORDER BY id", (subject,)).fetchall()
    return [(kind, json.loads(detail)) for kind, detail in rows]


def find_actor(server: Server, kind: str, subject: str) -> str:
    """Return who has done what an event of a subject records."""
    with closing(sqlite3.connect(server.folder / "handstamp.db")) as database:
        (actor,) = database.execute("SELECT actor FROM event WHERE kind = ? AND subject = ?", (kind, subject)).fetchone()
    return str(actor)


def subject_of(signed_in: SignedIn) -> str:
    """Return whose session it is."""
    return str(read_claims(signed_in.access)["sub"])


def test_a_role_is_granted_and_revoked_with_the_next_refresh(server: Server, client: httpx.Client) -> None:
    """Nobody is signed out, and both commands leave an event."""
    ada = sign_in_new_user(client)
    assert "admin" in output_of(run_command(server.folder, "users", "grant", ada.email, "admin"))
    assert "roles" not in read_claims(ada.access)
    ada = ada.after(refresh(client, ada))
    assert read_claims(ada.access)["roles"] == ["admin"]
    assert "admin, editor" in output_of(run_command(server.folder, "users", "grant", ada.email, "editor"))
    output_of(run_command(server.folder, "users", "grant", ada.email, "editor"))
    output_of(run_command(server.folder, "users", "revoke", ada.email.upper(), "admin"))
    ada = ada.after(refresh(client, ada))
    assert read_claims(ada.access)["roles"] == ["editor"]
    kinds = [event for event in list_events(server, subject_of(ada)) if event[0].startswith("role_")]
    assert kinds == [
        ("role_granted", {"role": "admin"}),
        ("role_granted", {"role": "editor"}),
        ("role_revoked", {"role": "admin"}),
    ]
    assert "its roles are editor" in refusal_of(run_command(server.folder, "users", "revoke", ada.email, "admim"), 1)
    assert "roles" in refusal_of(run_command(server.folder, "users", "grant", ada.email, ""), 1)


def test_an_account_is_renamed_and_its_sessions_go_on(server: Server, client: httpx.Client) -> None:
    """The new address signs in, the old one does not, and another person's address is refused."""
    ada, bob, new = sign_in_new_user(client), sign_up(client), new_email("lovelace")
    assert "already" in refusal_of(run_command(server.folder, "users", "rename", ada.email, bob), 1)
    assert "email" in refusal_of(run_command(server.folder, "users", "rename", ada.email, "nonsense"), 1)
    output_of(run_command(server.folder, "users", "rename", ada.email, f" {new.upper()} "))
    assert profile(client, ada).json()["email"] == new
    assert refresh(client, ada).status_code == 200
    assert subject_of(sign_in(client, new)) == subject_of(ada)
    expect_problem(client.post("/login", json={"email": ada.email, "password": PASSWORD}), 401, "invalid_credentials")
    renamed = [event for event in list_events(server, subject_of(ada)) if event[0] == "account_renamed"]
    assert renamed == [("account_renamed", {})], "no address is written into the audit trail"


def test_a_deleted_account_leaves_nothing_but_its_id_in_the_audit_trail(server: Server, client: httpx.Client) -> None:
    """Its sessions end everywhere at once, no row has its address or devices, and the address can be used again."""
    ada = sign_in_new_user(client)
    second = sign_in(client, ada.email)
    client.post("/logout", headers=second.bearer)
    assert "--yes" in refusal_of(run_command(server.folder, "users", "delete", ada.email), 2)
    assert profile(client, ada).status_code == 200
    assert ada.email in output_of(run_command(server.folder, "users", "delete", ada.email, "--yes"))
    expect_problem(profile(client, ada), 401, "session_ended")
    expect_problem(refresh(client, ada), 401, "session_ended")
    expect_problem(client.post("/login", json={"email": ada.email, "password": PASSWORD}), 401, "invalid_credentials")
    with closing(sqlite3.connect(server.folder / "handstamp.db")) as database:
        revoked = {name for (name,) in database.execute("SELECT name FROM revocation")}
        dump = "\n".join(database.iterdump())
    assert {ada.sid, second.sid} <= revoked
    assert ada.email not in dump
    assert list_events(server, subject_of(ada))[-1] == ("account_deleted", {})
    assert find_actor(server, "account_deleted", subject_of(ada)) == "operator"
    sign_up(client, ada.email)
    assert subject_of(sign_in(client, ada.email)) != subject_of(ada), "an id is never given twice"


def test_all_sessions_of_a_person_are_ended_by_command(server: Server, client: httpx.Client) -> None:
    """With the operator's reason. The person can sign in again, and nobody else is affected."""
    ada, bob = sign_in_new_user(client), sign_in_new_user(client)
    second = sign_in(client, ada.email)
    assert ": 2." in output_of(run_command(server.folder, "sessions", "end", "--all", ada.email))
    for each in (ada, second):
        expect_ended(profile(client, each), "admin")
        expect_ended(refresh(client, each), "admin")
    assert profile(client, bob).status_code == 200
    assert profile(client, sign_in(client, ada.email)).status_code == 200
    assert "handstamp sessions list" in refusal_of(run_command(server.folder, "sessions", "end", ada.email), 1)


def test_listing_more_users_than_a_page_ends_with_the_last(tmp_path: Path) -> None:
    """A list of users has no limit."""
    output_of(run_command(tmp_path, "migrate"))
    with closing(sqlite3.connect(tmp_path / "handstamp.db")) as database, database:
        database.executemany(
            "INSERT INTO account (id, email, email_verified, name, language, password_hash, roles, epoch, created_at_ms) "
            "VALUES (?, ?, 0, '', '', 'x', '[]', 0, 0)",
            [(f"id-{number}", f"person-{number:05}@example.com") for number in range(2345)],
        )
    listed = json.loads(output_of(run_command(tmp_path, "users", "list", "--json")))
    assert [person["email"] for person in listed] == [f"person-{number:05}@example.com" for number in range(2345)]
    assert len(output_of(run_command(tmp_path, "users", "list")).splitlines()) == 2346


def test_a_database_that_was_migrated_first_can_be_served(tmp_path: Path) -> None:
    """`migrate` makes the secret that `serve` needs beside a database, and a second run changes neither."""
    assert "handstamp.db" in output_of(run_command(tmp_path, "migrate"))
    secret = (tmp_path / "handstamp.secret").read_bytes()
    output_of(run_command(tmp_path, "migrate"))
    assert (tmp_path / "handstamp.secret").read_bytes() == secret
    with run_server(tmp_path) as server, client_of(server) as client:
        assert profile(client, sign_in_new_user(client)).status_code == 200
    (tmp_path / "handstamp.secret").unlink()
    assert "handstamp.secret is missing" in refusal_of(run_command(tmp_path, "migrate"), 2)


def test_a_migration_with_the_secret_in_the_environment_makes_no_file(tmp_path: Path) -> None:
    """As in a container."""
    output_of(run_command(tmp_path, "migrate", SECRET="a secret of the test, thirty-two bytes"))
    assert not (tmp_path / "handstamp.secret").exists()


def test_second_factors_are_shown_and_reset(server: Server, client: httpx.Client) -> None:
    """For a person who has lost them: audited, and with the password alone they sign in afterwards."""
    ada = sign_in_new_user(client)
    headers = {"authorization": f"Bearer {ada.access}"}
    assert "authenticator app   no" in output_of(run_command(server.folder, "users", "factors", ada.email))
    assert "has no second factor" in refusal_of(
        run_command(server.folder, "users", "reset-factors", ada.email, "--yes"), status=1
    )
    begun = client.post("/totp", headers=headers).json()
    code = pyotp.TOTP(begun["secret"].replace(" ", "")).now()
    added = client.post("/totp/confirm", json={"enrolment": begun["enrolment"], "code": code}, headers=headers)
    assert added.status_code == 200, added.text
    shown = json.loads(output_of(run_command(server.folder, "users", "factors", ada.email, "--json")))
    assert (shown["wrongCodes"], shown["locked"]) == (0, False)
    assert (shown["hasTotp"], shown["recoveryCodes"], shown["passkeys"]) == (True, 10, [])
    assert client.post("/login", json={"email": ada.email, "password": PASSWORD}).json().keys() >= {"challenge"}
    assert "--yes" in refusal_of(run_command(server.folder, "users", "reset-factors", ada.email), status=2)
    assert ada.email in output_of(run_command(server.folder, "users", "reset-factors", ada.email, "--yes"))
    assert list_events(server, subject_of(ada))[-1] == ("factors_reset", {"because": "operator"})
    assert find_actor(server, "factors_reset", subject_of(ada)) == "operator"
    sign_in(client, ada.email)
