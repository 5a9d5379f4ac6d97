"""The interface of a system: how its server process is started, and its operations over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, TypedDict

from ..load import Operation, allow_many_files, on_core, once
from ..service import free_port
from ..wire import Answer, get

PASSWORD = "kelp lantern rivet 41 of the bench"  # noqa: S105 - of test accounts


class _Cost(TypedDict):
    time_cost: int
    memory_cost: int
    parallelism: int


ARGON2: _Cost = {"time_cost": 2, "memory_cost": 19456, "parallelism": 1}
"""Handstamp's password hash, which all other systems are set to use (OWASP's first recommendation for Argon2id)."""
JSON, FORM = b"application/json", b"application/x-www-form-urlencoded"
DURABLE = ("wal", "2")
"""`PRAGMA journal_mode` and `PRAGMA synchronous` (FULL) of a connection that survives a power cut."""
_PATIENCE_S = 60.0
_HERE = Path(__file__).parent


@dataclass(slots=True)
class Session:
    """A client's view of one session: its account and its newest tokens."""

    email: str
    access: str = ""
    refresh: str = ""
    cookies: dict[str, str] = field(default_factory=dict)


class System(ABC):
    """One system: how its server process is started, and its operations. Operations keep the session's tokens up to date."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    """The packages whose versions are reported: of PyPI, or of npm if `is_node`."""
    is_node: ClassVar[bool] = False
    ready: ClassVar[bytes] = b"/durability"
    """The path that answers 200 as soon as the server is ready."""
    can_refresh: ClassVar[bool] = True
    can_sign_in: ClassVar[bool] = True
    doors: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    """Paths that accept a body for sign-in and refresh, and its media type."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder for the database and the log."""
        self.folder = folder
        self.database = folder / "bench.db"

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """Return the command that starts ONE server process on a port of 127.0.0.1."""

    def environment(self, port: int) -> dict[str, str]:  # noqa: ARG002 - some need it
        """Return extra environment variables of the process."""
        return {"BENCH_DATABASE": str(self.database)}

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Create the tables, if the server does not."""

    def durability(self, port: int) -> tuple[str, str]:
        """Return `journal_mode` and `synchronous` of one of the server's connections, or of one created the same way."""
        answer = fetch_answer(port, get(b"/durability")).json()
        return str(answer["journal_mode"]), str(answer["synchronous"])

    @abstractmethod
    def register(self, session: Session) -> Operation:
        """Create the session's account."""

    @abstractmethod
    def login(self, session: Session) -> Operation:
        """Start a session."""

    @abstractmethod
    def profile(self, session: Session) -> Operation:
        """Fetch the profile."""

    def refresh(self, session: Session) -> Operation:
        """Refresh the session."""
        raise NotImplementedError

    @abstractmethod
    def logout(self, session: Session) -> Operation:
        """End the session."""

    def versions(self) -> str:
        """Return the versions of the packages."""
        return ", ".join(f"{package} {version(package)}" for package in self.packages)


class Server:
    """A system's process on one core and a free port."""

    def __init__(self, system: System, core: int) -> None:
        """Keep the system and the core. Nothing is started yet."""
        self.system = system
        self.port = free_port()
        self._core = core
        self._registered: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Prepare and start."""
        self.system.prepare()
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Kill."""
        self.kill()

    def start(self) -> float:
        """Start, and return the seconds until the first good answer."""
        log = self.system.folder / "server.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HANDSTAMP_")}
        allow_many_files()
        began = time.perf_counter()
        with log.open("ab") as written, on_core(self._core):
            self._process = subprocess.Popen(
                self.system.command(self.port),
                cwd=self.system.folder,
                env=clean | {"PYTHONPATH": str(_HERE.parents[1])} | self.system.environment(self.port),
                stdout=written,
                stderr=written,
                start_new_session=True,
            )
        while not _answers(self.port, self.system.ready):
            if self._process.poll() is not None or time.perf_counter() - began > _PATIENCE_S:
                raise RuntimeError(f"{self.system.name} did not start:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.005)
        return time.perf_counter() - began

    def start_again(self) -> float:
        """Kill the process and start it on the same port; return the seconds as `start` does."""
        self.kill()
        return self.start()

    def kill(self) -> None:
        """Send SIGKILL to the process and its children."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def check_durability(self) -> None:
        """Raise `RuntimeError` unless commits are on the disk before they are answered."""
        found = self.system.durability(self.port)
        if found != DURABLE:
            raise RuntimeError(f"{self.system.name} does not write durably: {found}")

    def processor_s(self) -> float:
        """Return the processor seconds of the process and its children so far."""
        assert self._process is not None  # noqa: S101
        return sum(_ticks(pid) for pid in _family(self._process.pid)) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        """Return the proportional set size of the process and its children: pages that they share count once."""
        assert self._process is not None  # noqa: S101
        return sum(_pss_kib(pid) for pid in _family(self._process.pid)) / 1024

    def sessions(self, count: int, *, accounts: int = 16) -> list[Session]:
        """Start `count` sessions of `accounts` people, and register new people first."""
        people = [Session(f"person{number}@example.com") for number in range(min(count, accounts))]
        for person in people:
            if person.email not in self._registered:
                once(self.port, good(self.system.register(person)))
                self._registered.add(person.email)
        made = [Session(people[number % len(people)].email) for number in range(count)]
        for session in made:
            once(self.port, good(self.system.login(session)))
        return made


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this folder."""
    return [sys.executable, "-m", f"bench.systems.{module}", *arguments]


def tool(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a program of this virtual environment."""
    return [str(Path(sys.executable).with_name(name)), *arguments]


def fetch_answer(port: int, request: bytes) -> Answer:
    """Send one request and return its answer."""
    answers: list[Answer] = []

    def operation() -> Operation:
        answers.append((yield request))

    once(port, operation())
    return answers[0]


def good(operation: Operation) -> Operation:
    """Run an operation, and raise `RuntimeError` unless all its answers are good."""
    step = next(operation)
    while True:
        answer = yield step
        status, following = answer.status, None
        try:
            following = operation.send(answer)
        except StopIteration as end:
            status = end.value or status
        except LookupError:  # the operation found no token in the answer
            status = 0
        if isinstance(step, bytes) and not 200 <= status < 400:
            raise RuntimeError(f"{step[:60]!r} was answered {answer.status}: {answer.body[:300]!r}")
        if following is None:
            return
        step = following


def _answers(port: int, path: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as connection:
            connection.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path)
            return connection.recv(65536)[:12] == b"HTTP/1.1 200"
    except OSError:
        return False


def _family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(FileNotFoundError):  # a thread that has ended meanwhile
                found += [int(child) for child in task.read_text(encoding="ascii").split()]
    return found


def _ticks(pid: int) -> int:
    """Return user and system time (proc(5), after the name, which may hold anything)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
