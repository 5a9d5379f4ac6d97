"""Stop without an error for anybody: say so first, so that proxies send no new requests, and close the socket later."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType

from ..logger import Logger

_log = Logger("handstamp.web")


class Stopping:
    """Whether this process is about to stop."""

    def __init__(self) -> None:
        self.is_on = False


STOPPING = Stopping()
"""Of this process, as the signal is. `/readyz` and the protocol read it at each request."""


@asynccontextmanager
async def running_until_drained(running: Callable[[], AbstractAsyncContextManager[None]], drain_s: int) -> AsyncIterator[None]:
    """Run what `running` runs. After SIGTERM, the server goes on for `drain_s` seconds before it stops; a second one stops it.

    Meanwhile `/readyz` answers 503, every answer closes its connection, and requests are served as always. It must be entered
    after the server has set its own handler of the signal, in the main thread.
    """
    loop = asyncio.get_running_loop()
    server_handler = signal.getsignal(signal.SIGTERM)
    assert callable(server_handler)  # noqa: S101 - for the type checker

    def stop(number: int, frame: FrameType | None) -> None:
        if STOPPING.is_on:
            server_handler(number, frame)
        else:
            STOPPING.is_on = True
            loop.call_soon_threadsafe(begin)

    def begin() -> None:
        _log.info("process_stopping", drain_s=drain_s)
        loop.call_later(drain_s, server_handler, signal.SIGTERM, None)

    signal.signal(signal.SIGTERM, stop)
    try:
        async with running():
            yield
    finally:
        signal.signal(signal.SIGTERM, server_handler)
        STOPPING.is_on = False
