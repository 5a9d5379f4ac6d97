"""A pool for hashing passwords, apart from everything else.

Argon2 takes tens of milliseconds of a core and megabytes of memory. On the event loop it would stop everybody; in an unbounded
pool a flood of sign-ins would take all memory and answer nobody in time. So: as many threads as cores, a short queue, and 503
for the rest (ASVS 11.4, T25).
"""

from __future__ import annotations

import asyncio
import mmap
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from ...crypto.passwords import PasswordHasher
from ...errors import Unavailable

T = TypeVar("T")
QUEUE_PER_THREAD = 16
_NICENESS = 10


class Hashing:
    """Runs a `PasswordHasher` on threads of its own."""

    def __init__(self, hasher: PasswordHasher, *, threads: int | None = None) -> None:
        """Use `threads` threads, by default one a core that this process may run on."""
        self._hasher = hasher
        threads = threads or _cores()
        self._room = threads * (1 + QUEUE_PER_THREAD)
        self._threads = threads
        self.open()

    def open(self) -> None:
        """Take threads; again after `close`, when an application is started anew."""
        self._inside = 0
        self._pool = ThreadPoolExecutor(
            max_workers=self._threads,
            thread_name_prefix="handstamp-argon2",
            initializer=_settle_in,
            initargs=(self._hasher.memory_bytes,),
        )

    async def hash(self, password: str) -> str:
        """Return the hash of a normalised password. Raises `Unavailable` when the queue is full."""
        return await self._run(lambda: self._hasher.hash(password))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Say whether they belong together; None costs as much and never does. Raises `Unavailable` when the queue is full."""
        return await self._run(lambda: self._hasher.matches(password_hash, password))

    def is_outdated(self, password_hash: str) -> bool:
        """Say whether the hash should be made anew with today's parameters."""
        return self._hasher.is_outdated(password_hash)

    def close(self) -> None:
        """Let go of the threads once they are done."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._inside >= self._room:
            raise Unavailable("the queue of passwords to hash is full", retry_after_s=2)
        loop = asyncio.get_running_loop()
        self._inside += 1
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._leave(loop))
        return await asyncio.wrap_future(future)

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop was closed while a thread still hashed
            loop.call_soon_threadsafe(self._count_out)

    def _count_out(self) -> None:
        self._inside -= 1


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _settle_in(memory_bytes: int) -> None:
    _step_back()
    _take_large_pages(memory_bytes)


def _step_back() -> None:
    """Let hashing yield the core to whoever answers requests, where the system can do that for one thread (Linux)."""
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _take_large_pages(memory_bytes: int) -> None:
    """Let the memory that this thread will hash in lie in pages of two megabytes, where there are such (Linux with glibc).

    Argon2 reads all over it, and looking up small pages takes a twelfth of its time. So the memory is asked for, marked and given
    back: malloc keeps what a thread gives back and hands it out again for the next hash. It does so from the second time on, when
    it has learned that somebody uses so much. Where another malloc does otherwise nothing is gained, and nothing lost.
    """
    with suppress(ImportError, AttributeError, OSError, TypeError):  # another system, or another C library
        import ctypes  # noqa: PLC0415 - some builds of Python have none

        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
        libc.free.restype, libc.free.argtypes = None, (ctypes.c_void_p,)
        libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        advice = mmap.MADV_HUGEPAGE
        for _ in range(2):
            place = libc.malloc(memory_bytes)
            if place is not None:
                begin, end = -(-place // mmap.PAGESIZE) * mmap.PAGESIZE, place + memory_bytes
                libc.madvise(begin, end - begin, advice)
                libc.free(place)
