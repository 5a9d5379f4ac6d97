"""Tests of the `handstamp` command as an operator uses it: beside a running service, on a terminal and in scripts."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import selectors
import shlex
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from handstamp.cli import app
from tests.commands import command, environment_with, output_of, refusal_of, run_command
from tests.integration.helpers import expect_ended, new_email, profile, refresh, run_server, sign_in, sign_in_new_user, sign_up
from tests.serving import PASSWORD, Server

COMMANDS = (
    "demo",
    "doctor",
    "serve",
    "users create",
    "users list",
    "users disable",
    "users enable",
    "users unlock",
    "users set-password",
    "users grant",
    "users revoke",
    "users rename",
    "users delete",
    "users factors",
    "users reset-mail",
    "users reset-factors",
    "users import",
    "users export",
    "sessions list",
    "why",
    "statistics",
    "audit export",
    "audit webhook",
    "sessions end",
    "keys list",
    "keys timetable",
    "keys rotate",
    "backup",
    "restore",
    "migrate",
    "keys retire",
    "keys reseal",
    "credentials create",
    "credentials list",
    "credentials remove",
    "token inspect",
    "mail queue",
    "mail test",
)
NEW_PASSWORD = "another one that ada thought of"
STEERING = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\b\x7f"
"""Control sequences that clear the screen, set the title, turn the text red and move the cursor back."""
MARKUP = r"[bold red]x[/bold red] [/nothing] \[/x] :smile: [link=https://evil.example]"
_TERMINAL_PATIENCE_S = 120.0


def list_leaf_commands(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command below a group with the full name that the operator types."""
    for name in group.list_commands(None):
        found = group.get_command(None, name)
        if hasattr(found, "list_commands"):
            yield from list_leaf_commands(found, *path, name)
        else:
            yield " ".join((*path, name)), found


def all_commands() -> dict[str, Any]:
    """Return all commands by name."""
    return dict(list_leaf_commands(typer.main.get_command(app)))


def is_printable(text: str) -> bool:
    """Return True if a text contains no character that could control a terminal."""
    return all(character.isprintable() or character == "\n" for character in text)


