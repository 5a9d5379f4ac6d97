"""Backup and restore of a SQLite database: while it is served and busy, after a crash, and if they are killed themselves."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pty
import shlex
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from handstamp.storage.sqlite import backup
from tests import postgres
from tests.commands import command, environment_with, output_of, refusal_of, run_command, run_process
from tests.serving import PASSWORD, Server
from tests.verifying import credential_for, eventually

Serve = Callable[..., Server]

_KILLED = """
import os
import signal
import sys

left = int(os.environ["TEST_KILL_AT"])
CHANGES = {"os.link", "os.rename", "os.remove", "sqlite3.connect", "tempfile.mkstemp"}


def count(event, arguments):
    global left
    if event in CHANGES and ".db" in str(arguments):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(count)
"""
"""A `sitecustomize` module: the process kills itself before its nth change of a file."""


def emails_in(folder: Path) -> set[str]:
    """Return the accounts of the database in a folder, as the command line sees them."""
    lines = output_of(run_command(folder, "users", "list")).splitlines()[1:]
    return {line.split()[0] for line in lines}


def write(folder: Path, *, to: str = "backup.db") -> Path:
    """Back up the database of a folder."""
    assert "checked" in output_of(run_command(folder, "backup", to, "--force"))
    return folder / to


def damage(folder: Path) -> None:
    """Overwrite the beginning of a database and of its log, so that SQLite can read neither."""
    for name in ("handstamp.db", "handstamp.db-wal"):
        with (folder / name).open("rb+") as file:
            file.write(b"x" * 100)


def require_sound(file: Path) -> None:
    """Fail unless a file is one complete database that only its owner can read, with no log beside it."""
    assert file.stat().st_mode & 0o777 == 0o600
    assert not [log for log in ("-wal", "-shm", "-journal") if file.with_name(file.name + log).exists()]
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


@contextmanager
def load_on(server: Server) -> Iterator[list[str]]:
    """Refresh and sign out in four threads for as long as the block runs. Yield the addresses that have been created."""
    stopping, created = threading.Event(), list[str]()

    def work(number: int) -> None:
        with server.client() as client, suppress(httpx.TransportError):
            email = f"busy{number}@example.com"
            client.post("/register", json={"email": email, "password": PASSWORD})
            created.append(email)
            token = client.post("/login", json={"email": email, "password": PASSWORD}).json()["refreshToken"]
            while not stopping.is_set():
                token = client.post("/refresh", json={"refreshToken": token}).json()["refreshToken"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert eventually(lambda: len(created) == 4)
        yield created
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a service that was killed: its log is not empty. `backup.db` is older than the last account."""
    server = Server(tmp_path_factory.mktemp("killed"))
    try:
        assert server.start().register("before@example.com").status_code == 201
        write(server.folder)
        assert server.register("after@example.com").status_code == 201
    finally:
        server.kill()
    assert (server.folder / "handstamp.db-wal").stat().st_size > 0
    return server.folder


