"""Tests of starting `handstamp serve`: what the first start creates, what later starts keep, and what is refused."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from handstamp.config.loading import load
from handstamp.config.secret_file import load_master_secret
from handstamp.crypto.seal import MasterSecret
from handstamp.storage.migrations import load_migrations
from tests.commands import run_command
from tests.integration.helpers import profile, refresh, run_server, running, set_cookies, sign_in, sign_in_new_user, sign_up
from tests.serving import PASSWORD, ColdServer, Server

SECRET = "kJ8v_Zq3Wm1xT7yB4nR0pL6sD9fG2hCa"


def mode_of(file: Path) -> int:
    """Return a file's permission bits."""
    return stat.S_IMODE(file.stat().st_mode)


def fetch_one(database: Path, query: str) -> object:
    """Return the single value that a query selects."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (value,) = connection.execute(query).fetchone()
        return value


@pytest.fixture
def initialised_folder(tmp_path: Path) -> Path:
    """Return a folder in which the service has created its database, secret and key."""
    with run_server(tmp_path):
        pass
    result = run_command(tmp_path, "users", "create", "ada@example.com", "--password-stdin", stdin=PASSWORD)
    assert result.returncode == 0, result.stderr
    return tmp_path


# --- what a start creates and keeps


def test_a_first_start_creates_all_files(tmp_path: Path) -> None:
    """The first start in an empty folder creates the secret, the schema and a key. Only the owner can read the files."""
    with running(ColdServer(tmp_path)) as server, server.client() as client:
        for name in ("handstamp.secret", "handstamp.db"):
            assert mode_of(tmp_path / name) == 0o600, name
        for file in tmp_path.glob("handstamp.db-*"):
            assert mode_of(file) == 0o600, file
        assert len((tmp_path / "handstamp.secret").read_text().strip()) >= 43
        assert {file.name for file in tmp_path.iterdir()} - {"server.log"} <= {
            *("handstamp.secret", "handstamp.db", "handstamp.db-wal", "handstamp.db-shm"),
        }
        assert fetch_one(tmp_path / "handstamp.db", "SELECT max(version) FROM schema_migration") == len(load_migrations("sqlite"))
        assert len(client.get("/.well-known/jwks.json").json()["keys"]) == 1


def test_a_start_prints_url_and_example(tmp_path: Path) -> None:
    """The greeting names the URL, the database and a first request. The printed lines work unchanged in a shell."""
    with run_server(tmp_path) as server, server.client() as client:
        greeting = server.log.read_text()
        for words in (server.url, f"127.0.0.1:{server.port}", str(tmp_path / "handstamp.db"), f"{server.url}/docs", "Ctrl-C"):
            assert words in greeting
        lines = "\n".join(re.findall(r"^ *((?:password=|curl ).*)$", greeting, re.MULTILINE))
        ran = subprocess.run(["bash", "-eu", "-c", lines], capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(ran.stdout)["user"]["email"] == "ada@example.com"
        assert client.get("/docs").status_code == 200
        assert (tmp_path / "handstamp.secret").read_text().strip() not in greeting


def test_a_second_start_keeps_everything(tmp_path: Path) -> None:
    """The secret, the key, accounts and sessions survive a restart. Earlier tokens stay valid and can be refreshed."""
    with running(ColdServer(tmp_path)) as server, server.client() as client:
        ada = sign_in_new_user(client)
        secret = (tmp_path / "handstamp.secret").read_bytes()
        keys = client.get("/.well-known/jwks.json").json()
        server.kill(signal.SIGTERM)
        server.start()
        assert (tmp_path / "handstamp.secret").read_bytes() == secret
        assert client.get("/.well-known/jwks.json").json() == keys
        assert profile(client, ada).status_code == 200
        assert profile(client, ada.after(refresh(client, ada))).status_code == 200
        sign_in(client, ada.email)


def test_concurrent_starts_agree(tmp_path: Path) -> None:
    """Processes that start at the same moment in one new folder share one secret, one schema and one key.

    They accept each other's sessions.
    """
    servers = [Server(tmp_path, ISSUER="http://localhost:8000") for _ in range(2)]
    try:
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(Server.start, servers))
        with servers[0].client() as one, servers[1].client() as other:
            assert one.get("/.well-known/jwks.json").json() == other.get("/.well-known/jwks.json").json()
            ada = sign_in_new_user(one)
            assert profile(other, ada).status_code == 200
            assert refresh(other, ada).status_code == 200
        assert fetch_one(tmp_path / "handstamp.db", "SELECT count(*) FROM signing_key") == 1
        assert fetch_one(tmp_path / "handstamp.db", "SELECT max(version) FROM schema_migration") == len(load_migrations("sqlite"))
        assert [file.name for file in tmp_path.glob("*secret*")] == ["handstamp.secret"]
    finally:
        for server in servers:
            server.kill()


@pytest.mark.slow
def test_several_workers_serve_one_deployment(tmp_path: Path) -> None:
    """The processes of `--workers 2` share the secret, the key and the sessions. All of them stop with the first."""
    with running(ColdServer(tmp_path, "--workers", "2")) as server, server.client() as client:
        ada = sign_in_new_user(client)
        assert {profile(client, ada).status_code for _ in range(20)} == {200}
        assert fetch_one(tmp_path / "handstamp.db", "SELECT count(*) FROM signing_key") == 1
        server.kill(signal.SIGTERM)
        with pytest.raises(httpx.TransportError):
            client.get("/healthz")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_stopping_is_clean(tmp_path: Path, stop: signal.Signals) -> None:
    """A stop releases the port, closes the database with all data written, and causes no traceback."""
    with running(ColdServer(tmp_path)) as server, server.client() as client:
        email = sign_up(client)
        status = server.kill(stop)
        assert status in (0, -stop, 128 + stop)
        assert "Traceback" not in server.log.read_text()
        assert not (tmp_path / "handstamp.db-wal").exists()
        assert fetch_one(tmp_path / "handstamp.db", "SELECT email FROM account") == email
        with socket.create_server(("127.0.0.1", server.port)):
            pass


def test_the_secret_may_come_from_environment_or_file(tmp_path: Path) -> None:
    """The secret may come from `HANDSTAMP_SECRET` or from a named file; then no secret file is created.

    The same secret given either way opens the same database.
    """
    file = tmp_path / "elsewhere" / "secret"
    file.parent.mkdir()
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    create = ("users", "create", "ada@example.com", "--password-stdin")
    assert run_command(tmp_path, *create, stdin=PASSWORD, SECRET=SECRET).returncode == 0
    assert not (tmp_path / "handstamp.secret").exists()
    assert run_command(tmp_path, "keys", "list", SECRET_FILE=str(file)).returncode == 0
    assert run_command(tmp_path, "keys", "list", SECRET_FILE="elsewhere/secret").returncode == 0


# --- what a start refuses


def require_refusal(folder: Path, *options: str, **settings: str) -> str:
    """Return the messages with which `serve` refuses to start.

    Check that it exits with status 2, with nothing on standard output and no traceback.
    """
    arguments = options if "--port" in options else ("--port", "0", *options)
    result = run_command(folder, "serve", *arguments, **settings)
    assert (result.returncode, result.stdout) == (2, ""), result
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    assert lines
    assert all(line.startswith("handstamp: ") for line in lines), result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        ((), {"ISSUER": "http://auth.example.com"}, ["HANDSTAMP_ISSUER", "https off loopback"]),
        (("--issuer", "http://auth.example.com"), {}, ["HANDSTAMP_ISSUER", "https off loopback"]),
        (("--host", "0.0.0.0"), {}, ["0.0.0.0", "--issuer"]),
        (("--host", "::"), {}, ["--issuer"]),
        (("--host", "0.0.0.0", "--issuer", "http://localhost:8000"), {}, ["http://localhost:8000", "--tls-cert"]),
        (("--host", "203.0.113.77", "--issuer", "https://auth.example.com"), {}, ["203.0.113.77"]),
        (("--host", "no.such.host.invalid", "--issuer", "https://auth.example.com"), {}, ["no.such.host.invalid"]),
        ((), {"SECRET": "short"}, ["too weak", "32", "python3 -c"]),
        ((), {"SECRET": "a" * 64}, ["too weak", "random"]),
        ((), {"SECRET": SECRET, "SECRET_FILE": "handstamp.secret"}, ["HANDSTAMP_SECRET", "HANDSTAMP_SECRET_FILE", "keep one"]),
        ((), {"DATABSE": "sqlite:///x.db"}, ["HANDSTAMP_DATABSE", "Did you mean HANDSTAMP_DATABASE?"]),
        ((), {"DATABASE": "sqlite:///missing/handstamp.db"}, ["missing"]),
        (("--database", "sqlite:///missing/handstamp.db"), {"SECRET": SECRET}, ["missing/handstamp.db"]),
        ((), {"DATABASE": "sqlite:////dev/null/handstamp.db"}, ["/dev/null"]),
        (("--database", "sqlite:////dev/null/handstamp.db"), {"SECRET": SECRET}, ["/dev/null/handstamp.db"]),
        ((), {"DATABASE": "sqlite:///."}, ["HANDSTAMP_DATABASE", "sqlite:///"]),
        ((), {"DATABASE": "postgresql://db/handstamp"}, ["HANDSTAMP_DATABASE", "sslmode=verify-full"]),
        ((), {"SECRET_FILE": "/dev/null/secret"}, ["/dev/null/secret"]),
        ((), {"SECRET_FILE": "/"}, ["secret file /"]),
        (("--tls-cert", "cert.pem"), {}, ["--tls-key"]),
        (("--tls-key", "key.pem"), {}, ["--tls-cert"]),
        (("--tls-cert", "cert.pem", "--tls-key", "key.pem"), {}, ["cert.pem", "key.pem"]),
        ((), {"ALGORITHM": "none", "ACCESS_LIFETIME": "forever"}, ["HANDSTAMP_ALGORITHM", "HANDSTAMP_ACCESS_LIFETIME"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else " ".join(value)[:40],
)
def test_an_unsafe_start_is_refused(options: tuple[str, ...], settings: dict[str, str], words: list[str], tmp_path: Path) -> None:
    """An unsafe start is refused with a message that names the problem and the fix.

    It shows no secret and creates no database.
    """
    said = require_refusal(tmp_path, *options, **settings)
    for word in words:
        assert word in said
    assert SECRET not in said
    assert not (tmp_path / "handstamp.db").exists()


def test_a_port_in_use_is_explained(tmp_path: Path) -> None:
    """A port in use is reported together with `--port`, before the start creates any file."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = require_refusal(tmp_path, "--port", port)
    assert f"127.0.0.1:{port}" in said
    assert "--port" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o620, 0o666])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """A secret file that others can read or write is refused. The message names the `chmod` command that fixes it (R32)."""
    file = tmp_path / "my.secret"
    file.write_text(SECRET)
    file.chmod(mode)
    said = require_refusal(tmp_path, SECRET_FILE=str(file))
    assert f"chmod 600 {file}" in said
    assert SECRET not in said


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o640])
def test_a_secret_that_its_group_can_read_is_taken(tmp_path: Path, mode: int) -> None:
    """A secret file that its group can read is accepted. Kubernetes mounts secrets in this way."""
    file = tmp_path / "my.secret"
    file.write_bytes(b"\xef\xbb\xbf" + SECRET.encode())  # an editor's byte order mark is ignored
    file.chmod(mode)
    assert load_master_secret(load({}, secret_file=file)).derive("x") == MasterSecret(SECRET.encode()).derive("x")