def status_and_output(result: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """Return a command's exit status and its output, standard output first."""
    return result.returncode, result.stdout + result.stderr


def run_on_terminal(folder: Path, *arguments: str, typed: Sequence[tuple[str, str]] = (), **settings: str) -> tuple[int, str]:
    """Run a command on a pseudo-terminal; return its exit status and the screen.

    After each prompt in `typed`, the text that belongs to the prompt is typed.
    """
    spawn = "sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    opener = f"import os, pty, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); {spawn}"
    with subprocess.Popen(
        [sys.executable, "-c", opener, *command(*arguments)],
        cwd=folder,
        env=environment_with(settings) | {"TERM": "xterm-256color", "COLUMNS": "200"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        screen, seen, waiting = b"", 0, list(typed)
        deadline = time.monotonic() + _TERMINAL_PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while selector.select(timeout=max(0.0, deadline - time.monotonic())):
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                screen += chunk
                while waiting and (at := screen.find(waiting[0][0].encode(), seen)) >= 0:
                    seen = at + len(waiting[0][0])
                    process.stdin.write(waiting.pop(0)[1].encode())
                    process.stdin.flush()
        text = screen.decode()
        if process.poll() is None and time.monotonic() >= deadline:
            process.kill()
            raise AssertionError(f"still waiting for {waiting}; the screen shows:\n{text}")
        return process.wait(timeout=10), text


def make_unsigned_token(claims: Mapping[str, object], header: Mapping[str, object] | None = None) -> str:
    """Return a token whose signature is not valid."""
    parts = (header or {"alg": "ES256", "typ": "at+jwt", "kid": "stranger"}, claims)
    segments = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join((*segments, "AAAA"))


# --- help and use


def test_the_list_of_commands_is_complete() -> None:
    """The commands are those that the documentation lists. Add a new command to `COMMANDS`, so that these tests cover it."""
    assert sorted(all_commands()) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str, server: Server) -> None:
    """`--help` describes the command and shows one example call that can be typed unchanged."""
    status, help_text = status_and_output(run_command(server.folder, *name.split(), "--help"))
    assert status == 0
    example = re.search(r"Example:\s+handstamp (.+)", help_text)
    assert example is not None, help_text
    words = shlex.split(example[1].split("<")[0])
    assert words[: len(name.split())] == name.split()
    all_commands()[name].make_context(name, words[len(name.split()) :])


def test_help_names_what_to_start_with(tmp_path: Path) -> None:
    """`handstamp --help` names every command and shows which one to run first."""
    text = output_of(run_command(tmp_path, "--help"))
    assert re.search("handstamp demo.*handstamp serve", text)
    for name in COMMANDS:
        assert name.split()[0] in text


def test_the_former_name_of_credentials_works_and_is_not_listed(server: Server) -> None:
    """`handstamp clients` is an alias of `handstamp credentials`. The help shows only `credentials`."""
    arguments = ("list", "--json")
    assert status_and_output(run_command(server.folder, "clients", *arguments)) == status_and_output(
        run_command(server.folder, "credentials", *arguments)
    )
    assert "clients" not in output_of(run_command(server.folder, "--help"))


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("users",),
        ("nonsense",),
        ("users", "nonsense"),
        ("users", "list", "--nonsense"),
        ("users", "list", "too", "many"),
        ("users", "create"),
        ("sessions", "end"),
        ("sessions", "list", "--limit", "0"),
        ("keys", "retire"),
        ("keys", "retire", "anykey", "--nwo"),
        ("credentials",),
        ("credentials", "create"),
        ("credentials", "remove"),
        ("credentials", "list", "too", "many"),
        ("token", "inspect"),
        ("serve", "--port", "99999"),
        ("serve", "--port", "http"),
        ("serve", "--workers", "0"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_two(arguments: tuple[str, ...], server: Server) -> None:
    """A call that cannot be parsed exits with status 2 and prints the usage."""
    status, text = status_and_output(run_command(server.folder, *arguments))
    assert status == 2
    assert "Usage: handstamp" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("arguments", "helps"),
    [
        (("users", "disable", "nobody@example.com"), "nobody@example.com"),
        (("users", "enable", "nobody@example.com"), "nobody@example.com"),
        (("users", "unlock", "nobody@example.com"), "nobody@example.com"),
        (("users", "grant", "nobody@example.com", "admin"), "nobody@example.com"),
        (("users", "revoke", "nobody@example.com", "admin"), "nobody@example.com"),
        (("users", "rename", "nobody@example.com", "ada@example.com"), "nobody@example.com"),
        (("users", "delete", "nobody@example.com", "--yes"), "nobody@example.com"),
        (("sessions", "end", "--all", "nobody@example.com"), "nobody@example.com"),
        (("users", "disable", "no address"), "no account with this id"),
        (("sessions", "list", "nobody@example.com"), "nobody@example.com"),
        (("sessions", "end", "nosuchsession"), "handstamp sessions list"),
        (("keys", "retire", "nosuchkey"), "handstamp keys list"),
        (("keys", "retire", "nosuchkey", "--now"), "handstamp keys list"),
        (("credentials", "remove", "nosuchclient"), "handstamp credentials list"),
        (("sessions", "end", "-nosuchsession"), "handstamp sessions list"),
        (("keys", "retire", "-nosuchkey", "--now"), "handstamp keys list"),
        (("credentials", "remove", "--nosuchclient"), "handstamp credentials list"),
        (("token", "inspect", "no.to.ken"), "not a token"),
    ],
    ids=str,
)
def test_a_failure_exits_with_one(arguments: tuple[str, ...], helps: str, server: Server) -> None:
    """A valid call that fails exits with status 1 and a sentence that says why.

    An id that begins with a dash, as one in 64 does, is not parsed as an option.
    """
    status, text = status_and_output(run_command(server.folder, *arguments))
    assert (status, helps in text) == (1, True), text
    assert "Traceback" not in text


# --- without a database, or with wrong settings


@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "list"),
        ("users", "disable", "ada@example.com"),
        ("users", "enable", "ada@example.com"),
        ("users", "unlock", "ada@example.com"),
        ("users", "grant", "ada@example.com", "admin"),
        ("users", "delete", "ada@example.com", "--yes"),
        ("sessions", "list"),
        ("sessions", "end", "x"),
        ("sessions", "end", "--all", "ada@example.com"),
        ("keys", "list"),
        ("keys", "rotate"),
        ("keys", "retire", "x"),
        ("credentials", "list"),
        ("credentials", "remove", "x"),
        ("token", "inspect", "x.y.z"),
    ],
    ids=" ".join,
)
def test_a_missing_database_is_explained(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """A command in the wrong folder names the file it looked for and the next step. It creates no file."""
    text = refusal_of(run_command(tmp_path, *arguments), 2)
    for words in ("handstamp.db", "handstamp serve", "--database"):
        assert words in text
    assert list(tmp_path.iterdir()) == []


def test_an_account_may_be_created_before_the_first_start(tmp_path: Path) -> None:
    """`users create` creates the database and the secret as `serve` would. A service started later has that account."""
    done = run_command(tmp_path, "users", "create", "ada@example.com", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert done.returncode == 0
    assert f"creating {tmp_path}/handstamp.db" in done.stderr
    assert {file.name for file in tmp_path.iterdir()} >= {"handstamp.db", "handstamp.secret"}
    with run_server(tmp_path) as server, server.client() as client:
        assert profile(client, sign_in(client, "ada@example.com")).json()["email"] == "ada@example.com"


def test_wrong_settings_stop_every_command(server: Server) -> None:
    """Each invalid setting is reported on its own line, and the command does nothing."""
    text = refusal_of(run_command(server.folder, "users", "list", ALGORITHM="none", GRACE="soon"), 2)
    assert [line.split(":")[1].strip() for line in text.splitlines()] == ["HANDSTAMP_ALGORITHM", "HANDSTAMP_GRACE"]


def test_a_wrong_secret_is_explained(server: Server) -> None:
    """A command with a secret other than the service's fails. It must not create keys that the service cannot open."""
    text = refusal_of(run_command(server.folder, "keys", "list", SECRET="kJ8v_Zq3Wm1xT7yB4nR0pL6sD9fG2hCa"), 2)
    assert "HANDSTAMP_SECRET" in text
    assert len(json.loads(output_of(run_command(server.folder, "keys", "list", "--json")))) == 1


# --- people, beside the running service


def test_an_account_created_by_command_signs_in_at_once(server: Server, client: httpx.Client) -> None:
    """The running service accepts a new account without a restart. Its access token carries the account's roles."""
    email = new_email()
    arguments = ("users", "create", email, "--password-stdin", "--role", "admin", "--role", "editor")
    said = output_of(run_command(server.folder, *arguments, stdin=f"{PASSWORD}\n"))
    assert email in said
    assert PASSWORD not in said
    user = profile(client, sign_in(client, email)).json()
    assert user["id"] in said
    assert user["roles"] == ["admin", "editor"]


def test_an_address_has_only_one_account(server: Server, client: httpx.Client) -> None:
    """A second account for one address is refused, also in capitals, and the first account is unchanged."""
    email = sign_up(client)
    create = ("users", "create", email.upper(), "--password-stdin")
    assert "already" in refusal_of(run_command(server.folder, *create, stdin=f"{NEW_PASSWORD}\n"), 1)
    sign_in(client, email)


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        ("", "too short"),
        ("\n", "too short"),
        ("tiny\n", "15"),
        ("passwordpassword1\n", "attackers try"),
        ("x" * 300 + "\n", "256"),
    ],
    ids=["nothing", "an empty line", "tiny", "common", "long"],
)
def test_a_password_that_is_refused_says_why_and_makes_no_account(
    server: Server, client: httpx.Client, stdin: str, words: str
) -> None:
    """The operator's password must meet the same rules as every other. The message does not repeat it."""
    email = new_email()
    text = refusal_of(run_command(server.folder, "users", "create", email, "--password-stdin", stdin=stdin), 1)
    assert words in text
    assert not stdin.strip() or stdin.strip() not in text
    assert client.post("/login", json={"email": email, "password": PASSWORD}).status_code == 401


