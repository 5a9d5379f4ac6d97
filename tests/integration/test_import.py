"""`users import` and `users export`: beside a running service, interrupted, twice, and from end to end with old passwords."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
from werkzeug.security import generate_password_hash

from tests.commands import PATIENCE_S, command, environment_with, output_of, refusal_of, run_command, run_process
from tests.integration.helpers import expect_problem, new_email, profile, read_claims, sign_in
from tests.postgres import fresh_database
from tests.serving import PASSWORD, Server


def as_lines(rows: Iterable[dict[str, Any]]) -> str:
    """Return JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def people(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Return so many rows with different addresses and ids."""
    return [{"email": f"person{number}@example.com", "id": f"old-{number}", **fields} for number in range(count)]


def accounts_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Return all accounts by address."""
    with closing(sqlite3.connect(folder / "handstamp.db")) as database:
        database.row_factory = sqlite3.Row
        return {row["email"]: dict(row) for row in database.execute("SELECT * FROM account")}


@pytest.mark.parametrize(
    "old_hash",
    [generate_password_hash(PASSWORD, "scrypt:256:8:1"), bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()],
    ids=["scrypt", "bcrypt"],
)
def test_people_sign_in_with_their_old_password_and_the_hash_becomes_ours(
    server: Server, client: httpx.Client, old_hash: str
) -> None:
    """The account is imported beside the service. The first sign-in replaces the hash, and a wrong one does not."""
    email = new_email()
    old_id = f"auth0|{email.partition('@')[0]}"
    row = {"email": email.upper(), "passwordHash": old_hash, "id": old_id, "roles": ["editor"], "emailVerified": True}
    assert "Imported 1 account" in output_of(run_command(server.folder, "users", "import", "-", stdin=as_lines([row])))
    assert accounts_in(server.folder)[email]["password_hash"] == old_hash
    expect_problem(client.post("/login", json={"email": email, "password": PASSWORD + "!"}), 401, "invalid_credentials")
    assert accounts_in(server.folder)[email]["password_hash"] == old_hash
    first = sign_in(client, email)
    assert accounts_in(server.folder)[email]["password_hash"].startswith("$argon2id$v=19$")
    claims = read_claims(first.access)
    assert (claims["sub"], claims["roles"]) == (old_id, ["editor"])
    second = sign_in(client, email)
    assert profile(client, first).status_code == profile(client, second).status_code == 200


def test_an_old_password_can_be_changed(server: Server, client: httpx.Client) -> None:
    """Also by a person who is signed in and whose hash could not be replaced yet."""
    email = new_email()
    row = {"email": email, "passwordHash": generate_password_hash(PASSWORD, "pbkdf2:sha256:1000")}
    output_of(run_command(server.folder, "users", "import", "-", stdin=as_lines([row])))
    ada = sign_in(client, email)
    with closing(sqlite3.connect(server.folder / "handstamp.db", isolation_level=None)) as database:
        database.execute("UPDATE account SET password_hash = ? WHERE email = ?", (row["passwordHash"], email))
    change = {"currentPassword": PASSWORD, "newPassword": PASSWORD + " anew"}
    answer = client.post("/password", json=change, headers={"Authorization": f"Bearer {ada.access}"})
    assert answer.status_code == 200, answer.text
    sign_in(client, email, password=PASSWORD + " anew")


def test_accounts_without_a_usable_password_cannot_sign_in(server: Server, client: httpx.Client) -> None:
    """No password, a disabled account, and a hash that is too costly and came into the database: each is like a typo."""
    none, disabled, costly = new_email("none"), new_email("disabled"), new_email("costly")
    rows: list[dict[str, Any]] = [
        {"email": none},
        {"email": disabled, "disabled": True, "passwordHash": generate_password_hash(PASSWORD, "scrypt:256:8:1")},
    ]
    output_of(run_command(server.folder, "users", "import", "-", stdin=as_lines([*rows, {"email": costly}])))
    with closing(sqlite3.connect(server.folder / "handstamp.db", isolation_level=None)) as database:
        hostile = f"scrypt:1073741824:8:1$salt${'0' * 128}"
        database.execute("UPDATE account SET password_hash = ? WHERE email = ?", (hostile, costly))
    for email in (none, disabled, costly):
        expect_problem(client.post("/login", json={"email": email, "password": PASSWORD}), 401, "invalid_credentials")


def test_an_import_is_repeated_without_changing_anything(tmp_path: Path) -> None:
    """The second run adds nothing, and a changed file overwrites nothing."""
    rows: list[dict[str, Any]] = [*people(3, name="Ada", createdAt="2020-01-01T00:00:00Z"), {"email": "only@example.com"}]
    first = run_command(tmp_path, "users", "import", "-", stdin=as_lines(rows)).stdout  # standard error: creating a database
    assert first == "Imported 4 accounts. Imported before: 0.\n"
    before = accounts_in(tmp_path)
    again = run_command(
        tmp_path, "users", "import", "-", stdin=as_lines([row | {"name": "Eve", "roles": ["admin"]} for row in rows])
    )
    assert output_of(again) == "Imported 0 accounts. Imported before: 4.\n"
    assert accounts_in(tmp_path) == before


def test_a_dry_run_tells_the_same_and_adds_nothing(tmp_path: Path) -> None:
    """It needs a database, and leaves it as it is."""
    bad: list[dict[str, Any]] = [{"email": "person0@EXAMPLE.com"}, {"email": "nobody"}]
    assert "There is no database" in refusal_of(run_command(tmp_path, "users", "import", "-", "--dry-run", stdin="{}"), 2)
    run_command(tmp_path, "users", "import", "-", stdin=as_lines(people(1)))
    before = accounts_in(tmp_path)
    dry = run_command(tmp_path, "users", "import", "-", "--dry-run", stdin=as_lines([*people(3), *bad]))
    assert accounts_in(tmp_path) == before
    wet = run_command(tmp_path, "users", "import", "-", stdin=as_lines([*people(3), *bad]))
    assert (dry.returncode, dry.stdout, dry.stderr) == (1, wet.stdout.replace("Imported", "Would import", 1), wet.stderr)
    assert set(accounts_in(tmp_path)) == {f"person{number}@example.com" for number in range(3)}


def test_rows_that_cannot_be_imported_are_reported(tmp_path: Path) -> None:
    """Each with its line and a reason. The others are imported, and the exit status tells. An address is no `sub` (R4)."""
    rows: list[dict[str, Any]] = [
        {"email": "ada@example.com", "id": "ada"},
        {"email": "ADA@example.com", "id": "other"},
        {"email": "bob@example.com", "id": "ada"},
        {"email": "josé@example.com"},
        {"email": "jose\u0301@example.com"},
        {"name": "nobody"},
        {"email": "no address"},
        {"email": "c@example.com", "passwordHash": "md5$salt$0123456789abcdef0123456789abcdef"},
        {"email": "d@example.com", "passwordHash": "$2b$31$" + "a" * 53},
        {"email": "e@example.com", "id": "x" * 256},
        {"email": "f@example.com", "id": "a\u0000b"},
        {"email": "f@example.com", "id": "f@example.com"},
        {"email": "g@example.com", "createdAt": "2999-01-01"},
        {"email": "h@example.com", "roles": [1]},
        {"email": "i@example.com", "rolls": []},
        {"email": "=cmd|' /C calc'!A0"},
    ]
    ran = run_command(tmp_path, "users", "import", "-", "--report", "skipped.csv", stdin=as_lines(rows))
    assert (ran.returncode, ran.stdout) == (1, "Imported 2 accounts. Imported before: 0.\nSkipped 14 rows.\n")
    assert set(accounts_in(tmp_path)) == {"ada@example.com", "josé@example.com"}
    report = (tmp_path / "skipped.csv").read_text().splitlines()
    assert report[0] == "line,email,reason"
    assert [line.partition(",")[0] for line in report[1:]] == [str(number) for number in (2, 3, *range(5, 17))]
    reasons = "\n".join(report)
    for words in (
        "the address is the same as in line 1", "the id is the same as in line 1", "the address is the same as in line 4",
        "email is missing", "is of no kind that can be checked here", "it asks for 31 as the cost of bcrypt",
        "createdAt is in the future",
        "there is no field rolls", "roles is not a list of texts", "'=cmd",
        "which tokens must not",
    ):  # fmt: skip
        assert words in reasons
    forged = run_command(tmp_path, "users", "import", "-", stdin=as_lines([{"email": "a\nhandstamp: all is well\x1b[2J"}]))
    assert forged.stderr.count("\n") == 1
    assert "\x1b" not in forged.stderr
    without = run_command(tmp_path, "users", "import", "-", stdin=as_lines(rows[7:9]))
    assert "line 1: c@example.com: passwordHash is of no kind" in without.stderr
    dropped = run_command(tmp_path, "users", "import", "-", "--drop-unusable-hashes", stdin=as_lines(rows[7:9]))
    assert output_of(dropped) == "Imported 2 accounts. Imported before: 0.\n"
    assert accounts_in(tmp_path)["c@example.com"]["password_hash"] == ""


def test_accounts_of_others_are_left_alone(tmp_path: Path) -> None:
    """An address or an id that is taken here, and an id that stood for a person who was deleted (R11)."""
    run_command(tmp_path, "users", "import", "-", stdin=as_lines(people(2)))
    run_command(tmp_path, "users", "delete", "person1@example.com", "--yes")
    before = accounts_in(tmp_path)
    rows: list[dict[str, Any]] = [
        {"email": "person0@example.com", "id": "new"},
        {"email": "new@example.com", "id": "old-0"},
        {"email": "new2@example.com", "id": "old-1"},
    ]
    for options in (["--dry-run"], []):
        ran = run_command(tmp_path, "users", "import", "-", *options, stdin=as_lines(rows))
        assert ran.returncode == 1
        for words in ("this address has an account already", "this id belongs to another account", "was deleted here"):
            assert words in ran.stderr
        assert accounts_in(tmp_path) == before
    ran = run_command(tmp_path, "users", "import", "-", "--new-ids", stdin=as_lines(rows[1:]))
    assert output_of(ran) == "Imported 2 accounts. Imported before: 0.\n"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="only Linux has a file whose reading fails")