def test_leftovers_of_a_killed_start_are_harmless(tmp_path: Path) -> None:
    """A temporary secret file left by a killed start does not stop the next.

    In a container every start can have the same process id.
    """
    (tmp_path / f"handstamp.secret.{os.getpid()}").touch()
    load_master_secret(load({}, database=f"sqlite:///{tmp_path}/handstamp.db"))
    assert (tmp_path / "handstamp.secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short\n", b"a" * 64, b"\xff" * 64], ids=["empty", "blank", "short", "same", "bytes"]
)
def test_a_secret_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty, truncated or weak secret file is refused and left unchanged."""
    file = tmp_path / "handstamp.secret"
    file.write_bytes(content)
    file.chmod(0o600)
    require_refusal(tmp_path)
    assert file.read_bytes() == content


def test_a_lost_secret_is_not_replaced(initialised_folder: Path) -> None:
    """A start without the old secret is refused. A new secret would invalidate every session without notice."""
    secret = initialised_folder / "handstamp.secret"
    kept = secret.read_bytes()
    secret.unlink()
    said = require_refusal(initialised_folder)
    for words in ("handstamp.secret", "backup", "HANDSTAMP_SECRET"):
        assert words in said
    assert not secret.exists()
    secret.write_bytes(kept)
    secret.chmod(0o600)
    assert run_command(initialised_folder, "keys", "list").returncode == 0


def test_another_databases_secret_is_refused(initialised_folder: Path) -> None:
    """A secret that does not open the keys is refused, and the keys stay unchanged."""
    before = fetch_one(initialised_folder / "handstamp.db", "SELECT group_concat(kid) FROM signing_key")
    said = require_refusal(initialised_folder, SECRET=SECRET)
    assert "HANDSTAMP_SECRET" in said
    assert fetch_one(initialised_folder / "handstamp.db", "SELECT group_concat(kid) FROM signing_key") == before


@pytest.mark.parametrize(
    "content", [b"not a database at all\n" * 300, b"SQLite format 3\x00" + b"\x00" * 5000], ids=["text", "torn"]
)
def test_a_file_that_is_not_a_database_is_unchanged(tmp_path: Path, content: bytes) -> None:
    """A file that is not a SQLite database is refused and left unchanged."""
    file = tmp_path / "notes.db"
    file.write_bytes(content)
    said = require_refusal(tmp_path, "--database", f"sqlite:///{file}", SECRET=SECRET)
    assert "notes.db" in said
    assert file.read_bytes() == content


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_another_programs_database_is_unchanged(tmp_path: Path, journal: str) -> None:
    """A SQLite file with another program's tables is refused by name and left unchanged."""
    file = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE customer (name TEXT)")
        connection.execute("INSERT INTO customer VALUES ('Ada')")
    content = file.read_bytes()
    said = require_refusal(tmp_path, "--database", f"sqlite:///{file}", SECRET=SECRET)
    assert "another program" in said
    assert "HANDSTAMP_DATABASE" in said
    assert file.read_bytes() == content
    assert fetch_one(file, "SELECT group_concat(name) FROM sqlite_schema") == "customer"