@pytest.mark.parametrize(
    ("stdin", "password"),
    [
        (f"{PASSWORD}\n", PASSWORD),
        (PASSWORD, PASSWORD),
        (f"{PASSWORD}\r\n", PASSWORD),
        (f"  {PASSWORD}  \n", f"  {PASSWORD}  "),
        ("je préfère l'été à Málaga 🏖\n", "je préfère l'été à Málaga 🏖"),
        (f"{PASSWORD}\nand a second line\n", PASSWORD),
    ],
    ids=["line", "no newline", "windows", "spaces", "unicode", "first line alone"],
)
def test_the_password_is_the_first_line_of_standard_input(
    server: Server, client: httpx.Client, stdin: str, password: str
) -> None:
    """The password is the first line of standard input without its line ending; no other character is stripped."""
    email = new_email()
    output_of(run_command(server.folder, "users", "create", email, "--password-stdin", stdin=stdin))
    sign_in(client, email, password=password)


def test_undecodable_bytes_are_refused_as_password(server: Server) -> None:
    """Standard input that is not UTF-8 is refused with a message."""
    stdin = b"\xff\xfe a sentence that is not UTF-8\n"
    assert "password" in refusal_of(
        run_command(server.folder, "users", "create", new_email(), "--password-stdin", stdin=stdin), 2
    )


