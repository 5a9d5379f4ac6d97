"""The decoy, which makes an unknown address cost as much time as a known one; and what happens without memory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any, get_args

import argon2
import pytest

from handstamp.crypto.passwords import Cost, PasswordHasher
from handstamp.domain.limits import NetworkLimits
from handstamp.errors import Unavailable
from handstamp.service.parts.hashing import Hashing

WITHOUT_MEMORY = """
import argon2, hashlib, resource
from handstamp.crypto.passwords import PasswordHasher

hasher = PasswordHasher("owasp")
scrypt = hashlib.scrypt(b"kelp", salt=b"abcdefgh", n=32768, r=8, p=1, maxmem=1 << 27, dklen=64).hex()
hashes = [hasher.hash("kelp"), None, "scrypt:32768:8:1$abcdefgh$" + scrypt, argon2.PasswordHasher(1, 65536, 1).hash("kelp")]
print([hasher.matches(each, "kelp") for each in hashes])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 4_000_000, -1))
for work in [lambda: hasher.hash("kelp"), *(lambda each=each: hasher.matches(each, "kelp") for each in hashes)]:
    try:
        print(work())
    except MemoryError:
        print("MemoryError")
"""


@pytest.mark.usefixtures("real_hashing")
@pytest.mark.parametrize("cost", get_args(Cost))
def test_the_decoy_costs_a_full_hash_and_matches_nothing(cost: Cost) -> None:
    """It has the parameters, salt and tag of a real hash, so Argon2 computes all of it before it finds a mismatch."""
    hasher = PasswordHasher(cost)
    real, decoy = hasher.hash("kelp lantern rivet 41 of the tests"), hasher._decoy
    assert argon2.extract_parameters(decoy) == argon2.extract_parameters(real)
    assert len(decoy) == len(real)
    assert not hasher.is_outdated(decoy)
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        hasher._argon2.verify(decoy, "kelp lantern rivet 41 of the tests")
    assert not hasher.matches(None, "kelp lantern rivet 41 of the tests")
    assert not hasher.matches("", "kelp lantern rivet 41 of the tests")
    assert not hasher.matches("", "")


def test_every_process_has_a_decoy_of_its_own() -> None:
    """No password with that hash can be searched for."""
    assert PasswordHasher("owasp")._decoy != PasswordHasher("owasp")._decoy


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no limit of a process's address space")
def test_without_memory_a_password_is_not_called_wrong() -> None:
    """Every kind of hash raises `MemoryError` then: a right password must not count as a failed attempt."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # glibc then keeps no large piece that was freed
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_MEMORY], capture_output=True, text=True, timeout=120, check=True, env=environment
    )
    assert ran.stdout.split("\n") == ["[True, False, True, True]", *["MemoryError"] * 5, ""]


def test_without_memory_the_service_is_unavailable() -> None:
    """The service answers 503 then, and nobody is told that their password is wrong."""

    class Exhausted(PasswordHasher):
        """A hasher on a machine without memory."""

        def matches(self, *_: Any) -> bool:
            """Raise what the real one raises."""
            raise MemoryError

    async def check() -> None:
        hashing = Hashing(Exhausted("owasp"), NetworkLimits(1_000).hashing, threads=1)
        hashing.open()
        try:
            await hashing.matches(None, "kelp")
        finally:
            hashing.close()

    with pytest.raises(Unavailable):
        asyncio.run(check())
