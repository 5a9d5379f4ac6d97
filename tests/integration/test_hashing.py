"""Tests of the threads that hash passwords: their priority and their memory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from handstamp.crypto.passwords import PasswordHasher
from handstamp.domain.limits import NetworkLimits
from handstamp.errors import Unavailable
from handstamp.service.parts.hashing import NICENESS, Hashing

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")
_AFTER_THREE_HASHES = """
import asyncio
from handstamp.crypto.passwords import PasswordHasher
from handstamp.domain.limits import NetworkLimits
from handstamp.service.parts.hashing import Hashing

async def main():
    hasher = PasswordHasher("owasp")
    hashing = Hashing(hasher, NetworkLimits(10_000).hashing, threads=1)
    for _ in range(3):
        await hashing.hash("kelp lantern rivet 41 of the tests")
    largest, resident = 0, 0
    with open("/proc/self/smaps") as lines:
        for name, *values in map(str.split, lines):
            if name == "Rss:":
                resident = int(values[0]) * 1024
            elif name == "VmFlags:" and "hg" in values:
                largest = max(largest, resident)
    print(largest, hasher.memory_bytes)
    hashing.close()

asyncio.run(main())
"""


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority per thread")
async def test_hashing_threads_have_a_lower_priority_than_the_event_loop() -> None:
    """Hashing threads have a lower priority, so requests are answered first.

    The event loop keeps the priority of the process.
    """
    hashing = Hashing(PasswordHasher("owasp"), NetworkLimits(10_000).hashing, threads=2)
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    for _ in range(2):
        await hashing.hash("kelp lantern rivet 41 of the tests")
    workers = [thread.native_id for thread in threading.enumerate() if thread.name.startswith("handstamp-argon2")]
    assert workers
    assert {os.getpriority(os.PRIO_PROCESS, worker or 0) for worker in workers} == {min(19, before + NICENESS)}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    hashing.close()


@pytest.mark.skipif(not _HUGE_PAGES.exists(), reason="this system has no transparent huge pages")
def test_argon2_hashes_in_memory_that_may_have_huge_pages() -> None:
    """Argon2 hashes in the memory that was advised to use huge pages (madvise(2), MADV_HUGEPAGE)."""
    ran = subprocess.run([sys.executable, "-c", _AFTER_THREE_HASHES], capture_output=True, text=True, timeout=60, check=True)
    marked, needed = map(int, ran.stdout.split())
    assert marked >= 0.9 * needed  # the first and the last page are shared with other memory


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("ips", "accepted"),
    [
        (["203.0.113.9"] * 20, 4),
        ([f"2001:db8:1:{number:x}::1" for number in range(20)], 8),
        ([f"203.0.113.{number}" for number in range(20)], 17),
        ([""] * 20, 17),
    ],
    ids=["one network", "one site", "many networks", "unknown clients"],
)
async def test_a_network_has_a_part_of_the_queue(ips: list[str], accepted: int) -> None:
    """One network gets a quarter of the waiting places, an IPv6 site half of them, and all of them are free again afterwards."""
    hashing = Hashing(PasswordHasher("owasp"), NetworkLimits(10_000).hashing, threads=1)
    try:
        for _ in range(2):
            tasks = [asyncio.create_task(hashing.matches(None, "x", ip=ip)) for ip in ips]
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert [isinstance(answer, Unavailable) for answer in answers].count(False) == accepted
            while hashing._inside:  # noqa: ASYNC110 - the threads count out through the loop
                await asyncio.sleep(0)
            assert not hashing._inside_of
    finally:
        hashing.close()