def test_without_a_terminal_the_password_option_is_explained(server: Server) -> None:
    """Without a terminal the command names `--password-stdin` and exits; it does not wait at a prompt."""
    for arguments in (("users", "create", new_email()), ("users", "set-password", new_email())):
        assert "--password-stdin" in refusal_of(run_command(server.folder, *arguments), 2)


def test_disabling_takes_effect_at_the_next_request(server: Server, client: httpx.Client) -> None:
    """`users disable` ends all the account's sessions and blocks sign-in at once.

    `enable` restores the account, not its sessions.
    """
    ada, stranger = sign_in_new_user(client), sign_in_new_user(client)
    second = sign_in(client, ada.email, delivery="cookie")
    assert profile(client, ada).status_code == 200
    said = output_of(run_command(server.folder, "users", "disable", ada.email))
    assert f"handstamp users enable {ada.email}" in said
    for session in (ada, second):
        expect_ended(profile(client, session), "disabled")
        expect_ended(refresh(client, session), "disabled")
    assert client.post("/login", json={"email": ada.email, "password": PASSWORD}).json()["code"] == "invalid_credentials"
    assert profile(client, stranger).status_code == 200

    output_of(run_command(server.folder, "users", "enable", ada.email))
    expect_ended(refresh(client, ada), "disabled")
    assert profile(client, sign_in(client, ada.email)).status_code == 200


def test_a_password_set_by_an_operator_ends_every_session(server: Server, client: httpx.Client) -> None:
    """`users set-password` takes effect at once. Old sessions end, the old password is refused and the new one is accepted."""
    ada = sign_in_new_user(client)
    said = output_of(
        run_command(server.folder, "users", "set-password", ada.email, "--password-stdin", stdin=f"{NEW_PASSWORD}\n")
    )
    assert ada.email in said
    assert NEW_PASSWORD not in said
    expect_ended(profile(client, ada), "password_changed")
    expect_ended(refresh(client, ada), "password_changed")
    assert client.post("/login", json={"email": ada.email, "password": PASSWORD}).status_code == 401
    sign_in(client, ada.email, password=NEW_PASSWORD)


def test_listing_users(server: Server, client: httpx.Client) -> None:
    """The table has one line for each account, also when piped, and shows no password hash. `--json` gives the same data."""
    enabled, disabled = sign_up(client), sign_up(client)
    output_of(run_command(server.folder, "users", "disable", disabled))
    header, *rows = output_of(run_command(server.folder, "users", "list")).splitlines()
    assert header.split() == ["EMAIL", "ID", "ROLES", "CREATED", "STATE"]
    lines = {row.split()[0]: row for row in rows}
    assert lines[enabled].rstrip().endswith("enabled")
    assert " disabled 20" in lines[disabled]
    listed = {person["email"]: person for person in json.loads(output_of(run_command(server.folder, "users", "list", "--json")))}
    assert listed[enabled].keys() == {"id", "email", "roles", "createdAtMs", "disabledAtMs", "locked"}
    assert listed[enabled]["disabledAtMs"] is None
    assert abs(listed[disabled]["disabledAtMs"] - time.time() * 1000) < 120_000
    assert listed[enabled]["id"] in lines[enabled]
    assert "argon2" not in json.dumps(listed) + "".join(rows)