def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    """A disk that fails is no traceback, and nothing was created."""
    ran = run_command(tmp_path, "users", "import", "/proc/self/mem")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "cannot be read" in ran.stderr
    assert not (tmp_path / "handstamp.db").exists()


def test_a_broken_file_loses_nothing(tmp_path: Path) -> None:
    """The rows before the break are added, the message names the line, and the mended file continues."""
    broken = json.dumps(people(3), indent=1)[:-3]
    ran = run_command(tmp_path, "users", "import", "-", stdin=broken)
    assert ran.returncode == 2
    assert "broken" in ran.stderr
    assert len(accounts_in(tmp_path)) == 2
    mended = run_command(tmp_path, "users", "import", "-", stdin=json.dumps(people(3)))
    assert output_of(mended) == "Imported 1 account. Imported before: 2.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.json"], "cannot be read"),
        (["."], "cannot be read"),
        (["-", "--from", "okta"], "It can be handstamp, auth0"),
        (["-", "--hashes", "nowhere"], "--hashes is for auth0"),
        (["-", "--report", "accounts.csv"], "no report of an earlier import"),
        (["-", "--from", "firebase", "--hashes", "accounts.csv"], "lacks base64_signer_key"),
    ],
)
def test_wrong_use_is_refused_with_words(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Before anything is created."""
    (tmp_path / "accounts.csv").write_text("email\n")
    assert words in refusal_of(run_command(tmp_path, "users", "import", *arguments), 2)
    assert not (tmp_path / "handstamp.db").exists()


def start_import(folder: Path, **settings: str) -> subprocess.Popen[bytes]:
    """Start an import in a process of its own, which reads what is written to its standard input."""
    return subprocess.Popen(
        command("users", "import", "-"), cwd=folder, env=environment_with(settings),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for_accounts(folder: Path, count: int) -> None:
    """Wait until so many accounts are committed."""
    deadline = time.monotonic() + PATIENCE_S
    while len(accounts_in(folder)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_import_continues(tmp_path: Path) -> None:
    """`kill -9` in the middle: what was committed is there once, and the same command adds the rest."""
    run_command(tmp_path, "users", "import", "-", stdin="{}")  # creates the database
    rows = people(1800)
    with start_import(tmp_path) as importing:
        assert importing.stdin is not None
        importing.stdin.write(as_lines(rows[:1700]).encode() + b" " * 300_000)
        importing.stdin.flush()
        wait_for_accounts(tmp_path, 500)
        importing.send_signal(signal.SIGKILL)
    committed = len(accounts_in(tmp_path))
    assert committed % 500 == 0
    ran = run_command(tmp_path, "users", "import", "-", stdin=as_lines(rows))
    assert output_of(ran) == f"Imported {1800 - committed:,} accounts. Imported before: {committed:,}.\n"
    assert len(accounts_in(tmp_path)) == 1800


def import_twice_at_once(folder: Path, **settings: str) -> None:
    """Feed two processes the same rows. Together they add each account once, and each of them finds all."""
    run_process(folder, "users", "import", "-", stdin="{}", **settings)  # creates the database
    lines = as_lines(people(1500)).encode()
    both = [start_import(folder, **settings) for _ in range(2)]
    outputs = []
    for importing in both:
        assert importing.stdin is not None
        importing.stdin.write(lines[: len(lines) // 2])
        importing.stdin.flush()
    for importing in both:
        out, err = importing.communicate(lines[len(lines) // 2 :], timeout=PATIENCE_S)
        assert (importing.returncode, err) == (0, b"")
        outputs.append([int(number.replace(",", "")) for number in re.findall("[0-9,]+", out.decode())])
    assert [sum(column) for column in zip(*outputs, strict=True)] == [1500, 1500]
    assert len(run_process(folder, "users", "export", **settings).stdout.splitlines()) == 1500


@pytest.mark.slow
def test_two_imports_at_once_add_each_account_once(tmp_path: Path) -> None:
    """Whoever is first adds an account; the other finds it."""
    import_twice_at_once(tmp_path)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.anyio
async def test_two_imports_at_once_add_each_account_once_on_postgresql(tmp_path: Path, postgres_server: str) -> None:
    """Transactions that clash are repeated."""
    async with fresh_database(postgres_server) as url:
        import_twice_at_once(tmp_path, DATABASE=url, SECRET="kelp lantern rivet 41 of the tests")


def test_an_export_is_imported_elsewhere_as_it_was(tmp_path: Path) -> None:
    """With password hashes, it brings everything that an account consists of. The file is new and private."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    rows: list[dict[str, Any]] = [
        {"email": "ada@example.com", "id": "7", "name": "Ada", "language": "de-CH", "roles": ["admin"], "emailVerified": True,
         "createdAt": 1_600_000_000_123, "passwordHash": generate_password_hash(PASSWORD, "scrypt:256:8:1")},
        {"email": "bob@example.com", "disabledAtMs": 1_700_000_000_456},
    ]  # fmt: skip
    run_command(here, "users", "import", "-", stdin=as_lines(rows))
    plain = output_of(run_command(here, "users", "export"))
    assert [json.loads(line)["email"] for line in plain.splitlines()] == ["ada@example.com", "bob@example.com"]
    assert "scrypt" not in plain
    assert "name one" in refusal_of(run_command(here, "users", "export", "--with-password-hashes"), 2)
    file = there / "accounts.jsonl"
    output_of(run_command(here, "users", "export", str(file), "--with-password-hashes"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert "cannot be created" in refusal_of(run_command(here, "users", "export", str(file)), 2)
    assert run_command(there, "users", "import", "accounts.jsonl").returncode == 0
    assert accounts_in(there) == accounts_in(here)


def test_all_data_of_one_person_is_exported(tmp_path: Path) -> None:
    """As one JSON object, without the hash of the password, to a new file or to standard output."""
    assert run_command(tmp_path, "users", "create", "ada@example.com", "--password-stdin", stdin=PASSWORD).returncode == 0
    printed = json.loads(output_of(run_command(tmp_path, "users", "export", "--account", "ADA@example.com")))
    assert printed["account"][0]["email"] == "ada@example.com"
    assert [event["kind"] for event in printed["events"]] == ["account_created", "data_exported"]
    file = tmp_path / "ada.json"
    output_of(run_command(tmp_path, "users", "export", "--account", "ada@example.com", str(file)))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "argon2" not in file.read_text()
    assert json.loads(file.read_bytes())["account"] == printed["account"]
    nobody = run_command(tmp_path, "users", "export", "--account", "bob@example.com", str(tmp_path / "bob.json"))
    assert "bob@example.com" in refusal_of(nobody, 1)
    assert not (tmp_path / "bob.json").exists()
    hashes = ("--account", "ada@example.com", "--with-password-hashes", "x.json")
    assert "no hash" in refusal_of(run_command(tmp_path, "users", "export", *hashes), 2)


def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """A part of an export would look like a whole one."""
    assert "There is no database" in refusal_of(run_command(tmp_path, "users", "export", "all.jsonl"), 2)
    assert not (tmp_path / "all.jsonl").exists()


def test_auth0_and_better_auth_bring_their_passwords_in_a_second_file(tmp_path: Path) -> None:
    """From end to end, by ids, with a row in the second file that nobody needs."""
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "users.json").write_text(
        as_lines([{"user_id": "auth0|1", "email": "a@example.com"}, {"user_id": "google|2", "email": "b@example.com"}])
    )
    (tmp_path / "hashes.json").write_text(
        as_lines([{"_id": {"$oid": "1"}, "passwordHash": old}, {"_id": {"$oid": "3"}, "passwordHash": old}])
    )
    ran = run_command(tmp_path, "users", "import", "users.json", "--from", "auth0", "--hashes", "hashes.json")
    assert ran.stdout == "Imported 2 accounts. Imported before: 0.\n"
    found = accounts_in(tmp_path)
    assert (found["a@example.com"]["password_hash"], found["b@example.com"]["password_hash"]) == (old, "")
