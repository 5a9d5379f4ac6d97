"""How many passwords may be hashed at once: what the processors and the memory of this machine or container allow.

A container on a machine with 64 cores sees all of them, while its cgroup may allow it two and half a gigabyte. With a thread per
core, as many sign-ins at once would take 1.2 GiB, and the kernel would kill the process.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

PROCESS_BYTES = 160 * 2**20
"""What a process takes without hashing: about a hundred MiB, and room for connections and caches."""
THREAD_BYTES = 4 * 2**20
"""What a hashing thread takes beside the memory of Argon2: its stack, and what the allocator keeps."""


def count_hashing_threads(memory_bytes: int, *, workers: int = 1, wanted: int | None = None, root: Path = Path("/")) -> int:
    """Return how many threads of this process may hash, at least 1.

    Args:
        memory_bytes: The memory that hashing one password takes.
        workers: The number of processes that share processors and memory.
        wanted: The number for all processes together that an operator has set. It overrides what is measured.
        root: Where `proc` and `sys` are found.
    """
    if wanted is not None:
        return max(1, wanted // workers)
    processors = min([_count_cores(), *(max(1, int(quota)) for quota in _processor_quotas(root))])
    processes = workers + 1 if workers > 1 else 1  # a supervisor runs beside several workers
    memory = min([_physical_bytes(), *_memory_limits(root)])
    by_memory = (memory - processes * PROCESS_BYTES) // (memory_bytes + THREAD_BYTES) // workers
    return max(1, min(math.ceil(processors / workers), by_memory))


def _count_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # missing on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _physical_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not every system tells
        return sys.maxsize


def _processor_quotas(root: Path) -> Iterator[float]:
    """Return how many processors' time each cgroup above this process may use, where that is limited."""
    for group in _groups(root, "cpu"):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):  # "max", and -1 before cgroup v2, mean no limit
            yield int(quota) / int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    """Return the bytes that each cgroup above this process may use, where that is limited. From `memory.high` on it is slowed."""
    for group in _groups(root, "memory"):
        for file in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limit = _read(group / file)
            if limit.isdecimal():
                yield int(limit)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Return the folders of the cgroups that hold this process, from its own up to the first: a limit of each applies.

    In a container of cgroup v1 the path is the one on the machine, and only the last folder exists.
    """
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            mount = root / "sys" / "fs" / "cgroup"
        elif controller in controllers.split(","):
            mount = root / "sys" / "fs" / "cgroup" / controller  # with several controllers, a symbolic link
        else:
            continue
        own = PurePosixPath(path.lstrip("/"))
        yield from (mount / group for group in (own, *own.parents))


def _read(file: Path) -> str:
    with suppress(OSError, ValueError):
        return file.read_text("ascii").strip()
    return ""
