"""Hashing passwords with Argon2id (RFC 9106). Plain, slow, synchronous: `handstamp.service.parts.hashing` gives it a pool."""

from __future__ import annotations

import functools
import importlib.resources
import secrets
from typing import Literal

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

Cost = Literal["owasp", "rfc9106"]
"""`owasp`: m=19456 KiB, t=2, p=1. `rfc9106`: its second recommended option, m=65536 KiB, t=3, p=4 (RFC 9106 §4)."""


class PasswordHasher:
    """Hashes and checks passwords at one cost. Salt 16 bytes, tag 32 bytes, parameters kept in the PHC string."""

    def __init__(self, cost: Cost) -> None:
        """Prepare a hash that no password matches, so that an unknown address costs what a known one does."""
        self._argon2 = {
            "owasp": argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1),
            "rfc9106": argon2.PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4),
        }[cost]
        self._nobodys = self._argon2.hash(secrets.token_urlsafe(32))
        self.memory_bytes = self._argon2.memory_cost * 1024
        """How much memory hashing one password takes."""

    def hash(self, password: str) -> str:
        """Return the PHC string of a normalised password. Takes tens of milliseconds of one core."""
        return self._argon2.hash(password)

    def matches(self, password_hash: str | None, password: str) -> bool:
        """Say whether a normalised password belongs to the hash. None stands for an unknown address: same work, never true."""
        try:
            self._argon2.verify(password_hash or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False
        return password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Say whether the hash was made with other parameters than today's and should be made anew."""
        return self._argon2.check_needs_rehash(password_hash)


@functools.cache
def common_passwords() -> frozenset[str]:
    """Return passwords that attackers try first, in lower case; read once from the file that is shipped."""
    text = importlib.resources.files(__package__).joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("# "))