# --- sessions


def test_ending_a_session_takes_effect_at_the_next_request(server: Server, client: httpx.Client) -> None:
    """`sessions end` ends only the named session. The second call fails because the session has already ended."""
    ada = sign_in_new_user(client)
    other = sign_in(client, ada.email)
    said = output_of(run_command(server.folder, "sessions", "end", ada.sid))
    assert ada.sid in said
    expect_ended(profile(client, ada), "admin")
    expect_ended(refresh(client, ada), "admin")
    assert profile(client, other).status_code == 200
    assert "handstamp sessions list" in refusal_of(run_command(server.folder, "sessions", "end", ada.sid), 1)
    events = [json.loads(line) for line in output_of(run_command(server.folder, "audit", "export", "--since", "1h")).splitlines()]
    assert [(event["kind"], event["actor"]) for event in events if event["session"] == ada.sid][1:] == [
        ("session_ended", "operator")
    ]


def test_listing_sessions(server: Server, client: httpx.Client) -> None:
    """`sessions list` shows active sessions only, last seen first, of one account or of all.

    It shows the device's details and no token.
    """
    ada, other = sign_in_new_user(client), sign_in_new_user(client)
    second = sign_in(client, ada.email, delivery="split")
    over = sign_in(client, ada.email)
    client.post("/logout", headers=over.bearer)
    renewed = ada.after(refresh(client, ada))

    mine = json.loads(output_of(run_command(server.folder, "sessions", "list", ada.email, "--json")))
    assert [session["id"] for session in mine] == [ada.sid, second.sid]
    assert [(session["generation"], session["delivery"]) for session in mine] == [(1, "json"), (0, "split")]
    assert mine[0].keys() == {
        *(
            "id",
            "subject",
            "delivery",
            "boundBy",
            "generation",
            "createdAtMs",
            "seenAtMs",
            "expiresAtMs",
            "ip",
            "userAgent",
            "actor",
        ),
    }
    listed = run_command(server.folder, "sessions", "list", "--json").stdout  # the newest; other tests have sessions, too
    assert {ada.sid, other.sid} <= {session["id"] for session in json.loads(listed)}
    for token in (renewed.access, renewed.refresh):
        assert token.split(".")[2] not in listed

    header, *rows = output_of(run_command(server.folder, "sessions", "list", ada.email)).splitlines()
    assert header.split() == ["SESSION", "SUBJECT", "DELIVERY", "BOUND", "RENEWED", "SEEN", "ENDS", "IP", "USER", "AGENT"]
    assert [row.split()[0] for row in rows] == [ada.sid, second.sid]
    assert "in 29 days" in rows[0]
    assert "ago" in rows[0]
    cut = run_command(server.folder, "sessions", "list", "--json", "--limit", "1")
    assert (len(json.loads(cut.stdout)), "There are more" in cut.stderr) == (1, True)
    assert "There are more" not in run_command(server.folder, "sessions", "list", ada.email, "--limit", "2").stderr


def test_an_empty_list_says_so(server: Server, client: httpx.Client) -> None:
    """An empty list is printed as a sentence, and as an empty array with `--json`."""
    email = sign_up(client)
    assert output_of(run_command(server.folder, "sessions", "list", email)) == "No active sessions.\n"
    assert json.loads(output_of(run_command(server.folder, "sessions", "list", email, "--json"))) == []


# --- keys


def test_rotating_publishes_a_key_that_the_service_shows_after_a_restart(tmp_path: Path) -> None:
    """`keys rotate` ends no session. The new key is published before it signs, and existing tokens stay valid."""
    with run_server(tmp_path) as server, server.client() as client:
        ada = sign_in_new_user(client)
        before = {key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]}
        said = output_of(run_command(tmp_path, "keys", "rotate"))
        listed = json.loads(output_of(run_command(tmp_path, "keys", "list", "--json")))
        assert [key["state"] for key in listed] == ["active", "published"]
        old, new = listed
        assert old.keys() == {"kid", "algorithm", "state", "activeFromMs"}
        assert before == {old["kid"]}
        assert new["kid"] in said
        assert new["activeFromMs"] > time.time() * 1000 + 300_000
        assert "sealed" not in json.dumps(listed)
        header, *rows = output_of(run_command(tmp_path, "keys", "list")).splitlines()
        assert header.split() == ["KEY", "ALGORITHM", "STATE", "ACTIVE", "FROM"]
        assert [row.split()[:3] for row in rows] == [[old["kid"], "ES256", "active"], [new["kid"], "ES256", "published"]]
        assert profile(client, ada).status_code == 200

        server.kill()
        server.start()
        assert {key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]} == {old["kid"], new["kid"]}
        assert profile(client, ada).status_code == 200
        assert refresh(client, ada).status_code == 200


