"""Put right in a forked child process what it cannot use as it was inherited. The only user of `os.register_at_fork`.

A child process has none of its parent's threads. A lock that one of them held stays locked in the child for ever, and an
inherited descriptor keeps a file locked after the parent has died.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")


def call_in_child(function: Callable[[], None]) -> None:
    """Call `function` in every child process that is forked from now on. Does nothing on Windows, which cannot fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def reset_in_child(instance: _T, reset: Callable[[_T], None]) -> None:
    """Call `reset(instance)` in every child process that is forked while `instance` exists. Does not keep it alive."""
    _resets[instance] = reset


class ProcessLock:
    """A lock for the threads of one process. A forked child process has another one, which is free.

    It is made when it is first used. A server that preloads the application may replace `threading.Lock` after that, as
    gunicorn's gevent workers do: a lock that was made before would block all their greenlets.
    """

    def __init__(self) -> None:
        """Create it without a lock."""
        self._made: dict[str, threading.Lock] = {}
        reset_in_child(self, ProcessLock._forget)

    def acquire(self, timeout_s: float = -1) -> bool:
        """Return True once the lock is held, or False after `timeout_s` seconds; -1 waits without end, 0 not at all."""
        lock = self._made.get("lock")
        if lock is None:
            lock = self._made.setdefault("lock", threading.Lock())  # atomic
        return lock.acquire(timeout=timeout_s) if timeout_s else lock.acquire(blocking=False)

    def release(self) -> None:
        """Release the lock, unless this process was forked meanwhile. Another thread than that of `acquire` may do it."""
        if "lock" in self._made:
            self._made["lock"].release()

    def __enter__(self) -> None:
        """Acquire the lock."""
        self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Release the lock."""
        self.release()

    def _forget(self) -> None:
        self._made.clear()


def _reset_all() -> None:
    for instance, reset in list(_resets.items()):
        reset(instance)


_resets: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
call_in_child(_reset_all)
