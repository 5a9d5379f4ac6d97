"""Where passwords are hashed: on threads of their own, in memory that suits Argon2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")
_AFTER_THREE_HASHES = """
import asyncio
from handstamp.crypto.passwords import PasswordHasher
from handstamp.service.parts.hashing import Hashing

async def main():
    hasher = PasswordHasher("owasp")
    hashing = Hashing(hasher, threads=1)
    for _ in range(3):
        await hashing.hash("a sentence only ada would say")
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


@pytest.mark.skipif(not _LARGE_PAGES.exists(), reason="this system has no large pages that programs can ask for")
def test_argon2_hashes_in_memory_that_may_have_large_pages() -> None:
    """The memory that was asked for is the memory that is hashed in: it is there, and marked (madvise(2), MADV_HUGEPAGE)."""
    ran = subprocess.run([sys.executable, "-c", _AFTER_THREE_HASHES], capture_output=True, text=True, timeout=60, check=True)
    marked, needed = map(int, ran.stdout.split())
    assert marked >= 0.9 * needed  # the first and the last page are shared with other things
