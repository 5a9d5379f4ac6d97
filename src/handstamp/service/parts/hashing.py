"""Hash passwords on a bounded pool of threads.

Argon2 takes tens of milliseconds of processor time and megabytes of memory. On the event loop it would delay every request. On an
unbounded pool a flood of sign-ins would use all memory, and no answer would be in time. So there are as many threads as
processors and memory allow (`capacity`) and a short queue. If the queue is full, the answer is 503 (ASVS 11.4, T25). One network
gets at most a quarter of the queue and a bounded rate, so that it cannot keep all others out.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from ...crypto.passwords import PasswordHasher
from ...domain.limits import Rate
from ...domain.network import network_of, site_of
from ...errors import Unavailable
from .meter import NO_METER, Meter
from .network_budget import NetworkBudget

T = TypeVar("T")
QUEUE_PER_THREAD = 16
"""How many passwords may wait for each thread."""
NICENESS = 10
"""How much lower the priority of the threads is than that of the process (nice(2))."""


class Hashing:
    """Runs a `PasswordHasher` on its own threads."""

    def __init__(self, hasher: PasswordHasher, rate: Rate, *, threads: int, meter: Meter = NO_METER) -> None:
        """Create the pool.

        Args:
            hasher: What runs on the threads.
            rate: How many passwords one network may have hashed.
            threads: How many passwords are hashed at once.
            meter: Counts what is refused.
        """
        self._hasher = hasher
        self._meter = meter
        self._room = threads * (1 + QUEUE_PER_THREAD)
        self._room_of_network = max(1, threads * QUEUE_PER_THREAD // 4)
        self._budget = NetworkBudget("hashing", rate)
        self._threads = threads
        self.open()

    def open(self) -> None:
        """Start a pool. Called again after `close` when an application restarts in the same process."""
        self._inside = 0
        self._inside_of: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(
            max_workers=self._threads,
            thread_name_prefix="handstamp-argon2",
            initializer=_prepare_thread,
            initargs=(self._hasher.memory_bytes,),
        )

    async def hash(self, password: str, *, ip: str = "", device: str = "") -> str:
        """Return the hash of a normalised password.

        Args:
            password: The password.
            ip: The address of the client. If it is unknown, no limit of a network applies.
            device: The key of a device that is known to the account. It has a rate of its own.

        Raises:
            Unavailable: If the queue is full, or the part of it that the network may have, or if there is not enough memory.
            TooManyAttempts: If the network has had too many passwords hashed.
        """
        return await self._run(lambda: self._hasher.hash(password), ip, device)

    async def matches(self, password_hash: str | None, password: str, *, ip: str = "", device: str = "") -> bool:
        """Return True if the normalised password has this hash. Without a hash it takes as long and returns False.

        Args:
            password_hash: The hash, None for an unknown account, or "" for one without a password.
            password: The password.
            ip: As for `hash`.
            device: As for `hash`.

        Raises:
            Unavailable, TooManyAttempts: As `hash`.
        """
        return await self._run(lambda: self._hasher.matches(password_hash, password), ip, device)

    def is_outdated(self, password_hash: str) -> bool:
        """Return True if the hash was made with parameters other than the current ones."""
        return self._hasher.is_outdated(password_hash)

    def close(self) -> None:
        """Stop the threads as soon as they have finished what they are hashing."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """How many passwords wait for a thread."""
        return max(0, self._inside - self._threads)

    @property
    def is_full(self) -> bool:
        """True if no further password can wait."""
        return self._inside >= self._room

    async def _run(self, work: Callable[[], T], ip: str, device: str) -> T:
        if self.is_full:
            self._meter.count_refused_hashing()
            raise Unavailable("the queue for hashing passwords is full", retry_after_s=2)
        shares = {network_of(ip): self._room_of_network, site_of(ip): 2 * self._room_of_network}
        shares.pop("", None)  # a client without an address is no network, and IPv4 has no sites
        if any(self._inside_of[holder] >= room for holder, room in shares.items()):
            self._meter.count_refused_hashing()
            raise Unavailable("this network has its share of the queue for hashing passwords", retry_after_s=2)
        self._budget.take(ip, device=device)
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work)
        self._inside += 1
        self._inside_of.update(shares.keys())
        future.add_done_callback(lambda _: self._schedule_count_out(loop, shares.keys()))
        try:
            return await asyncio.wrap_future(future)
        except MemoryError:
            raise Unavailable("there is no memory to hash a password") from None

    def _schedule_count_out(self, loop: asyncio.AbstractEventLoop, holders: Iterable[str]) -> None:
        with suppress(RuntimeError):  # the loop was closed while a thread was hashing
            loop.call_soon_threadsafe(self._count_out, holders)

    def _count_out(self, holders: Iterable[str]) -> None:
        self._inside -= 1
        self._inside_of -= Counter(holders)  # which drops those that hold nothing


def _prepare_thread(memory_bytes: int) -> None:
    _lower_priority()
    _advise_huge_pages(memory_bytes)


def _lower_priority() -> None:
    """Let hashing yield to the threads that answer requests. Does nothing where priorities are per process (not Linux)."""
    with suppress(AttributeError, OSError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))


def _advise_huge_pages(memory_bytes: int) -> None:
    """Ask for transparent huge pages for the memory this thread hashes in (Linux with glibc; docs/decisions/0015).

    Argon2 reads all over its memory, and with small pages a twelfth of its time goes into looking them up. The memory is
    allocated, advised and freed: malloc keeps what a thread frees and returns it for the next hash. It does so from the second
    allocation on, when it has raised its limit for separate mappings. With another malloc nothing is gained and nothing lost.
    """
    with suppress(ImportError, AttributeError, OSError, TypeError):  # another system, or another C library
        import ctypes  # noqa: PLC0415 - some builds of Python do not have it

        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
        libc.free.restype, libc.free.argtypes = None, (ctypes.c_void_p,)
        libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        advice = mmap.MADV_HUGEPAGE
        for _ in range(2):
            address = libc.malloc(memory_bytes)
            if address is not None:
                begin, end = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE, address + memory_bytes
                libc.madvise(begin, end - begin, advice)
                libc.free(address)