def test_the_timetable_says_what_is_late(tmp_path: Path) -> None:
    """It shows what was and what will be. Without a service that keeps it, the exit status is 1; the next start mends that."""
    with run_server(tmp_path) as server:
        before = json.loads(output_of(run_command(tmp_path, "keys", "timetable", "--json")))
        ((key,), late) = before["keys"], before["late"]
        assert late == []
        assert key["publishedMs"] == key["signsMs"] < before["nextPublishedMs"] < key["retiresMs"] < key["removedMs"]
        _, *rows = output_of(run_command(tmp_path, "keys", "timetable")).splitlines()
        assert [row.split("  ")[-1].strip() for row in rows] == [
            "is published",
            "signs",
            "is published",
            "retires: its successor signs",
            "is removed",
        ]
        server.kill()
        with contextlib.closing(sqlite3.connect(tmp_path / "handstamp.db")) as database, database:
            database.execute("UPDATE signing_key SET active_from_ms = active_from_ms - 100 * 86400000")
        ran = run_command(tmp_path, "keys", "timetable")
        assert (ran.returncode, "should have been published 10 days ago" in ran.stderr) == (1, True), ran
        server.start()
        after = json.loads(output_of(run_command(tmp_path, "keys", "timetable", "--json")))
        assert (after["late"], len(after["keys"])) == ([], 2)


# --- tokens


def inspect_token(server: Server, token: str, status: int) -> str:
    """Return the output of `token inspect`. The token is passed on standard input, so that it appears in no process list."""
    result = run_command(server.folder, "token", "inspect", "-", stdin=f"{token}\n", ISSUER=server.url)
    assert (result.returncode, result.stderr) == (status, ""), result
    return result.stdout


def test_inspecting_valid_tokens(server: Server, client: httpx.Client) -> None:
    """`token inspect` prints header, claims, times and verdict for both kinds of token.

    It exits with status 0 if the token is valid.
    """
    ada = sign_in_new_user(client)
    access = inspect_token(server, ada.access, 0)
    for words in ("ES256", "at+jwt", ada.sid, server.url, "UTC, in 14 minutes", "It is valid here."):
        assert words in access
    renewal = inspect_token(server, ada.refresh, 0)
    for words in ("HS256", "rt+jwt", ada.sid, "UTC, in 13 days", "gen        0", "It is valid here."):
        assert words in renewal
    assert "It is valid here." in inspect_token(server, f"  {ada.access}  ", 0)


def test_inspecting_invalid_tokens_says_why(server: Server, client: httpx.Client) -> None:
    """Superseded, revoked, altered and foreign tokens each have their own reason. The command exits with status 1."""
    ada = sign_in_new_user(client)
    renewed = ada.after(refresh(client, ada))
    assert "generation 0 of a session that is at generation 1" in inspect_token(server, ada.refresh, 1)
    output_of(run_command(server.folder, "sessions", "end", ada.sid))
    for token in (renewed.access, renewed.refresh):
        assert re.search(r"It is not valid here: .*ended \(admin\)", inspect_token(server, token, 1))
    head, claims, signature = renewed.access.split(".")
    assert "signature" in inspect_token(server, f"{head}.{claims}.{signature[:-6]}AAAAAA", 1)
    assert "not a token" in inspect_token(server, "neither this nor that", 1)
    assert "kid" in inspect_token(server, make_unsigned_token({"sub": "ada", "exp": 2_000_000_000}), 1)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 2**40},
        {"exp": 2**62, "iat": -(2**62)},
        {"exp": 10**30},
        {"exp": "tomorrow", "iat": None, "nbf": [1], "auth_time": True},
        {"sub": "x" * 4000},
        {STEERING: STEERING, MARKUP: MARKUP, "line\nbreak": "line\nbreak"},
        {},
    ],
    ids=["far", "farther", "farthest", "no times", "long", "steering", "empty"],
)
def test_inspecting_a_foreign_token_shows_it_and_sends_nothing(claims: dict[str, object], server: Server) -> None:
    """An untrusted token's claims are shown as plain text, followed by the verdict."""
    status, text = status_and_output(run_command(server.folder, "token", "inspect", make_unsigned_token(claims)))
    assert status == 1
    assert "It is not valid here: " in text
    assert is_printable(text)
    assert MARKUP not in claims or MARKUP in text
    assert "owned" not in text or "?]0;owned" in text


