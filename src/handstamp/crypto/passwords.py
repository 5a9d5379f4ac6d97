"""Hash passwords with Argon2id (RFC 9106). Slow and synchronous: `handstamp.service.parts.hashing` runs it on threads."""

from __future__ import annotations

import base64
import functools
import importlib.resources
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import argon2
from argon2.exceptions import HashingError, InvalidHashError, VerificationError

from .foreign_hashes import MAX_MEMORY_BYTES, UnusableHash, read_foreign_hash

Cost = Literal["owasp", "rfc9106"]
"""`rfc9106` is the second recommended option of RFC 9106 §4."""
COSTS: dict[Cost, tuple[int, int, int]] = {"owasp": (2, 19456, 1), "rfc9106": (3, 65536, 4)}
"""Passes, KiB of memory, and lanes."""


class PasswordHasher:
    """Hashes passwords at one cost, and checks them also against hashes of other systems.

    The salt has 16 bytes, the tag 32; the PHC string contains the parameters.
    """

    def __init__(self, cost: Cost) -> None:
        """Prepare a decoy hash, with which an unknown address costs as much time as a known one."""
        time_cost, memory_cost, parallelism = COSTS[cost]
        self._argon2 = argon2.PasswordHasher(time_cost, memory_cost, parallelism)
        self._decoy = _random_hash(self._argon2)
        self._own = self._decoy.rsplit("$", 2)[0] + "$"
        self.memory_bytes: int = self._argon2.memory_cost * 1024
        """The memory that hashing one password takes."""
        self._foreign_memory = _Memory(MAX_MEMORY_BYTES)

    def hash(self, password: str) -> str:
        """Return the PHC string of a normalised password. Takes tens of milliseconds of processor time.

        Raises:
            MemoryError: If there is not enough memory.
        """
        with _telling_of_memory():
            return self._argon2.hash(password)

    def matches(self, password_hash: str | None, password: str) -> bool:
        """Return True if the normalised password has this hash. None, for an unknown address, takes as long and returns False.

        So do "", the hash of an account without a password, and a hash that cannot be checked. A hash of another system takes
        the time that its parameters ask for, within the bounds of `foreign_hashes`.

        Raises:
            MemoryError: If there is not enough memory to tell.
        """
        if password_hash and not password_hash.startswith(self._own):
            with suppress(UnusableHash):
                foreign = read_foreign_hash(password_hash)
                with self._foreign_memory.take(foreign.memory_bytes), _telling_of_memory():
                    return foreign.matches(password)
            password_hash = None
        try:
            with _telling_of_memory():
                self._argon2.verify(password_hash or self._decoy, password)
        except (VerificationError, InvalidHashError):
            return False
        return bool(password_hash)

    def is_outdated(self, password_hash: str) -> bool:
        """Return True if the hash was made by another system, or with parameters other than the current ones: replace it."""
        return not password_hash.startswith(self._own) or self._argon2.check_needs_rehash(password_hash)


class _Memory:
    """Lets threads use at most so many bytes together. Those for which nothing is left wait."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._changed = threading.Condition()

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Keep `amount` bytes, at most all that there are, for the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()


@contextmanager
def _telling_of_memory() -> Iterator[None]:
    """Raise `MemoryError` where a library has no memory: argon2 calls that a failed verification, and OpenSSL a wrong value."""
    try:
        yield
    except (HashingError, VerificationError, ValueError) as problem:
        if "malloc failure" in str(problem) or "Memory allocation error" in str(problem):
            raise MemoryError("no memory to hash a password") from None
        raise


def _random_hash(hasher: argon2.PasswordHasher) -> str:
    """Return a PHC string whose salt and tag are random. Verifying against it takes as long as against any other.

    Hashing a random password instead would cost every process tens of milliseconds at its start.
    """
    salt, tag = (
        base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=") for length in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2{hasher.type.name.lower()}$v={argon2.low_level.ARGON2_VERSION}${costs}${salt}${tag}"


@functools.cache
def common_passwords() -> frozenset[str]:
    """Return the passwords that attackers try first, in lower case; sentences also as one word. The file is read once."""
    text = importlib.resources.files(__package__).joinpath("common_passwords.txt").read_text("utf-8")
    passwords = [line for line in text.splitlines() if line and not line.startswith("# ")]
    return frozenset(passwords).union("".join(filter(str.isalnum, line)) for line in passwords if " " in line)
