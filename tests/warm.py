"""Start `handstamp` processes that need not import anything: forks of a process that has imported the service.

A fork starts with a tenth of the processor time. Tests that start a service again and again, or need only one that runs, use it.
Its command line in `/proc` is that of the process it was forked from.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from handstamp.cli import main

_lock = threading.Lock()
_parents: dict[int, tuple[subprocess.Popen[bytes], socket.socket]] = {}
"""The process that forks, by the id of the process that uses it."""
_POLL_S = 0.005
_MODULES = ("handstamp.cli.serve", "email_validator", "uvicorn.lifespan.on", "uvicorn.loops.auto", "uvloop")
"""What a service has imported when it is ready."""


class WarmProcess:
    """A forked process, with the methods of `subprocess.Popen` that tests of a service use."""

    def __init__(self, arguments: Sequence[str], *, first: str, folder: Path, environment: Mapping[str, str], log: Path) -> None:
        """Run `handstamp` with these arguments after the statements `first`, in its own session. Its output goes to `log`."""
        asked = {"run": list(arguments), "first": first, "folder": str(folder), "environment": dict(environment), "log": str(log)}
        self.returncode: int | None = None
        self.pid = _ask(asked) or 0

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while the process runs."""
        if self.returncode is None:
            self.returncode = _ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Return the exit status once the process has ended. Raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        give_up_at = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > give_up_at:
                raise subprocess.TimeoutExpired("handstamp", timeout)
            time.sleep(_POLL_S)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _ask(question: Mapping[str, object]) -> int | None:
    """Send a question to this process's parent of forks, which starts with the first one, and return the answer."""
    with _lock:
        if os.getpid() not in _parents:
            ours, theirs = socket.socketpair()
            with theirs:
                command = [sys.executable, "-c", f"from tests.warm import fork_on_request; fork_on_request({theirs.fileno()})"]
                process = subprocess.Popen(
                    command, cwd=Path(__file__).parents[1], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
                )
            _parents[os.getpid()] = process, ours
            atexit.register(_end, os.getpid())
        _, ours = _parents[os.getpid()]
        ours.sendall(json.dumps(question).encode() + b"\n")
        with ours.makefile("rb") as answers:
            answer: int | None = json.loads(answers.readline())
        return answer


def _end(owner: int) -> None:
    if os.getpid() == owner:
        process, ours = _parents.pop(owner)
        ours.close()
        process.wait()


def fork_on_request(descriptor: int) -> None:
    """Import the service, then answer questions from a socket until it is closed."""
    for name in _MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rb") as questions:
        for line in iter(questions.readline, b""):
            question = json.loads(line)
            if "poll" in question:
                pid, status = os.waitpid(question["poll"], os.WNOHANG)
                connection.sendall(json.dumps(os.waitstatus_to_exitcode(status) if pid else None).encode() + b"\n")
            elif os.fork() == 0:
                _run(question, connection)


def _run(question: Mapping[str, object], connection: socket.socket) -> None:
    """Become the process that was asked for; never return."""
    status = 70
    try:
        os.setsid()
        os.chdir(str(question["folder"]))
        os.environ.clear()
        os.environ.update(question["environment"])  # type: ignore[call-overload]
        log = os.open(str(question["log"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        connection.sendall(b"%d\n" % os.getpid())
        os.close(log)
        os.close(connection.detach())
        sys.argv = ["handstamp", *question["run"]]  # type: ignore[misc]
        exec(str(question["first"]), {})
        main()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
