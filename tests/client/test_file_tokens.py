"""`FileTokens`: file permissions, files that are refused, and that the client never loses tokens."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest

from handstamp.client import Auth, FileTokens, MemoryTokens, StoredTokens, TokenStore, file_tokens
from handstamp.errors import ConfigurationError, Unavailable
from tests.client.applications import client_with

TOKENS = StoredTokens(
    issuer="https://auth.example.com",
    session_id="session-1",
    access_token="hush.hush.one",
    refresh_token="hush.hush.two",
    expires_in_s=900,
    obtained_at_ms=1_800_000_000_000,
)
OTHERS = msgspec.structs.replace(TOKENS, refresh_token="hush.hush.three")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the token file."""
    return tmp_path / "tokens.json"


@pytest.fixture
def saved_store(path: Path) -> FileTokens:
    """Return a store whose file holds tokens."""
    store = FileTokens(path)
    store.save(TOKENS)
    return store


def test_saved_tokens_are_shared_by_all_stores_of_the_file(store: TokenStore, path: Path) -> None:
    """Every store on one path sees what one of them saves or clears. Clearing is idempotent."""
    assert store.load() is None
    store.save(TOKENS)
    assert store.load() == TOKENS
    if isinstance(store, FileTokens):
        assert FileTokens(path).load() == TOKENS
    store.save(OTHERS)
    assert store.load() == OTHERS
    for _ in range(2):
        store.clear()
        assert store.load() is None


def test_the_file_is_private(saved_store: FileTokens, path: Path) -> None:
    """The token file and the lock file have mode 0600 whatever the umask is; no other file is left behind."""
    before = os.umask(0)
    try:
        saved_store.save(OTHERS)
        with saved_store.locked(1):
            pass
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"tokens.json": 0o600, "tokens.json.lock": 0o600}


def spoil_mode(path: Path) -> None:
    """Make it readable for all users."""
    path.chmod(0o644)


def spoil_group(path: Path) -> None:
    """Make it writable for the group."""
    path.chmod(0o620)


def truncate(path: Path) -> None:
    """Truncate it, as a program that writes in place does when the disk is full."""
    os.truncate(path, 40)


def empty(path: Path) -> None:
    """Make it empty."""
    os.truncate(path, 0)


def garble(path: Path) -> None:
    """Write bytes that are not text."""
    path.write_bytes(b"\xff\xfe{]" * 20_000)


def nest(path: Path) -> None:
    """Write deeply nested JSON."""
    path.write_bytes(b"[" * 60_000)


def inject(path: Path) -> None:
    """Write a token with a line break, which would end a header."""
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(TOKENS, access_token="a\r\nX-Evil: b")))


def link(path: Path) -> None:
    """Replace it with a symbolic link."""
    path.rename(path.with_name("real.json"))
    path.symlink_to("real.json")


def pipe(path: Path) -> None:
    """Replace it with a named pipe, which would block a reader for ever."""
    path.unlink()
    os.mkfifo(path, 0o600)


def folder(path: Path) -> None:
    """Replace it with a folder."""
    path.unlink()
    path.mkdir(0o700)


