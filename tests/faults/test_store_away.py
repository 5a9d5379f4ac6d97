"""The store is locked, moved, replaced or full: 503 with Retry-After, no session ends, and the service recovers by itself."""

from __future__ import annotations

import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.serving import EMAIL, PASSWORD, Server

pytestmark = pytest.mark.slow


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the write lock, like a backup tool or another program."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def assert_unavailable(answer: httpx.Response) -> None:
    """Assert that the answer is the 503 for an unavailable store, without internal details."""
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert "set-cookie" not in answer.headers
    assert not any(word in answer.text.lower() for word in ("sqlite", "traceback", ".db", "locked"))


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """Return a running service with one account."""
    running = serve()
    assert running.register().status_code == 201
    return running


def test_a_locked_store_answers_503_and_goes_on_afterwards(server: Server) -> None:
    """Writes wait some seconds and then get 503, reads succeed, and the refresh token stays valid."""
    tokens = server.login()
    browser = {"sec-fetch-site": "same-origin"}
    with server.client() as cookies, server.client(timeout=30) as client:
        credentials = {"email": EMAIL, "password": PASSWORD}
        assert cookies.post("/login", json=credentials, headers=browser).status_code == 200
        with locked(server.folder / "handstamp.db"):
            assert_unavailable(client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}))
            assert_unavailable(cookies.post("/refresh", headers=browser))
            assert_unavailable(cookies.post("/logout", headers=browser))
            profile = client.get("/profile", headers={"Authorization": f"Bearer {tokens['accessToken']}"})
            assert profile.status_code == 200
        assert client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).status_code == 200
        assert cookies.post("/refresh", headers=browser).status_code == 200


def test_a_removed_store_answers_503_until_it_is_back(server: Server) -> None:
    """The service writes nothing to the moved file and creates no empty database in its place."""
    tokens = server.login()
    bearer = {"Authorization": f"Bearer {tokens['accessToken']}"}
    files = [file for file in server.folder.iterdir() if file.name.startswith("handstamp.db")]
    away = server.folder / "away"
    away.mkdir()
    for file in files:
        file.rename(away / file.name)
    with server.client() as client:
        assert client.get("/healthz").status_code == 200
        assert_unavailable(client.get("/readyz"))
        assert_unavailable(client.get("/profile", headers=bearer))
        assert_unavailable(client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}))
        assert_unavailable(client.post("/login", json={"email": EMAIL, "password": PASSWORD}))
        assert_unavailable(client.post("/logout", json={"refreshToken": tokens["refreshToken"]}))
        assert not (server.folder / "handstamp.db").exists()
        for file in files:
            shutil.move(away / file.name, file)
        assert client.get("/readyz").status_code == 200
        assert client.get("/profile", headers=bearer).status_code == 200
        assert client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).status_code == 200


def test_a_restored_backup_is_used_at_once(server: Server) -> None:
    """Sessions in the backup continue, even those that were refreshed later: their stored generation catches up."""
    tokens = server.login()
    database = server.folder / "handstamp.db"
    with closing(sqlite3.connect(database)) as live, closing(sqlite3.connect(server.folder / "backup.db")) as copy:
        live.backup(copy)
    with server.client() as client:
        for _ in range(3):
            tokens = client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).json()
        for leftover in server.folder.glob("handstamp.db-*"):
            leftover.unlink()
        (server.folder / "backup.db").rename(database)
        answer = client.post("/refresh", json={"refreshToken": tokens["refreshToken"]})
        assert answer.status_code == 200, answer.text
    with closing(sqlite3.connect(database)) as live:
        assert live.execute("SELECT generation FROM session").fetchone() == (4,)
        assert live.execute("SELECT count(*) FROM event WHERE kind = 'caught_up'").fetchone() == (1,)


def test_a_backup_that_is_moved_beside_the_log_of_the_old_file_answers_503(server: Server) -> None:
    """SQLite would read both together. The way out is in the log, and the old log can still be moved away."""
    tokens = server.login()
    database = server.folder / "handstamp.db"
    with closing(sqlite3.connect(database)) as live, closing(sqlite3.connect(server.folder / "backup.db")) as copy:
        live.backup(copy)
    backup = (server.folder / "backup.db").read_bytes()
    with server.client() as client:
        for _ in range(3):
            tokens = client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).json()
        assert (server.folder / "handstamp.db-wal").stat().st_size > 0
        (server.folder / "backup.db").rename(database)
        for _ in range(3):
            assert_unavailable(client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}))
            assert_unavailable(client.get("/profile", headers={"Authorization": f"Bearer {tokens['accessToken']}"}))
        assert database.read_bytes() == backup
        assert "handstamp restore" in server.log.read_text()
        for leftover in server.folder.glob("handstamp.db-*"):
            leftover.unlink()
        assert client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).status_code == 200


def test_a_damaged_store_answers_503(server: Server) -> None:
    """Overwriting the database file ends no session."""
    tokens = server.login()
    database = server.folder / "handstamp.db"
    for leftover in server.folder.glob("handstamp.db-*"):
        leftover.unlink()
    replacement = server.folder / "rubbish"
    replacement.write_bytes(b"this is no database " * 1000)
    replacement.rename(database)
    with server.client() as client:
        assert_unavailable(client.get("/profile", headers={"Authorization": f"Bearer {tokens['accessToken']}"}))
        assert_unavailable(client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}))
        assert client.get("/healthz").status_code == 200


def test_a_full_disk_answers_503_and_goes_on_afterwards(server: Server) -> None:
    """A commit that does not fit on the disk gets 503. The old token stays valid and works once there is space."""
    tokens = server.login()
    assert server.process is not None
    unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    with server.client() as client:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, unlimited[1]))
        assert_unavailable(client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}))
        assert_unavailable(client.post("/logout", json={"refreshToken": tokens["refreshToken"]}))
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert client.post("/refresh", json={"refreshToken": tokens["refreshToken"]}).status_code == 200
