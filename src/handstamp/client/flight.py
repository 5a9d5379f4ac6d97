"""Work in a thread of its own that any number of threads and tasks wait for, and that goes on when nobody waits any more.

That is what keeps a refresh whole: whoever asked may be cancelled, time out, or close its client or its event loop; the answer is
heard and kept all the same, since the old token is dead once the service has sent it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from ..errors import HandstampError, Unavailable

_T = TypeVar("_T")


class Flight(Generic[_T]):
    """One piece of work under way."""

    def __init__(self, work: Callable[[], _T], *, daemon: bool = False) -> None:
        """Start it. The interpreter waits at exit for its end, unless it is a `daemon`. Raises `Unavailable` without a thread."""
        self._future: Future[_T] = Future()
        self._future.set_running_or_notify_cancel()  # from here on nobody who waits can cancel it
        self._work = work
        try:
            threading.Thread(target=self._run, name="handstamp-client", daemon=daemon).start()
        except RuntimeError as problem:  # at exit, or the machine is full
            raise Unavailable(f"no thread is to be had: {problem}") from None

    @property
    def is_over(self) -> bool:
        """Whether it has come to its end, good or bad."""
        return self._future.done()

    def wait(self, patience_s: float) -> _T:
        """Return what came of it, or raise its error. Raises `TimeoutError` after so many seconds; the work goes on."""
        try:
            return self._future.result(patience_s)
        except HandstampError as error:
            raise _anew(error) from None

    async def wait_async(self, patience_s: float) -> _T:
        """Do the same without holding up the event loop (asyncio)."""
        try:
            async with asyncio.timeout(patience_s):
                return await asyncio.wrap_future(self._future)
        except HandstampError as error:
            raise _anew(error) from None

    def _run(self) -> None:
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised wherever somebody waits
            self._future.set_exception(error)
        else:
            self._future.set_result(result)
        finally:
            del self._work  # it holds secrets


def _anew(error: HandstampError) -> HandstampError:
    """Return the same error once more: each who waits raises one of its own, with its own traceback."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy
