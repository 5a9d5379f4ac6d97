"""Run the real service as a real process."""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests import hashing
from tests.commands import command, environment_with
from tests.warm import WarmProcess

PASSWORD = "kelp lantern rivet 41 of the tests"
EMAIL = "ada@example.com"
_START_PATIENCE_S = 120.0


def cookie_name(kind: str, issuer: str) -> str:
    """Return the name of the cookie `access` or `refresh` of an issuer. Without https it ends with the port."""
    url = urlsplit(issuer)
    return f"__Host-handstamp-{kind}" if url.scheme == "https" else f"handstamp-{kind}-{url.port or 80}"


def free_port() -> int:
    """Return a free port that browsers accept and that is below the system's ports for outgoing connections."""
    while True:
        with suppress(OSError), socket.create_server(("127.0.0.1", random.randrange(11_000, 32_000))) as listening:
            port: int = listening.getsockname()[1]
            return port


def listens(port: int) -> bool:
    """Return whether a program accepts connections at a port of this machine."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """A `handstamp serve` process on its own port, with a cheap password hash. Its output goes to the file `log`."""

    first = hashing.SETTING
    """Statements that run before Handstamp starts."""
    is_warm = True
    """Whether it may be forked from a process that has imported the service: see `tests.warm`."""

    def __init__(self, folder: Path, *options: str, **settings: str) -> None:
        """Choose a port. The service creates the database and the secret in `folder`."""
        self.folder = folder
        self.port = free_port()
        self.url = settings.get("ISSUER", f"http://localhost:{self.port}")
        self.log = folder / "server.log"
        self.options = options
        self.settings = {"PEOPLE_PER_NETWORK": "10000000"} | settings  # all tests share the network 127.0.0.1
        self.wrapper: list[str] = []
        """A command such as `unshare` that starts the process and then executes it in its own place."""
        self.process: subprocess.Popen[bytes] | WarmProcess | None = None

    def start(self) -> Server:
        """Start the process and return once it answers."""
        self.process = self._launch("serve", "--port", str(self.port), *self.options)
        deadline = time.monotonic() + _START_PATIENCE_S
        with self.client(timeout=5) as client:
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise AssertionError(f"handstamp serve ended with {self.process.returncode}:\n{self.log.read_text()}")
                try:
                    if client.get("/readyz").status_code == 200:
                        return self
                except httpx.TransportError:
                    time.sleep(0.02)
        raise AssertionError(f"handstamp serve did not become ready:\n{self.log.read_text()}")

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs `handstamp`."""
        return command(*arguments, first=self.first)

    def _launch(self, *arguments: str) -> subprocess.Popen[bytes] | WarmProcess:
        environment = environment_with(self.settings)
        # Coverage starts with an interpreter, and so does a wrapper.
        if self.is_warm and sys.platform == "linux" and not self.wrapper and "COVERAGE_PROCESS_CONFIG" not in os.environ:
            return WarmProcess(arguments, first=self.first, folder=self.folder, environment=environment, log=self.log)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self.wrapper, *self.command(*arguments)],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, with_signal: int = signal.SIGKILL) -> int:
        """Kill the process and its workers, by default without a shutdown; return the exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            if with_signal == signal.SIGKILL:
                os.killpg(self.process.pid, with_signal)
            else:
                self.process.send_signal(with_signal)
        return self.process.wait(timeout=120)

    def stop(self) -> int:
        """Stop the process after its tests: with SIGKILL, or with SIGTERM if coverage is measured, which needs a shutdown."""
        return self.kill(signal.SIGTERM if "COVERAGE_PROCESS_CONFIG" in os.environ else signal.SIGKILL)

    def forget_failures(self) -> None:
        """Delete the counts of failed attempts, so that those of one test file do not delay the next one."""
        with closing(sqlite3.connect(self.folder / "handstamp.db", timeout=60)) as database, database:
            database.execute("DELETE FROM failure")

    def client(self, **options: Any) -> httpx.Client:
        """Return an HTTP client of this server."""
        scheme = "https" if "--tls-cert" in self.options else "http"
        defaults: dict[str, Any] = {"base_url": f"{scheme}://localhost:{self.port}", "trust_env": False, "timeout": 30}
        if scheme == "http":
            defaults["verify"] = False  # loading the system's certificates is slow
        return httpx.Client(**defaults | options)

    def register(self, email: str = EMAIL, password: str = PASSWORD) -> httpx.Response:
        """Create an account."""
        with self.client() as client:
            return client.post("/register", json={"email": email, "password": password})

    def login(self, email: str = EMAIL, password: str = PASSWORD, **fields: Any) -> dict[str, Any]:
        """Sign in as an API client and return the token answer."""
        with self.client() as client:
            answer = client.post("/login", json={"email": email, "password": password, **fields})
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens


class ColdServer(Server):
    """A server as an operator starts it: from a new interpreter, and with the real cost of a password hash."""

    first = ""
    is_warm = False
