"""What a forked child process resets before it goes on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from handstamp import forking

_FORKS_ONCE = """
import os, threading
from handstamp.forking import call_in_child, reset_in_child

class Holder:
    def __init__(self, name):
        self.name, self.lock = name, threading.Lock()
        self.lock.acquire()
        reset_in_child(self, Holder.reset)

    def reset(self):
        self.lock = threading.Lock()
        print(self.name, "was reset", flush=True)

kept, dropped = Holder("kept"), Holder("dropped")
del dropped
call_in_child(lambda: print("the function was called", flush=True))
child = os.fork()
if child == 0:
    print("child", kept.lock.locked(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", kept.lock.locked(), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_process_resets_the_objects_that_still_exist() -> None:
    """In the child alone, before its own code runs; an object that was dropped is not kept alive for it."""
    ran = subprocess.run([sys.executable, "-c", _FORKS_ONCE], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines() == ["kept was reset", "the function was called", "child False", "parent True"]
    assert ran.stderr == ""


def test_registering_does_nothing_where_processes_cannot_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no `os.register_at_fork`."""
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    forking.call_in_child(lambda: None)


def test_every_lock_of_threads_is_free_in_a_child_process() -> None:
    """A plain lock that a thread of the parent holds would stay locked in the child for ever."""
    source = Path(forking.__file__).parent
    assert [str(file) for file in source.rglob("*.py") if re.search(r"threading\.R?Lock\(", file.read_text("utf-8"))] == [
        forking.__file__
    ]


def test_a_lock_excludes_threads_and_times_out() -> None:
    """One thread holds it; another one may release it."""
    lock = forking.ProcessLock()
    with lock:
        assert not lock.acquire(0)
        assert not lock.acquire(0.01)
        waiting = threading.Thread(target=lock.acquire)
        waiting.start()
    waiting.join()
    assert not lock.acquire(0)
    lock.release()
    assert lock.acquire(0)


def test_a_lock_is_made_when_it_is_first_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later, gevent replaces the locks of `threading` after a preloaded application was imported."""
    before = forking.ProcessLock()
    made: list[str] = []

    class Greenlets:
        def acquire(self, **_: object) -> bool:
            made.append("acquired")
            return True

        def release(self) -> None:
            made.append("released")

    monkeypatch.setattr(threading, "Lock", Greenlets)
    with before:
        assert made == ["acquired"]
    assert made == ["acquired", "released"]


_FORKS_WHILE_LOCKED = """
import os, threading
from handstamp.forking import ProcessLock

lock, held, forked = ProcessLock(), threading.Event(), threading.Event()

def hold():
    with lock:
        held.set()
        forked.wait(60)

threading.Thread(target=hold).start()
held.wait(60)
child = os.fork()
if child == 0:
    with lock:
        print("child", lock.acquire(0), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", lock.acquire(0), flush=True)
forked.set()
own = ProcessLock()
with own:
    child = os.fork()
if child == 0:
    print("own", own.acquire(0), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_process_has_a_lock_of_its_own() -> None:
    """It is free, whichever thread of the parent holds the parent's, and the child may leave a block that it was forked in."""
    command = [sys.executable, "-W", "ignore", "-c", _FORKS_WHILE_LOCKED]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines() == ["child False", "parent False", "own True"], ran.stderr
