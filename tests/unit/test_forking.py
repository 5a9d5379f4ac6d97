"""What a forked child process resets before it goes on."""

from __future__ import annotations

import os
import subprocess
import sys

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