def listen(path: Path) -> None:
    """Replace it with a socket."""
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_mode, "chmod 600"),
        (spoil_group, "chmod 600"),
        (truncate, "Delete it and sign in again"),
        (empty, "Delete it and sign in again"),
        (garble, "Delete it and sign in again"),
        (nest, "Delete it and sign in again"),
        (inject, "Delete it and sign in again"),
        (link, "symbolic link"),
        (pipe, "not a regular file"),
        (folder, "not a regular file"),
    ],
)
def test_a_damaged_file_is_refused_and_unchanged(
    saved_store: FileTokens, path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    """Every operation raises an error that says what to do. None overwrites the file, and none blocks."""
    spoil(path)
    found = path.lstat()
    auth = Auth(TOKENS.issuer, saved_store)
    with client_with(auth) as application, pytest.raises(ConfigurationError, match=said) as refused:
        application.get("/profile")
    assert str(path) in str(refused.value)
    assert "hush" not in str(refused.value)
    for use in (saved_store.load, lambda: saved_store.save(OTHERS), lambda: auth.sign_in("ada@example.com", "x"), auth.sign_out):
        with pytest.raises(ConfigurationError, match=said):
            use()
    assert (path.lstat().st_ino, path.lstat().st_mtime_ns) == (found.st_ino, found.st_mtime_ns)


def test_a_socket_at_the_path_is_refused(saved_store: FileTokens, path: Path) -> None:
    """A socket in the file's place is refused."""
    listen(path)
    with pytest.raises(Unavailable):
        saved_store.load()


def test_a_file_of_another_user_is_refused(saved_store: FileTokens, path: Path) -> None:
    """A file of another user is refused: that user could plant tokens in it and read ours."""
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
        store = saved_store
    else:
        store = FileTokens("/etc/passwd")
    with pytest.raises(ConfigurationError, match="belongs to user"):
        store.load()
    with pytest.raises(ConfigurationError, match="belongs to user"):
        store.save(OTHERS)


def test_a_lock_file_of_another_user_is_refused(saved_store: FileTokens, path: Path) -> None:
    """A lock file that other users can open is refused, because they could hold the lock for ever."""
    lock = path.with_name("tokens.json.lock")
    lock.touch(0o600)
    lock.chmod(0o666)
    with pytest.raises(ConfigurationError, match=r"tokens\.json\.lock"), saved_store.locked(1):
        pass


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A missing folder raises before a sign-in, because its session could not be saved."""
    auth = Auth("https://auth.example.com", FileTokens(tmp_path / "none" / "tokens.json"))
    with pytest.raises(ConfigurationError, match="make it"):
        auth.sign_in("ada@example.com", "x")


def test_leftovers_of_a_killed_process_are_harmless(saved_store: FileTokens, path: Path) -> None:
    """A temporary file that a killed process left is ignored."""
    path.with_name("tokens.json.new").write_bytes(b"half")
    assert saved_store.load() == TOKENS
    saved_store.save(OTHERS)
    assert saved_store.load() == OTHERS
    assert sorted(file.name for file in path.parent.iterdir()) == ["tokens.json"]


def test_a_full_disk_keeps_the_old_tokens(path: Path) -> None:
    """A failed write keeps the old tokens. A folder at the new file's path stands for any write error."""
    store = FileTokens(path)
    store.save(TOKENS)
    path.with_name("tokens.json.new").mkdir()
    with pytest.raises(Unavailable) as failed:
        store.save(OTHERS)
    assert "cannot be written" in failed.value.why
    assert store.load() == TOKENS


def test_readers_never_see_a_partial_file(path: Path) -> None:
    """Readers see the old or the new tokens, never a part, while a writer replaces the file."""
    store = FileTokens(path)
    store.save(TOKENS)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.save(OTHERS)
            store.save(TOKENS)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert {store.load() for _ in range(500)} <= {TOKENS, OTHERS}
    finally:
        stop.set()
        writer.join()


def test_the_lock_is_exclusive(store: TokenStore) -> None:
    """One thread has the lock at a time, and waiting for it times out."""
    inside = 0
    most = 0

    def enter(_: int) -> None:
        nonlocal inside, most
        with store.locked(10):
            inside += 1
            most = max(most, inside)
            time.sleep(0.002)
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(24)))
    assert most == 1
    with store.locked(1):
        began = time.monotonic()
        with pytest.raises(Unavailable), store.locked(0.1):
            pass
        assert 0.1 <= time.monotonic() - began < 10


def test_a_lock_that_fails_inside_is_released(store: TokenStore) -> None:
    """An exception inside the block releases the lock."""
    with pytest.raises(ZeroDivisionError), store.locked(1):
        raise ZeroDivisionError
    with store.locked(0.1):
        pass


def test_a_lock_is_released_although_a_child_shares_the_descriptor(saved_store: FileTokens) -> None:
    """Leaving the block unlocks, even if a process that a C library forked still has the descriptor open."""
    with saved_store.locked(1):
        copies = [os.dup(descriptor) for descriptor in file_tokens._held]
    try:
        assert copies
        with saved_store.locked(0.1):
            pass
    finally:
        for copy in copies:
            os.close(copy)


def test_a_deleted_lock_file_does_not_break_exclusion(saved_store: FileTokens, path: Path) -> None:
    """A waiter whose lock file was deleted notices it and waits for the new file's lock."""
    lock = path.with_name("tokens.json.lock")
    second_is_in = threading.Event()

    def enter() -> None:
        with saved_store.locked(10):
            second_is_in.set()

    waiting = threading.Thread(target=enter)
    with saved_store.locked(1):
        waiting.start()
        time.sleep(0.1)
        lock.unlink()
        third = FileTokens(path).locked(1)
        third.__enter__()
    assert not second_is_in.wait(0.2)
    third.__exit__(None, None, None)
    waiting.join(10)
    assert second_is_in.is_set()


def test_nothing_shows_a_secret(saved_store: FileTokens) -> None:
    """`repr` shows session ids and paths, never a token."""
    memory = MemoryTokens()
    memory.save(TOKENS)
    auth = Auth(TOKENS.issuer, saved_store, http=httpx.Client)
    shown = " ".join(map(repr, (TOKENS, saved_store, memory, auth, [TOKENS], {"tokens": TOKENS}))) + str(TOKENS) + f"{auth}"
    assert "hush" not in shown
    assert "session-1" in shown
    assert TOKENS.issuer in repr(auth)
