"""Processes that share one token file, some of which die at the worst moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handstamp.client import Auth, FileTokens
from handstamp.errors import Unavailable
from tests.client.applications import client_with
from tests.client.helpers import due, generation, keep, load_tokens, stale, tokens_of
from tests.client.hostile import Hostile
from tests.serving import Server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts Python with the given arguments. Its processes are killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, *map(str, arguments)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def store(tmp_path: Path) -> FileTokens:
    """Return a store whose file does not exist yet."""
    return FileTokens(tmp_path / "tokens.json")


def wait_ready(process: subprocess.Popen[str]) -> None:
    """Wait until a program prints "ready"."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def go(process: subprocess.Popen[str]) -> None:
    """Send the line that a program waits for."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_eight_processes_share_one_renewal(
    proxy: Hostile, server: Server, store: FileTokens, start: Start, answer: dict[str, Any]
) -> None:
    """Eight processes with twenty tasks each find an expired token, and only one of the 160 refreshes."""
    tokens = stale(tokens_of(answer, proxy.url))
    keep(store, tokens)
    processes = [start("-m", "tests.client.worker", proxy.url, server.url, _path(store), 20) for _ in range(8)]
    for process in processes:
        wait_ready(process)
    for process in processes:
        go(process)
    for process in processes:
        printed, _ = process.communicate(timeout=PATIENCE_S)
        assert json.loads(printed) == [200] * 20
    assert proxy.refresh_tokens == [tokens.refresh_token]
    assert generation(server, tokens.session_id) == 1


def test_a_killed_process_does_not_block_others(
    proxy: Hostile, server: Server, store: FileTokens, start: Start, answer: dict[str, Any]
) -> None:
    """A process stops or dies with the lock held, after the service rotated.

    The other process times out, or retries and gets the same pair.
    """
    keep(store, stale(tokens_of(answer, proxy.url)))
    proxy.play("hear and hang")
    worker = start("-m", "tests.client.worker", proxy.url, proxy.url, _path(store), 1)
    wait_ready(worker)
    go(worker)
    assert proxy.arrived.acquire(timeout=PATIENCE_S)
    os.kill(worker.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(Unavailable), store.locked(0.3):
        pass
    assert time.monotonic() - began < 10
    worker.kill()
    with client_with(Auth(proxy.url, store)) as application:
        assert application.get("/profile").status_code == 200
    assert proxy.refresh_tokens == [answer["refreshToken"]] * 2
    assert generation(server, answer["sessionId"]) == 1


def test_a_renewal_in_progress_ends_before_exit(server: Server, store: FileTokens, start: Start, answer: dict[str, Any]) -> None:
    """A program that exits during a background renewal still saves its result."""
    tokens = due(tokens_of(answer, server.url))
    keep(store, tokens)
    program = (
        "import sys\n"
        "from handstamp.client import Auth, FileTokens\n"
        "from tests.client.applications import client_with\n"
        "with client_with(Auth(sys.argv[1], FileTokens(sys.argv[2]))) as application:\n"
        "    print(application.get('/profile').status_code)\n"
    )
    printed, _ = start("-c", program, server.url, _path(store)).communicate(timeout=PATIENCE_S)
    assert printed == "200\n"
    assert load_tokens(store).refresh_token != tokens.refresh_token
    assert generation(server, tokens.session_id) == 1


def test_a_forked_process_does_not_renew_with_a_copy(server: Server, start: Start, answer: dict[str, Any]) -> None:
    """A forked child refuses to renew its copy of tokens in memory: two holders of one refresh token would end the session."""
    program = (
        "import json, os, sys\n"
        "from handstamp.client import Auth\n"
        "from handstamp.errors import ConfigurationError\n"
        "from tests.client.applications import client_with\n"
        "auth = Auth(sys.argv[1], tokens=json.loads(sys.argv[2]))\n"
        "child = os.fork()\n"
        "with client_with(auth) as application:\n"
        "    try:\n"
        "        print(child > 0, application.get('/profile').status_code, flush=True)\n"
        "    except ConfigurationError as error:\n"
        "        print(child > 0, error, flush=True)\n"
        "if child:\n"
        "    os.waitpid(child, 0)\n"
    )
    worn = json.dumps(answer | {"expiresIn": 1})
    printed, _ = start("-c", program, server.url, worn).communicate(timeout=PATIENCE_S)
    lines = sorted(printed.splitlines())
    assert lines[0].startswith("False This process was forked with an active session.")
    assert lines[1:] == ["True 200"]
    assert generation(server, answer["sessionId"]) == 1


def test_a_forked_process_may_sign_in_for_itself(server: Server, start: Start, answer: dict[str, Any]) -> None:
    """A forked child can sign in by itself. A lock that a thread of the parent held is not held in the child."""
    program = (
        "import json, os, sys\n"
        "from handstamp.client import Auth, MemoryTokens\n"
        "store = MemoryTokens()\n"
        "Auth(sys.argv[1], store, tokens=json.loads(sys.argv[2]))\n"
        "with store.locked(1):\n"
        "    child = os.fork()\n"
        "    if child:\n"
        "        os.waitpid(child, 0)\n"
        "    else:\n"
        "        store.clear()\n"
        "        Auth(sys.argv[1], store, tokens=json.loads(sys.argv[2]))\n"
        "        print(store.load() is not None, flush=True)\n"
        "        os._exit(0)\n"
    )
    began = time.monotonic()
    printed, _ = start("-c", program, server.url, json.dumps(answer)).communicate(timeout=PATIENCE_S)
    assert printed == "True\n"
    assert time.monotonic() - began < 15  # otherwise it waited for a lock that no thread holds


def test_a_fork_during_a_renewal_does_not_block(
    proxy: Hostile, server: Server, store: FileTokens, start: Start, answer: dict[str, Any]
) -> None:
    """A child forked during a renewal can renew after its parent was killed.

    It inherits the lock's descriptor, and the state of a renewal that no thread in it will finish.
    """
    keep(store, stale(tokens_of(answer, proxy.url)))
    proxy.play("hear and hang")
    program = (
        "import os, signal, sys, threading\n"
        "from handstamp.client import Auth, FileTokens\n"
        "from tests.client.applications import client_with\n"
        "auth = Auth(sys.argv[1], FileTokens(sys.argv[2]))\n"
        "def ask():\n"
        "    with client_with(auth) as application:\n"
        "        return application.get('/profile').status_code\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "threading.Thread(target=ask).start()\n"
        "sys.stdin.readline()\n"
        "if os.fork():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "print(ask(), flush=True)\n"
    )
    parent = start("-c", program, proxy.url, _path(store))
    wait_ready(parent)
    go(parent)
    assert proxy.arrived.acquire(timeout=PATIENCE_S)
    go(parent)
    assert parent.wait(PATIENCE_S) == -signal.SIGKILL
    assert parent.stdout is not None
    assert parent.stdout.readline() == "200\n"
    assert generation(server, answer["sessionId"]) == 1


def _path(store: FileTokens) -> str:
    return repr(store).removeprefix("FileTokens('").removesuffix("')")