@pytest.fixture
def crashed(killed: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder."""
    folder = tmp_path / "crashed"
    folder.mkdir(mode=0o700)
    for file in killed.iterdir():
        shutil.copy(file, folder)
    return folder


# --- backup


@pytest.mark.slow
def test_backups_of_a_busy_service_are_each_one_moment(serve: Serve, count: Callable[[str], None]) -> None:
    """Requests are answered meanwhile, and each backup is sound and can be served."""
    server = serve()
    with load_on(server) as created:
        for _ in range(5):
            require_sound(write(server.folder))
            assert server.login(created[0])["refreshToken"]
        other = server.folder / "other"
        other.mkdir(mode=0o700)
        shutil.copy(server.folder / "handstamp.secret", other)
        assert "Restored" in output_of(run_command(other, "restore", str(server.folder / "backup.db")))
        assert emails_in(other) == set(created)
    count("5 backups of a database that four clients were changing")


def test_a_backup_replaces_nothing_but_backups(crashed: Path) -> None:
    """Not the database, and not the secret, whatever name was mistyped."""
    (crashed / "link.db").symlink_to("handstamp.db")
    before = {file.name: file.read_bytes() for file in crashed.iterdir()}
    for name in ("handstamp.db", "link.db", "handstamp.secret", "handstamp.db-wal", "handstamp.db-shm"):
        assert "Name another file" in refusal_of(run_command(crashed, "backup", name, "--force"), 2)
    assert {file.name: file.read_bytes() for file in crashed.iterdir()} == before


def test_commits_meanwhile_neither_enter_a_backup_nor_start_it_again(
    crashed: Path, monkeypatch: pytest.MonkeyPatch, count: Callable[[str], None]
) -> None:
    """Otherwise a backup of a busy service would never end, or be of several moments."""
    monkeypatch.setattr(backup, "_PAGES", 1)
    steps: list[int] = []
    with closing(sqlite3.connect(crashed / "handstamp.db", isolation_level=None)) as busy:

        def commit(done: int, _: int) -> None:
            steps.append(done)
            busy.execute(
                "INSERT INTO event (at_ms, kind, ip, user_agent, actor, detail) VALUES (?, 'during', '', '', 'service', '{}')",
                [done],
            )

        backup.back_up(crashed / "handstamp.db", crashed / "moment.db", may_replace=False, report=commit)
        assert busy.execute("SELECT count(*) FROM event WHERE kind = 'during'").fetchone() == (len(steps),)
    assert steps == sorted(set(steps))
    assert len(steps) > 10
    with closing(sqlite3.connect(crashed / "moment.db")) as copy:
        assert copy.execute("SELECT count(*) FROM event WHERE kind = 'during'").fetchone() == (0,)
    count(f"{len(steps)} commits during a backup")


def test_a_backup_never_replaces_a_file_unless_it_is_told_to(crashed: Path) -> None:
    """Not even at the last moment: see `os.link`."""
    before = (crashed / "backup.db").read_bytes()
    said = refusal_of(run_command(crashed, "backup", "backup.db"), 2)
    assert "--force" in said
    assert (crashed / "backup.db").read_bytes() == before
    write(crashed)
    assert (crashed / "backup.db").read_bytes() != before
    require_sound(crashed / "backup.db")
    assert not list(crashed.glob("*.part*"))


@pytest.mark.parametrize("content", [b"no database at all", b""], ids=["text", "empty"])
def test_what_is_no_database_of_ours_is_not_backed_up(tmp_path: Path, content: bytes) -> None:
    """A backup that could not be restored is none. A missing database is not created."""
    assert "There is no database" in refusal_of(run_command(tmp_path, "backup", "backup.db"), 2)
    (tmp_path / "handstamp.db").write_bytes(content)
    refusal_of(run_command(tmp_path, "backup", "backup.db"), 2)
    assert [file.name for file in tmp_path.iterdir()] == ["handstamp.db"]


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        (
            "postgresql://me:word@db.example.com:5433/auth?sslmode=verify-full&sslrootcert=/etc/ca.pem&pgbouncer=true",
            "postgresql://me@db.example.com:5433/auth?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        ),
        ("postgresql://me@one,two/auth?sslmode=disable&password=word", "postgresql://me@one,two/auth?sslmode=disable"),
        ("postgresql://localhost/auth", "postgresql://localhost/auth"),
    ],
)
def test_with_postgresql_the_commands_to_use_are_named(tmp_path: Path, url: str, printed: str) -> None:
    """As they can be typed, with the protection of the connection. PostgreSQL's programs ask for the password."""
    dump = refusal_of(run_command(tmp_path, "backup", "my x", "--database", url), 2).partition("for this: ")[2]
    assert shlex.split(dump) == ["pg_dump", "--format=custom", "--exclude-table-data=mail", "--file=my x", printed]
    load = refusal_of(run_command(tmp_path, "restore", "my x", "--database", url), 2).partition("for this: ")[2]
    assert shlex.split(load) == ["pg_restore", "--clean", "--if-exists", "--single-transaction", f"--dbname={printed}", "my x"]


def killed_at(folder: Path, number: int, *arguments: str) -> bool:
    """Run a command that is killed before its nth change of a file. Return False if it had made all its changes."""
    (folder / "python").mkdir(exist_ok=True)
    (folder / "python" / "sitecustomize.py").write_text(_KILLED)
    environment = environment_with({}) | {"PYTHONPATH": str(folder / "python"), "TEST_KILL_AT": str(number)}
    done = subprocess.run(command(*arguments), cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done
    return done.returncode != 0


@pytest.mark.slow
def test_a_backup_that_is_killed_leaves_the_last_one(crashed: Path, count: Callable[[str], None]) -> None:
    """Whenever that happens. The next one works."""
    digest = hashlib.sha256((crashed / "backup.db").read_bytes()).hexdigest()
    number = 1
    while killed_at(crashed, number, "backup", "backup.db", "--force"):
        found = hashlib.sha256((crashed / "backup.db").read_bytes()).hexdigest()
        if found != digest:
            require_sound(crashed / "backup.db")
        number += 1
    assert number > 3
    require_sound(write(crashed))
    count(f"killed before each of {number - 1} changes")


# --- restore


def test_a_restored_database_is_served(crashed: Path) -> None:
    """It has the state of the backup. The old one is beside it, complete with what was only in its log."""
    said = output_of(run_command(crashed, "restore", "backup.db"))
    assert "handstamp.db.replaced-1" in said
    require_sound(crashed / "handstamp.db")
    assert emails_in(crashed) == {"before@example.com"}
    for name in ("handstamp.db.replaced-1", "backup.db"):
        (crashed / name).replace(crashed / "again.db")
        output_of(run_command(crashed, "restore", "again.db"))
        expected = {"before@example.com", "after@example.com"} if "replaced" in name else {"before@example.com"}
        assert emails_in(crashed) == expected


@pytest.mark.parametrize(
    "state", ["idle", "damaged", *(pytest.param(state, marks=pytest.mark.slow) for state in ("busy", "workers"))]
)
def test_nothing_is_restored_while_the_database_is_served(serve: Serve, state: str) -> None:
    """SQLite's own locks tell, not a file with a number. Nothing is changed."""
    server = serve(*(("--workers", "2") if state == "workers" else ()))
    assert server.register("before@example.com").status_code == 201
    write(server.folder)
    database = server.folder / "handstamp.db"
    if state == "damaged":
        damage(server.folder)
    inode = database.stat().st_ino
    refused = run_process(server.folder, "restore", "backup.db")
    if state == "busy":
        with load_on(server):
            refused = run_process(server.folder, "restore", "backup.db")
    assert "Stop the service" in refusal_of(refused, 2)
    assert database.stat().st_ino == inode
    assert not list(server.folder.glob("*.part*"))
    if state != "damaged":
        assert server.register("still@example.com").status_code == 201
    server.kill()
    assert eventually(lambda: run_command(server.folder, "restore", "backup.db").returncode == 0), "workers need a moment to end"
    assert emails_in(server.folder) == {"before@example.com"}


def test_a_service_that_starts_during_a_restore_serves_the_new_database(crashed: Path) -> None:
    """It waits for the lock, and opens what is there then."""
    with closing(sqlite3.connect(crashed / "handstamp.db", isolation_level=None)) as held:
        for word in ("PRAGMA locking_mode = EXCLUSIVE", "PRAGMA journal_mode = DELETE", "BEGIN EXCLUSIVE"):
            held.execute(word)
        server = Server(crashed)
        starting = threading.Thread(target=server.start)
        starting.start()
        try:
            assert eventually(lambda: server.process is not None)
            shutil.copy(crashed / "backup.db", crashed / "draft")
            (crashed / "draft").replace(crashed / "handstamp.db")
            held.close()
            starting.join()
            assert server.login("before@example.com")
            with server.client() as client:
                wrong = client.post("/login", json={"email": "after@example.com", "password": PASSWORD})
            assert wrong.json()["code"] == "invalid_credentials"
        finally:
            server.kill()


@pytest.mark.slow
@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_restore_that_is_killed_leaves_the_old_database_or_the_new_one(
    crashed: Path, tmp_path: Path, count: Callable[[str], None], *, is_damaged: bool
) -> None:
    """Whenever that happens: never a mixture, never none, and never one beside the log of the other."""
    if is_damaged:
        damage(crashed)
    states = set()
    number, again = 1, True
    while again:
        folder = tmp_path / f"round{number}"
        shutil.copytree(crashed, folder)
        again = killed_at(folder, number, "restore", "backup.db")
        is_old = is_damaged and (folder / "handstamp.db").read_bytes().startswith(b"x")
        emails = {"damaged"} if is_old else emails_in(folder)
        assert emails in ({"damaged"}, {"before@example.com"}, {"before@example.com", "after@example.com"})
        assert again or emails == {"before@example.com"}
        states.add(frozenset(emails))
        output_of(run_command(folder, "restore", "backup.db"))
        assert emails_in(folder) == {"before@example.com"}
        number += 1
    assert len(states) == 2
    count(f"killed before each of {number - 2} changes")


def test_a_damaged_database_can_be_replaced(crashed: Path) -> None:
    """It stays beside the new one, for whoever wants to look into it."""
    damage(crashed)
    output_of(run_command(crashed, "restore", "backup.db"))
    require_sound(crashed / "handstamp.db")
    assert (crashed / "handstamp.db.replaced-1").read_bytes().startswith(b"x" * 100)
    assert emails_in(crashed) == {"before@example.com"}


def test_only_a_backup_that_can_be_served_is_restored(crashed: Path) -> None:
    """Damaged, of another program, of a newer version, or sealed with another secret: the database stays as it is."""
    before = {file.name: file.read_bytes() for file in crashed.glob("handstamp.db*")}
    shutil.copy(crashed / "backup.db", crashed / "torn.db")
    with (crashed / "torn.db").open("rb+") as file:
        file.seek(3 * 4096)
        file.write(b"x" * 4096 * 20)
    shutil.copy(crashed / "backup.db", crashed / "newer.db")
    with closing(sqlite3.connect(crashed / "newer.db", isolation_level=None)) as newer:
        newer.execute("INSERT INTO schema_migration VALUES (9999, 'later', 'x')")
    with closing(sqlite3.connect(crashed / "shop.db", isolation_level=None)) as shop:
        shop.execute("CREATE TABLE goods (name)")
    (crashed / "empty.db").touch()
    for name, words in (
        ("torn.db", "damaged"),
        ("newer.db", "newer"),
        ("shop.db", "another program"),
        ("empty.db", "no database of Handstamp"),
        ("missing.db", "There is no file"),
        ("handstamp.secret", "no database"),
    ):
        assert words in refusal_of(run_command(crashed, "restore", name), 2)
    other = run_command(crashed, "restore", "backup.db", SECRET="0123456789abcdef" * 4)
    assert "secret" in refusal_of(other, 2)
    (crashed / "handstamp.secret").rename(crashed / "elsewhere")
    assert "handstamp.secret" in refusal_of(run_command(crashed, "restore", "backup.db"), 2)
    assert {file.name: file.read_bytes() for file in crashed.glob("handstamp.db*")} == before
    assert not list(crashed.glob("*.part*"))


def test_root_gives_the_restored_database_to_the_user_of_the_service(crashed: Path) -> None:
    """The service could not open it otherwise."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(crashed / "handstamp.db", 12345, 12345)
    output_of(run_command(crashed, "restore", "backup.db"))
    assert ((found := (crashed / "handstamp.db").stat()).st_uid, found.st_gid) == (12345, 12345)


# --- what a restored database means for people and for verifiers


def test_after_a_restore_sessions_catch_up_and_the_feed_begins_anew(serve: Serve) -> None:
    """Nobody who was signed in at the time of the backup is signed out. What was done since is lost."""
    server = serve()
    assert server.register().status_code == 201
    reader = dict(zip(("username", "password"), credential_for(server, "reader").split(":"), strict=True))
    staying, leaving = server.login(), server.login()
    write(server.folder)
    with server.client() as client:
        for _ in range(3):
            staying = client.post("/refresh", json={"refreshToken": staying["refreshToken"]}).json()
        assert client.post("/logout", json={"refreshToken": leaving["refreshToken"]}).status_code == 204
        newer = server.login()
        cursor = client.get("/revocations", auth=(reader["username"], reader["password"])).json()["cursor"]
    server.kill()
    output_of(run_command(server.folder, "restore", "backup.db"))
    server.start()
    with server.client() as client:
        caught_up = client.post("/refresh", json={"refreshToken": staying["refreshToken"]})
        assert caught_up.status_code == 200
        assert client.post("/refresh", json={"refreshToken": caught_up.json()["refreshToken"]}).status_code == 200
        returned = client.post("/refresh", json={"refreshToken": leaving["refreshToken"]})
        assert returned.status_code == 200, "the sign-out is lost, and must be repeated"
        unknown = client.post("/refresh", json={"refreshToken": newer["refreshToken"]}).json()
        assert unknown["code"] == "session_ended"
        page = client.get(f"/revocations?after={cursor}", auth=(reader["username"], reader["password"])).json()
        assert page["snapshot"], "the cursor is of a future that was lost: the reader gets everything, and misses nothing"
    assert "caught_up" in server.log.read_text()


@pytest.mark.slow
@pytest.mark.anyio
async def test_with_postgresql_the_named_commands_do_the_same(
    tmp_path: Path, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands that `backup` and `restore` print, run as they stand. The feed begins anew there too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{postgres.find_programs()}:{os.environ['PATH']}")
    async with postgres.fresh_database(postgres_server) as url:
        settings = {"DATABASE": url, "SECRET": "0123456789abcdef" * 4}
        server = Server(tmp_path, **settings)
        try:
            assert server.start().register().status_code == 201
            tokens = server.login()
            await run_printed(run_process(tmp_path, "backup", "handstamp.dump", **settings))
            with server.client() as client:
                for _ in range(3):
                    tokens = client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).json()
            assert server.register("after@example.com").status_code == 201
            server.kill()
            await run_printed(run_process(tmp_path, "restore", "handstamp.dump", **settings))
            server.start()
            with server.client() as client:
                assert client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).status_code == 200
                lost = client.post("/login", json={"email": "after@example.com", "password": PASSWORD})
            assert lost.json()["code"] == "invalid_credentials"
            assert "caught_up" in server.log.read_text()
        finally:
            server.stop()


async def run_printed(refused: subprocess.CompletedProcess[str]) -> None:
    """Run the command that a refusal names."""
    printed = refusal_of(refused, 2).partition("for this: ")[2]
    process = await asyncio.create_subprocess_shell(printed)
    assert await process.wait() == 0, printed


# --- a file that was copied back by hand


@pytest.mark.parametrize("how", ["cp", "mv", "cp -p"])
def test_a_file_that_was_copied_beside_an_old_log_is_noticed(crashed: Path, how: str) -> None:
    """SQLite would read the file together with the log, which is of another. Nothing is changed, and the way out is named."""
    database, log = crashed / "handstamp.db", crashed / "handstamp.db-wal"
    age(log)
    copy = crashed / "copy.db"
    shutil.copy(crashed / "backup.db", copy)
    if how != "cp":
        with closing(sqlite3.connect(copy, isolation_level=None)) as other:  # pages that the log does not fit
            other.execute("DELETE FROM event")
            other.execute("UPDATE account SET password_hash = hex(randomblob(20000))")
            other.execute("VACUUM")
        age(copy)
    subprocess.run([*how.split(), str(copy), str(database)], check=True)
    before = {file.name: file.read_bytes() for file in (database, log)}
    for arguments in (("serve", "--port", "0"), ("users", "list")):
        said = refusal_of(run_command(crashed, *arguments), 2)
        assert "handstamp restore" in said
        assert str(log.name) in said
    assert {file.name: file.read_bytes() for file in (database, log)} == before
    output_of(run_command(crashed, "restore", "backup.db"))
    assert emails_in(crashed) == {"before@example.com"}


def test_a_log_without_its_file_is_noticed(crashed: Path) -> None:
    """A new database would take its place, and the log would be lost."""
    (crashed / "handstamp.db").rename(crashed / "away")
    log = (crashed / "handstamp.db-wal").read_bytes()
    for arguments in (("serve", "--port", "0"), ("migrate",)):
        assert "handstamp.db-wal is there" in refusal_of(run_command(crashed, *arguments), 2)
    assert not (crashed / "handstamp.db").exists()
    assert (crashed / "handstamp.db-wal").read_bytes() == log
    (crashed / "away").rename(crashed / "handstamp.db")
    assert emails_in(crashed) == {"before@example.com", "after@example.com"}


def test_a_link_to_a_database_stays_a_link(crashed: Path) -> None:
    """The file is restored, wherever it is. So with systemd, whose folder of a service is a link."""
    (crashed / "elsewhere").mkdir(mode=0o700)
    for file in crashed.glob("handstamp.db*"):
        file.rename(crashed / "elsewhere" / file.name)
    (crashed / "handstamp.db").symlink_to("elsewhere/handstamp.db")
    output_of(run_command(crashed, "restore", "backup.db"))
    assert (crashed / "handstamp.db").is_symlink()
    require_sound(crashed / "elsewhere" / "handstamp.db")
    assert emails_in(crashed) == {"before@example.com"}
    require_sound(write(crashed))


def test_a_disk_that_is_full_leaves_the_last_backup(crashed: Path) -> None:
    """And no draft."""
    before = (crashed / "backup.db").read_bytes()
    limited = ["sh", "-c", 'ulimit -f 40; exec "$@"', "sh", *command("backup", "backup.db", "--force")]
    done = subprocess.run(limited, cwd=crashed, env=environment_with({}), capture_output=True, text=True, check=False)
    assert "SQLite" in refusal_of(done, 1)
    assert (crashed / "backup.db").read_bytes() == before
    assert not list(crashed.glob("*.part*"))


def test_a_terminal_shows_how_far_it_is(crashed: Path) -> None:
    """A file gets no such lines."""
    screen, terminal = pty.openpty()
    try:
        subprocess.run(command("backup", "second.db"), cwd=crashed, env=environment_with({}), stderr=terminal, check=True)
        assert b"100 % copied" in os.read(screen, 4096)
    finally:
        os.close(screen)
        os.close(terminal)


@pytest.mark.parametrize("change", ["chmod", "rename", "nothing", "copied together"])
def test_a_log_that_belongs_to_the_file_is_read(crashed: Path, change: str) -> None:
    """After a crash, the last commits are in the log alone, and they must not be lost because somebody changed a mode."""
    database, log = crashed / "handstamp.db", crashed / "handstamp.db-wal"
    age(database)
    age(log)
    if change == "chmod":
        database.chmod(0o640)
    elif change == "rename":
        database.rename(crashed / "away")
        (crashed / "away").rename(database)
    elif change == "copied together":
        for file in (database, log):
            shutil.copy2(file, crashed / "away")
            (crashed / "away").replace(file)
    assert emails_in(crashed) == {"before@example.com", "after@example.com"}


def age(file: Path) -> None:
    """Make a file look as if it was written an hour ago."""
    found = file.stat()
    os.utime(file, (found.st_atime - 3600, found.st_mtime - 3600))
