"""Hash passwords with Argon2id (RFC 9106). Slow and synchronous: `handstamp.service.parts.hashing` runs it on threads."""

from __future__ import annotations

import base64
import functools
import importlib.resources
import secrets
from typing import Literal

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

Cost = Literal["owasp", "rfc9106"]
"""`owasp`: m=19456 KiB, t=2, p=1. `rfc9106`: the second recommended option of RFC 9106 §4, m=65536 KiB, t=3, p=4."""


class PasswordHasher:
    """Hashes and checks passwords at one cost. The salt has 16 bytes, the tag 32; the PHC string contains the parameters."""

    def __init__(self, cost: Cost) -> None:
        """Prepare a decoy hash, with which an unknown address costs as much time as a known one."""
        self._argon2 = {
            "owasp": argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1),
            "rfc9106": argon2.PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4),
        }[cost]
        self._decoy = _random_hash(self._argon2)
        self.memory_bytes: int = self._argon2.memory_cost * 1024
        """The memory that hashing one password takes."""

    def hash(self, password: str) -> str:
        """Return the PHC string of a normalised password. Takes tens of milliseconds of processor time."""
        return self._argon2.hash(password)

    def matches(self, password_hash: str | None, password: str) -> bool:
        """Return True if the normalised password has this hash. None, for an unknown address, takes as long and returns False."""
        try:
            self._argon2.verify(password_hash or self._decoy, password)
        except (VerificationError, InvalidHashError):
            return False
        return password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Return True if the hash was made with parameters other than the current ones and should be replaced."""
        return self._argon2.check_needs_rehash(password_hash)


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