def test_a_database_of_a_newer_handstamp_is_refused(initialised_folder: Path) -> None:
    """A schema of a newer version is refused, so that a downgrade does not write into it."""
    with contextlib.closing(sqlite3.connect(initialised_folder / "handstamp.db")) as connection, connection:
        connection.execute("INSERT INTO schema_migration VALUES (999, 'from the future', 'x')")
    assert "999" in require_refusal(initialised_folder)


def test_a_schema_with_another_history_is_refused(initialised_folder: Path) -> None:
    """A migration whose checksum differs from the applied one is refused at start."""
    with contextlib.closing(sqlite3.connect(initialised_folder / "handstamp.db")) as connection, connection:
        connection.execute("UPDATE schema_migration SET checksum = 'x' WHERE version = 1")
    assert "Migration 1" in require_refusal(initialised_folder)


def test_a_damaged_key_is_explained(initialised_folder: Path) -> None:
    """A damaged key row stops the start with a message and without a traceback."""
    for damage in ("substr(sealed, 1, 20)", "x''", "x'00'"):
        with contextlib.closing(sqlite3.connect(initialised_folder / "handstamp.db")) as connection, connection:
            connection.execute(f"UPDATE signing_key SET sealed = {damage}")
        require_refusal(initialised_folder)


def test_a_logo_that_is_none_is_refused_before_workers_start(tmp_path: Path) -> None:
    """The message names the file, and no worker prints a traceback."""
    (tmp_path / "logo.svg").write_text("<script>alert(1)</script>")
    said = require_refusal(tmp_path, "--workers", "2", BRAND_LOGO="logo.svg")
    assert "HANDSTAMP_BRAND_LOGO: the file logo.svg cannot be used" in said


