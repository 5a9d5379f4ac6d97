"""`handstamp doctor` beside the service: each mistake has its sentence, and nothing is changed."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from handstamp.clock import now_ms
from handstamp.config.loading import load
from handstamp.doctor import inside
from handstamp.doctor.inside import _satisfies, examine_here
from handstamp.doctor.inside_rules import RULES
from handstamp.domain.policy import DAY_MS
from tests.certificates import build_command
from tests.commands import run_command
from tests.postgres import fresh_database
from tests.serving import Server, free_port

pytestmark = pytest.mark.xdist_group("doctor-inside")
SECRET = "0123456789abcdef" * 4
USUAL = {
    "ISSUER": "https://auth.example.com",
    "TRUSTED_PROXIES": "127.0.0.1",
    "SMTP_URL": "",
}
FOUND: set[str] = set()
"""The rules that the tests of this file have seen at work."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the folder of a service that has run."""
    server = Server(tmp_path)
    server.start()
    server.kill()
    return tmp_path


def found(folder: Path, *options: str, **settings: str) -> dict[str, dict[str, Any]]:
    """Run the doctor in a folder, and return the findings by their ids."""
    ran = run_command(folder, "doctor", "--json", *options, **{**USUAL, **settings})
    findings = {each["id"]: each for each in json.loads(ran.stdout)["findings"]}
    assert ran.returncode == any(each["severity"] == "error" for each in findings.values())
    FOUND.update(findings)
    return findings


def dump(folder: Path) -> list[str]:
    """Return all rows."""
    with closing(sqlite3.connect(folder / "handstamp.db")) as connection:
        return list(connection.iterdump())


def test_nothing_is_wrong(home: Path) -> None:
    """A service that has run and has no mail server. The database is the same afterwards."""
    before = dump(home)
    assert set(found(home)) == {"no_mail"}
    assert dump(home) == before


def test_settings(home: Path) -> None:
    """All that are wrong are named at once. Those that work, and are not what people want, are warnings."""
    ran = run_command(home, "doctor", "--json", PORT="x", WORKERS="0")
    assert {each["id"] for each in json.loads(ran.stdout)["findings"]} == {"settings"}
    assert all(name in ran.stdout for name in ("HANDSTAMP_PORT", "HANDSTAMP_WORKERS"))
    FOUND.add("settings")
    assert "no_issuer" in found(home, ISSUER="")
    assert "proxies_unset" in found(home, TRUSTED_PROXIES="")


def test_a_folder_without_a_database(tmp_path: Path) -> None:
    """It is no error, and none is made."""
    assert set(found(tmp_path)) == {"no_database", "no_mail"}
    assert list(tmp_path.iterdir()) == []


def test_the_secret(home: Path) -> None:
    """It is missing, others can read it, or it is another one."""
    secret = home / "handstamp.secret"
    secret.chmod(0o644)
    assert "chmod 600" in found(home)["secret"]["wrong"]
    secret.chmod(0o600)
    assert "database" in found(home, SECRET=SECRET)
    secret.unlink()
    assert "secret" in found(home)
    assert not secret.exists()


def test_the_database(home: Path) -> None:
    """It is another program's, of an older version, readable by others, or no database."""
    database = home / "handstamp.db"
    database.chmod(0o604)
    assert "chmod o-r" in found(home)["readable"]["mend"]
    database.chmod(0o600)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("DELETE FROM schema_migration")
    assert "handstamp migrate" in found(home)["schema_behind"]["mend"]
    database.write_bytes(b"not a database" * 100)
    for log in home.glob("handstamp.db-*"):
        log.unlink()
    assert "database" in found(home)


def test_a_full_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named while there is still room for the sign-ins of some hours."""
    monkeypatch.setattr(inside, "LOW_MIB", 2**40)
    monkeypatch.chdir(home)
    assert "disk_low" in {finding.id for finding in examine_here().findings}
    FOUND.add("disk_low")


def test_the_certificate(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for another name, not with this key, about to end, or has ended."""
    chain, key, other = (home / name for name in ("chain.pem", "key.pem", "other.pem"))

    def make(days: int) -> None:
        command = build_command(chain, key, name="auth.example.com")
        command[command.index("-days") + 1] = str(days)
        subprocess.run(command, check=True, capture_output=True)

    files = {"TLS_CERT": str(chain), "TLS_KEY": str(key)}
    make(90)
    assert set(found(home, **files)) == {"no_mail"}
    assert "tls_name" in found(home, **files, ISSUER="https://login.example.com")
    subprocess.run(["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-out", str(other)], check=True, capture_output=True)
    assert "tls" in found(home, **files | {"TLS_KEY": str(other)})
    make(5)
    assert "tls_ends_soon" in found(home, **files)
    monkeypatch.setattr(inside, "now_ms", lambda: now_ms() + 7 * DAY_MS)
    assert "tls_ends" in found(home, **files)


def test_the_mail_server(home: Path) -> None:
    """Nothing listens there: the step and the remedy are those of `handstamp mail test`."""
    mail = found(home, SMTP_URL=f"smtp://localhost:{free_port()}", MAIL_FROM="auth@example.com")["mail"]
    assert "step connect" in mail["wrong"]
    assert "HANDSTAMP_SMTP_URL" in mail["mend"]


def test_versions(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is older than the one that is declared."""
    assert _satisfies("50.0.2", ">=50")
    assert not _satisfies("49.1", ">=50")
    assert not _satisfies("0.29.0", "<0.29")
    assert _satisfies("1.2", "!=1.3")
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.1" if name == "starlette" else real(name))
    monkeypatch.chdir(home)
    (finding,) = (finding for finding in examine_here().findings if finding.id == "versions")
    assert finding.wrong.startswith("starlette 0.0.1 is installed")
    FOUND.add("versions")


@pytest.mark.anyio
async def test_the_keys_and_the_clock(postgres_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new database has no key before the first start. A clock that differs from the database's is named."""
    monkeypatch.setattr(inside, "now_ms", lambda: now_ms() + 3_600_000)
    async with fresh_database(postgres_server) as url:
        report = await inside._examine(load({}, database=url, issuer=USUAL["ISSUER"], secret=SECRET), [])
    findings = {finding.id: finding for finding in report.findings}
    assert set(findings) == {"clock_off", "part", "no_mail"}
    ahead = re.search(r"clock is (\d+) s ahead of the database's", findings["clock_off"].wrong)
    assert ahead is not None
    assert 3500 <= int(ahead[1]) <= 3600, "the database is asked a moment later"
    assert findings["part"].wrong.startswith("keys: ")
    FOUND.update(findings)


def test_each_rule_was_seen() -> None:
    """No sentence is without a test: those before this one have found all."""
    if len(FOUND) > 1:  # not if this test runs alone
        assert set(RULES) == FOUND
