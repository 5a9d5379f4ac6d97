"""Run the real service as a process, and clients over real sockets."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import msgspec

_EMAIL = "ada@example.com"
_PASSWORD = "kelp lantern rivet 41 of the bench"  # noqa: S105 - of a test account
_SECRET = "0123456789abcdef" * 4
_PATIENCE_S = 60.0
NO_LIMITS = {"HANDSTAMP_PEOPLE_PER_NETWORK": "10000000"}
"""A few clients on one machine stand for everybody."""


class Service:
    """`handstamp serve` on a free port, with its database and secret in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 1,
        database: str = "",
        issuer: str = "",
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Keep the folder, the database URL, the issuer and other environment variables. Nothing is started yet."""
        self._folder = folder
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.database = folder / "handstamp.db"
        self._settings = {"HANDSTAMP_ISSUER": issuer or self.url, "HANDSTAMP_ACCESS_LIFETIME": "1h", **NO_LIMITS, **settings}
        if database:
            self._settings |= {"HANDSTAMP_DATABASE": database, "HANDSTAMP_SECRET": _SECRET}

    def __enter__(self) -> Self:
        """Start the service."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Kill the service."""
        self.kill()

    def start(self) -> None:
        """Start on the previous port, if there was one; return once it answers."""
        log = self._folder / "server.log"
        with log.open("ab") as written:
            self._process = subprocess.Popen(
                _command("serve", "--port", str(self.port), "--workers", str(self._workers)),
                cwd=self._folder,
                env=self._environment(),
                stdout=written,
                stderr=written,
                start_new_session=True,
            )
        deadline = time.monotonic() + _PATIENCE_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"handstamp serve did not start:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it and its workers, as a power cut would."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def resident_bytes(self) -> int:
        """Return the resident memory of it and its workers in bytes (Linux)."""
        pages = sum(int((process / "statm").read_text(encoding="ascii").split()[1]) for process in self._processes())
        return pages * os.sysconf("SC_PAGE_SIZE")

    def processor_s(self) -> float:
        """Return the processor seconds of it and its workers (Linux)."""
        fields = [(process / "stat").read_text(encoding="ascii").rpartition(")")[2].split() for process in self._processes()]
        return sum(int(ticks) for each in fields for ticks in each[11:13]) / os.sysconf("SC_CLK_TCK")

    def thread_s(self) -> float:
        """Return the processor seconds of its living threads (Linux). `processor_s` counts in hundredths."""
        threads = [thread for process in self._processes() for thread in (process / "task").iterdir()]
        return sum(int((one / "schedstat").read_text(encoding="ascii").split()[0]) for one in threads) / 1e9

    def had_core(self) -> float:
        """Return how much of the time its runnable main thread had a core: 1 on a quiet machine (Linux)."""
        times = [(one / "schedstat").read_text(encoding="ascii").split() for one in self._processes()]
        ran_ns, waited_ns = sum(int(each[0]) for each in times), sum(int(each[1]) for each in times)
        return ran_ns / (ran_ns + waited_ns)

    def open_files(self) -> int:
        """Return the number of open files of it and its workers, mostly connections (Linux)."""
        return sum(len(os.listdir(process / "fd")) for process in self._processes())  # noqa: PTH208 - only counted

    def _processes(self) -> list[Path]:
        if self._process is None:
            return []
        own = Path(f"/proc/{self._process.pid}")
        children = (own / "task" / own.name / "children").read_text(encoding="ascii").split()
        return [own, *(Path(f"/proc/{child}") for child in children)]

    def migrate(self) -> None:
        """Create the tables, in a database where the service does not."""
        subprocess.run(_command("migrate"), cwd=self._folder, env=self._environment(), capture_output=True, check=True)

    def credential(self, name: str) -> str:
        """Create a credential for a service that verifies tokens."""
        made = subprocess.run(
            _command("clients", "create", name, "--json"),
            cwd=self._folder,
            env=self._environment(),
            capture_output=True,
            check=True,
        )
        credential: str = msgspec.json.decode(made.stdout)["credential"]
        return credential

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Yield a client on a kept-open connection."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=_PATIENCE_S)
        try:
            yield Client(connection)
        finally:
            connection.close()

    def _is_ready(self) -> bool:
        try:
            with self.client() as client:
                return client.ask("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HANDSTAMP_")}
        return clean | self._settings


class Client:
    """A client that signs in, refreshes and signs out."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        """Keep the connection."""
        self._connection = connection

    def ask(self, method: str, path: str, *, body: object = None, token: str = "", proof: str = "") -> tuple[int, bytes]:
        """Send a request, with a DPoP proof if there is one, and return status and body."""
        headers = {"content-type": "application/json"} if body is not None else {}
        if token:
            headers["authorization"] = f"Bearer {token}"
        if proof:
            headers["dpop"] = proof
        self._connection.request(method, path, body=None if body is None else msgspec.json.encode(body), headers=headers)
        with self._connection.getresponse() as response:
            return response.status, response.read()

    def register(self) -> None:
        """Create the account."""
        self._expect(201, "POST", "/register", body={"email": _EMAIL, "password": _PASSWORD})

    def sign_in(self, *, proof: str = "") -> Mapping[str, Any]:
        """Start a session, bound if there is a proof, and return its token answer."""
        return self._expect(200, "POST", "/login", body={"email": _EMAIL, "password": _PASSWORD}, proof=proof)

    def refresh(self, refresh_token: str, *, proof: str = "") -> Mapping[str, Any]:
        """Refresh and return the next token answer."""
        return self._expect(200, "POST", "/refresh", body={"refreshToken": refresh_token}, proof=proof)

    def sign_out(self, access_token: str) -> int:
        """Sign out; return the time of the answer on the clock that all processes of the machine share."""
        self._connection.request("POST", "/logout", headers={"authorization": f"Bearer {access_token}"})
        with self._connection.getresponse() as response:
            answered_at_ns = time.monotonic_ns()
            if response.status != 204:
                raise RuntimeError(f"/logout answered {response.status}")
            return answered_at_ns

    def _expect(self, status: int, method: str, path: str, *, body: object, proof: str = "") -> Mapping[str, Any]:
        answered, text = self.ask(method, path, body=body, proof=proof)
        if answered != status:
            raise RuntimeError(f"{path} answered {answered}: {text.decode()}")
        answer: Mapping[str, Any] = msgspec.json.decode(text)
        return answer


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a temporary folder; ignore errors on deletion, because a killed process may still write into it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def free_port() -> int:
    """Return an unused port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("handstamp")), *arguments]
