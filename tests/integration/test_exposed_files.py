"""Files that others on this machine can read or change: the database, its folder, the settings, and the key for TLS."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from handstamp.assemble.deployment import Deployment
from handstamp.config.loading import load
from handstamp.config.private_files import require_database
from handstamp.errors import ConfigurationError
from tests import certificates
from tests.commands import refusal_of, run_command
from tests.deployment import settings_in

SECRET = "0123456789abcdef" * 4
OTHER_GROUP = 12345


@contextmanager
def foreign(file: Path, *, user: int = -1, group: int = -1) -> Iterator[None]:
    """Give a file to another user or group, which only root can do."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(file, user, group)
    yield


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return a database that the service has made, with the log that a killed service leaves behind."""

    async def serve() -> bytes:
        running = Deployment(settings_in(tmp_path))
        async with running.open():
            await running.housekeeping.prepare()
            for name in ("handstamp.db", "handstamp.db-wal", "handstamp.db-shm"):
                assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
            return (tmp_path / "handstamp.db-wal").read_bytes()

    (tmp_path / "handstamp.db-wal").write_bytes(asyncio.run(serve()))
    (tmp_path / "handstamp.db-wal").chmod(0o600)
    return tmp_path / "handstamp.db"


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("mode", [0o602, 0o622, 0o666, 0o606])
@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("users", "list"), ("migrate",)], ids=lambda words: words[0])
def test_a_database_that_others_can_change_is_refused(database: Path, suffix: str, mode: int, command: tuple[str, ...]) -> None:
    """They could give themselves roles. The message names the command that mends it."""
    file = database.with_name(database.name + suffix)
    file.chmod(mode)
    said = refusal_of(run_command(database.parent, *command), 2)
    assert f"chmod go-w {file}" in said


def test_a_database_that_others_can_read_is_used_with_a_warning(database: Path) -> None:
    """It holds addresses, but nothing with which one could sign in."""
    for mode, warns in ((0o644, True), (0o640, False), (0o600, False)):
        database.chmod(mode)
        listed = run_command(database.parent, "users", "list")
        assert listed.returncode == 0
        assert ("file_readable_by_others" in listed.stderr and f"chmod o-r {database}" in listed.stderr) == warns


@pytest.mark.parametrize("mode", [0o777, 0o703, 0o707])
def test_a_folder_in_which_others_can_replace_files_is_refused(tmp_path: Path, mode: int) -> None:
    """Before anything is created in it."""
    (folder := tmp_path / "data").mkdir()
    folder.chmod(mode)
    said = refusal_of(run_command(tmp_path, "serve", "--port", "0", DATABASE=f"sqlite:///{folder}/handstamp.db"), 2)
    assert f"chmod go-w {folder}" in said
    assert list(folder.iterdir()) == []


def test_a_group_of_ones_own_may_write(tmp_path: Path) -> None:
    """Many systems give each user a group, and let it write: umask 002. Another group may not."""
    (folder := tmp_path / "data").mkdir()
    file = folder / "handstamp.db"
    file.touch()
    for path in (folder, file):
        path.chmod(0o770)
        require_database(file)
        with foreign(path, group=OTHER_GROUP), pytest.raises(ConfigurationError, match="chmod go-w"):
            require_database(file)
        path.chmod(0o750)
        require_database(file)


def test_a_file_of_a_stranger_in_a_shared_folder_is_refused(tmp_path: Path) -> None:
    """In a folder such as /tmp a stranger may have created the database, or the settings, before us."""
    (shared := tmp_path / "shared").mkdir()
    shared.chmod(0o1777)
    file = shared / "handstamp.db"
    file.touch(mode=0o600)
    require_database(file)
    with foreign(file, user=OTHER_GROUP), pytest.raises(ConfigurationError, match="another user"):
        require_database(file)


def test_a_link_is_followed(tmp_path: Path) -> None:
    """What counts is the file that is used."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "real" / "handstamp.db").touch()
    (tmp_path / "real" / "handstamp.db").chmod(0o666)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "handstamp.db")
    with pytest.raises(ConfigurationError, match=r"real/handstamp\.db"):
        require_database(tmp_path / "link")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(ConfigurationError, match="circle"):
        require_database(tmp_path / "circle")


# --- handstamp.toml


@pytest.mark.parametrize(
    ("content", "mode", "is_allowed"),
    [
        ('issuer = "https://auth.example.com"', 0o644, True),
        ('issuer = "https://auth.example.com"', 0o664, True),
        ('issuer = "https://auth.example.com"', 0o666, False),
        (f'secret = "{SECRET}"', 0o600, True),
        (f'secret = "{SECRET}"', 0o640, True),
        (f'secret = "{SECRET}"', 0o644, False),
        (f'secret = "{SECRET}"', 0o660, False),
        (f'previous_secrets = "{SECRET}"', 0o604, False),
        ('database = "postgresql://me:word@localhost/x"', 0o644, False),
        ('database = "postgresql://localhost/x?user=me&password=word"', 0o644, False),
        ('database = "postgresql://me@localhost/x"', 0o644, True),
    ],
)
def test_settings_that_others_can_change_or_secrets_that_they_can_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, mode: int, is_allowed: bool
) -> None:
    """Whoever can change the settings decides which pages are trusted."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handstamp.toml").write_text(content)
    (tmp_path / "handstamp.toml").chmod(mode)
    if is_allowed:
        load({})
        return
    with pytest.raises(ConfigurationError, match=r"chmod .*handstamp\.toml") as refused:
        load({})
    assert SECRET not in str(refused.value)
    assert "word" not in str(refused.value)


# --- the key for TLS


@pytest.mark.parametrize("mode", [0o602, 0o666])
def test_a_key_for_tls_that_others_can_change_is_refused(tmp_path: Path, mode: int) -> None:
    """They could take the connections over."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(certificates.build_command(cert, key), check=True, capture_output=True)
    key.chmod(mode)
    arguments = ("serve", "--port", "0", "--tls-cert", str(cert), "--tls-key", str(key))
    said = refusal_of(run_command(tmp_path, *arguments, ISSUER="https://localhost:1"), 2)
    assert f"chmod go-w {key}" in said