# --- TLS


def create_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Create a self-signed certificate for localhost; return the certificate file and the key file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(tz=datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


class TlsServer(Server):
    """A server whose clients trust exactly its own certificate."""

    def client(self, **options: Any) -> httpx.Client:
        """Return a client that trusts only this server's certificate."""
        cert = self.options[self.options.index("--tls-cert") + 1]
        return super().client(**{"verify": ssl.create_default_context(cafile=cert)} | options)


def test_tls_makes_the_issuer_https(tmp_path: Path) -> None:
    """With a certificate the issuer is https, cookies are `__Host-` and `Secure`, and answers carry HSTS."""
    cert, key = create_certificate(tmp_path, "own")
    server = TlsServer(tmp_path, "--tls-cert", str(cert), "--tls-key", str(key))
    try:
        issuer = f"https://localhost:{server.port}"
        with server.start().client() as client:
            email = sign_up(client)
            ada = sign_in(client, email, delivery="cookie", origin=issuer)
            assert profile(client, ada).status_code == 200
            renewal = refresh(client, ada)
            assert renewal.status_code == 200
            cookies = set_cookies(renewal)
            assert cookies.keys() == {"__Host-handstamp-access", "__Host-handstamp-refresh"}
            for cookie in cookies.values():
                assert cookie.attributes.keys() >= {"secure", "httponly", "samesite", "path"}
                assert cookie.attributes["path"] == "/"
                assert "domain" not in cookie.attributes
            assert "max-age=" in renewal.headers["strict-transport-security"]
        assert issuer in server.log.read_text()
        with server.client() as plain, pytest.raises(httpx.TransportError):
            plain.get(f"http://localhost:{server.port}/healthz")
    finally:
        server.kill()


def test_tls_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """TLS files that do not match, invalid TLS files and an http issuer with TLS stop the start with a message."""
    (cert, key), (_, others) = create_certificate(tmp_path, "own"), create_certificate(tmp_path, "other")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    for a_cert, a_key in ((cert, others), (garbage, key), (cert, garbage), (cert, tmp_path), (cert, tmp_path / "missing")):
        said = require_refusal(tmp_path, "--tls-cert", str(a_cert), "--tls-key", str(a_key))
        assert str(a_cert) in said
        assert str(a_key) in said
    both = ("--tls-cert", str(cert), "--tls-key", str(key))
    assert "https issuer" in require_refusal(tmp_path, *both, "--issuer", "http://localhost:8000")
    assert not (tmp_path / "handstamp.db").exists()
