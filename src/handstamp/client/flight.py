"""Work in a thread of its own, for which any number of threads and tasks can wait.

It continues if no caller waits any more. A refresh needs that: the caller may be cancelled or time out, but the answer must be
saved, because the service does not accept the old token again once it has sent the new one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from copy import copy
from typing import Generic, TypeVar

from ..errors import HandstampError, Unavailable
from ..waiting import wait_for

_T = TypeVar("_T")


class Flight(Generic[_T]):
    """A piece of work that is running or done."""

    def __init__(self, work: Callable[[], _T], *, daemon: bool = False) -> None:
        """Start `work`. The interpreter waits for it at exit, unless `daemon`. Raises `Unavailable` if there is no thread."""
        self._future: Future[_T] = Future()
        self._future.set_running_or_notify_cancel()  # from here on, a waiting task cannot cancel it
        self._work = work
        try:
            threading.Thread(target=self._run, name="handstamp-client", daemon=daemon).start()
        except RuntimeError as problem:  # at exit, or the machine is full
            raise Unavailable(f"no thread can be started: {problem}") from None

    @property
    def is_done(self) -> bool:
        """True if the work has returned or raised."""
        return self._future.done()

    def wait(self, patience_s: float) -> _T:
        """Return the result or raise the error of the work. Raises `TimeoutError` after `patience_s` seconds."""
        try:
            return self._future.result(patience_s)
        except HandstampError as error:
            raise copy(error) from None  # each caller raises its own, with its own traceback

    async def wait_async(self, patience_s: float) -> _T:
        """Do the same without blocking the event loop (asyncio or trio)."""
        try:
            return await wait_for(self._future, patience_s)
        except HandstampError as error:
            raise copy(error) from None  # each caller raises its own, with its own traceback

    def _run(self) -> None:
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised again by `wait`
            self._future.set_exception(error)
        else:
            self._future.set_result(result)
        finally:
            del self._work  # it refers to secrets


def run(work: Callable[[], _T], patience_s: float) -> _T:
    """Run `work` in a thread and return its result. Raises its error, or `Unavailable` after `patience_s` seconds."""
    return wait(Flight(work), patience_s)


async def run_async(work: Callable[[], _T], patience_s: float) -> _T:
    """Do the same without blocking the event loop. If the task is cancelled, the work goes on."""
    return await wait_async(Flight(work), patience_s)


def wait(flight: Flight[_T], patience_s: float) -> _T:
    """Return the result of a flight, or raise its error. Raises `Unavailable` after `patience_s` seconds."""
    try:
        return flight.wait(patience_s)
    except TimeoutError:
        raise Unavailable("timed out") from None


async def wait_async(flight: Flight[_T], patience_s: float) -> _T:
    """Do the same without blocking the event loop."""
    try:
        return await flight.wait_async(patience_s)
    except TimeoutError:
        raise Unavailable("timed out") from None
