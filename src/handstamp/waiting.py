"""Wait: for a thread in a coroutine, under asyncio or trio, or for time to pass in a thread."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")


async def wait_for(future: Future[_T], timeout_s: float | None = None) -> _T:
    """Return the result of a future that a thread completes, without blocking the event loop.

    A caller that is cancelled does not stop work that has begun.

    Raises:
        TimeoutError: It took longer than `timeout_s` seconds.
        BaseException: What the work raised.
    """
    trio, token = _running_trio()
    if trio is None:
        async with asyncio.timeout(timeout_s):
            return await asyncio.wrap_future(future)
    done = trio.Event()

    def wake(_: Future[_T]) -> None:
        with suppress(trio.RunFinishedError):  # no task waits any more
            token.run_sync_soon(done.set)

    future.add_done_callback(wake)
    with trio.move_on_after(math.inf if timeout_s is None else timeout_s):
        await done.wait()
    if not future.done():
        raise TimeoutError
    return future.result()


def pause(seconds: float) -> None:
    """Block this thread, or this greenlet, for some seconds."""
    threading.Event().wait(seconds)


def _running_trio() -> tuple[Any, Any]:
    """Return the module `trio` and a token of its running loop, or twice None. A program that runs trio has imported it."""
    trio = sys.modules.get("trio")
    with suppress(RuntimeError):
        return trio, None if trio is None else trio.lowlevel.current_trio_token()
    return None, None