# --- hostile values


HOSTILE = pytest.mark.parametrize("value", [STEERING, MARKUP, "x" * 10_000], ids=["steering", "markup", "long"])


@HOSTILE
@pytest.mark.parametrize(
    "arguments",
    [
        ("{}",),
        ("users", "list", "--{}"),
        ("users", "list", "{}"),
        ("users", "list", "--database", "sqlite:///{}.db"),
        ("users", "list", "--database", "{}"),
        ("users", "create", "{}@example.com", "--password-stdin"),
        ("users", "disable", "{}"),
        ("users", "enable", "{}@example.com"),
        ("sessions", "list", "{}@example.com"),
        ("sessions", "end", "{}"),
        ("keys", "retire", "{}"),
        ("credentials", "create", "{}"),
        ("credentials", "remove", "{}"),
        ("token", "inspect", "{}"),
        ("serve", "--host", "{}", "--port", "0"),
        ("serve", "--issuer", "{}", "--port", "0"),
        ("serve", "--port", "{}"),
        ("serve", "--tls-cert", "{}", "--tls-key", "{}"),
    ],
    ids=" ".join,
)
def test_arguments_cannot_inject_control_characters(arguments: tuple[str, ...], value: str, server: Server) -> None:
    """A hostile argument is refused with a message. It sends no control sequence to the terminal and causes no traceback."""
    status, text = status_and_output(run_command(server.folder, *(argument.format(value) for argument in arguments)))
    assert status in (1, 2)
    assert "Traceback" not in text
    assert is_printable(text), repr(text)


@pytest.mark.parametrize(
    "arguments", [("sessions", "end", MARKUP), ("sessions", "list", "--database", f"sqlite:///{MARKUP}.db")], ids=["id", "file"]
)
def test_markup_is_printed_literally(arguments: tuple[str, ...], server: Server) -> None:
    """Markup and emoji names in an argument are printed exactly as they were typed."""
    _, text = status_and_output(run_command(server.folder, *arguments))
    assert MARKUP in text


def test_undecodable_bytes_cause_no_traceback(server: Server) -> None:
    """An argument that is not UTF-8 is refused without a traceback; POSIX arguments are bytes."""
    half = "\udcff\udcfe"
    for arguments in (("sessions", "end", half), ("users", "disable", f"{half}@example.com"), ("token", "inspect", half)):
        status, text = status_and_output(run_command(server.folder, *arguments))
        assert status in (1, 2)
        assert "Traceback" not in text


@pytest.mark.parametrize("role", [STEERING, MARKUP], ids=["steering", "markup"])
def test_hostile_roles_are_listed_as_text(server: Server, role: str) -> None:
    """A hostile role name is shown as plain text in the table and unchanged in JSON."""
    email = new_email()
    output_of(run_command(server.folder, "users", "create", email, "--role", role, "--password-stdin", stdin=f"{PASSWORD}\n"))
    table = output_of(run_command(server.folder, "users", "list"))
    assert is_printable(table)
    assert role != MARKUP or MARKUP in table
    listed = json.loads(output_of(run_command(server.folder, "users", "list", "--json")))
    assert next(person["roles"] for person in listed if person["email"] == email) == [role]


@pytest.mark.parametrize(
    "user_agent", ["[bold]x[/bold]", r"\[bold]x", r"\[/x]", "[/x]", ":smile: x", "\\", "x" * 8000], ids=lambda agent: agent[:12]
)
def test_user_agents_cannot_inject_control_characters(server: Server, client: httpx.Client, user_agent: str) -> None:
    """A hostile `User-Agent` neither styles the list of sessions nor makes the command fail."""
    email = sign_up(client)
    answer = client.post("/login", json={"email": email, "password": PASSWORD}, headers={"user-agent": user_agent})
    assert answer.status_code == 200
    table = output_of(run_command(server.folder, "sessions", "list", email))
    assert table.splitlines()[1].rstrip().endswith(user_agent[:40])
    assert is_printable(table)


# --- on a terminal


def test_a_password_is_typed_twice_and_never_shown(server: Server, client: httpx.Client) -> None:
    """The prompt asks for the password twice, asks again if the two differ, and echoes nothing."""
    email = new_email()
    status, screen = run_on_terminal(
        server.folder,
        *("users", "create", email),
        typed=[
            ("Password: ", f"{PASSWORD}\n"),
            ("confirmation: ", "something else entirely\n"),
            ("Password: ", f"{NEW_PASSWORD}\n"),
            ("confirmation: ", f"{NEW_PASSWORD}\n"),
        ],
    )
    assert status == 0, screen
    assert email in screen
    for typed in (PASSWORD, NEW_PASSWORD, "something else"):
        assert typed not in screen
    sign_in(client, email, password=NEW_PASSWORD)


def test_set_password_prompts_alike(server: Server, client: httpx.Client) -> None:
    """`users set-password` without `--password-stdin` prompts in the same way as `users create`."""
    email = sign_up(client)
    typed = [("Password: ", f"{NEW_PASSWORD}\n"), ("confirmation: ", f"{NEW_PASSWORD}\n")]
    status, screen = run_on_terminal(server.folder, "users", "set-password", email, typed=typed)
    assert status == 0, screen
    assert NEW_PASSWORD not in screen
    sign_in(client, email, password=NEW_PASSWORD)


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_a_prompt_can_be_cancelled(server: Server, key: str) -> None:
    """Ctrl-C and Ctrl-D at the prompt cancel the command without a traceback."""
    status, screen = run_on_terminal(server.folder, "users", "create", new_email(), typed=[("Password: ", key)])
    assert status != 0
    assert "Traceback" not in screen


@pytest.mark.parametrize("arguments", [("users", "list"), ("users", "disable", "nobody@example.com")], ids=" ".join)
def test_no_color_is_respected_on_a_terminal(server: Server, client: httpx.Client, arguments: tuple[str, ...]) -> None:
    """`NO_COLOR` removes all colours from the output (no-color.org). Bold type may stay."""
    sign_up(client)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_COLOR", "1")
        _, screen = run_on_terminal(server.folder, *arguments)
    styles = {code for found in re.findall(r"\x1b\[([\d;]*)m", screen) for code in found.split(";")}
    assert styles <= {"", "0", "1", "22"}
    assert not re.search(r"\x1b(?!\[[\d;]*m)", screen)


def test_a_table_on_a_terminal_keeps_every_identifier_whole(server: Server, client: httpx.Client) -> None:
    """A table on a terminal never truncates an identifier, so an operator can copy it."""
    ada = sign_in_new_user(client)
    status, screen = run_on_terminal(server.folder, "sessions", "list", ada.email)
    assert status == 0
    assert ada.sid in screen


def test_a_closed_pipe_causes_no_traceback(server: Server) -> None:
    """A closed output pipe causes no traceback, as in `handstamp users list --json | head -1`."""
    with subprocess.Popen(
        command("users", "list", "--json"),
        cwd=server.folder,
        env=environment_with({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_concurrent_commands_do_not_interfere(tmp_path: Path) -> None:
    """Four commands that run at the same time on one database all succeed, without a running service."""
    output_of(run_command(tmp_path, "migrate"))
    output_of(run_command(tmp_path, "users", "create", "ada@example.com", "--password-stdin", stdin=f"{PASSWORD}\n"))
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    command("users", "list", "--json"),
                    cwd=tmp_path,
                    env=environment_with({}),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(4)
        ]
        answers: list[tuple[str, str]] = [process.communicate(timeout=60) for process in started]
    for process, (out, err) in zip(started, answers, strict=True):
        assert (process.returncode, err) == (0, "")
        people: list[dict[str, Any]] = json.loads(out)
        assert [person["email"] for person in people] == ["ada@example.com"]
