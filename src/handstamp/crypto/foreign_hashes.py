"""Check passwords against hashes that other systems have made.

This module reads how each system writes cost, salt and digest. hashlib, bcrypt, argon2-cffi and cryptography do the computing.
The cost is written in the hash, so it is bounded before anything is computed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

MAX_LENGTH = 1024
"""Characters of a hash with its parameters."""
MAX_MEMORY_BYTES = 129 * 2**20
"""Memory for one check: 128 MiB, and what scrypt needs beside it. Django's Argon2 takes 100 MiB."""
MAX_ITERATIONS = 3_000_000
"""Of PBKDF2. Django 6 makes 1,200,000."""
MAX_BCRYPT_COST = 14
MAX_SCRYPT_BLOCKS = 2**22
"""N * r * p of scrypt."""
MAX_ARGON2_BLOCKS = 2**20
"""KiB of memory times passes of Argon2."""
MAX_ARGON2_LANES = 16
"""Each lane is computed on a thread of its own."""
_LEAST_DIGEST_BYTES = 16
"""Shorter digests are refused: a wrong password could have one by chance."""
_BCRYPT_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_BCRYPT_BYTES = 72
"""bcrypt reads no more of a password."""

Derive = Callable[[bytes], bytes]


class UnusableHash(ValueError):
    """A hash that cannot be checked here. The message continues "The password hash …" and does not contain it."""


class ForeignHash(NamedTuple):
    """A hash that was read and found affordable.

    Attributes:
        derive: Computes the digest of a password in UTF-8. Slow, and releases the GIL.
        digest: The digest of the right password.
        memory_bytes: What `derive` allocates, 0 if next to nothing.
    """

    derive: Derive
    digest: bytes
    memory_bytes: int = 0

    def matches(self, password: str) -> bool:
        """Return True if a password in NFC has this hash."""
        return hmac.compare_digest(self.derive(password.encode()), self.digest)


def read_foreign_hash(text: str) -> ForeignHash:
    """Return the hash that `text` is, in the notation of any supported system. Computes nothing.

    Raises:
        UnusableHash: If no supported system writes such a hash, or if checking it would take too much memory or time.
    """
    if len(text) <= MAX_LENGTH:
        for form, read in _FORMS:
            if found := form.fullmatch(text):
                return read(*found.groups())
    raise UnusableHash("is of no kind that can be checked here")


def _read_pbkdf2(name: str, iterations: str, salt: bytes, digest: bytes) -> ForeignHash:
    """Read parameters of PBKDF2 (RFC 8018 §5.2)."""
    count = _at_most(MAX_ITERATIONS, int(iterations), "iterations of PBKDF2")
    if not _LEAST_DIGEST_BYTES <= len(digest) <= hashlib.new(name).digest_size:
        raise UnusableHash("has a digest of the wrong length")
    return ForeignHash(lambda password: hashlib.pbkdf2_hmac(name, password, salt, count, len(digest)), digest)


def _scrypt(n: int, r: str, p: str, salt: bytes, length: int) -> tuple[Derive, int]:
    """Return what derives `length` bytes with scrypt (RFC 7914 §2), and the memory that it takes."""
    block_size, lanes = int(r), int(p)
    memory_bytes = _affordable(128 * block_size * (n + lanes + 2))
    _at_most(MAX_SCRYPT_BLOCKS, n * block_size * lanes, "blocks of scrypt (N * r * p)")
    if n < 2 or n & (n - 1) or n >= 1 << (16 * block_size):
        raise UnusableHash("has parameters that scrypt does not have")

    def derive(password: bytes) -> bytes:
        return hashlib.scrypt(password, salt=salt, n=n, r=block_size, p=lanes, maxmem=memory_bytes, dklen=length)

    return derive, memory_bytes


def _read_scrypt(n: int, r: str, p: str, salt: bytes, digest: bytes) -> ForeignHash:
    if not _LEAST_DIGEST_BYTES <= len(digest) <= 64:
        raise UnusableHash("has a digest of the wrong length")
    derive, memory_bytes = _scrypt(n, r, p, salt, len(digest))
    return ForeignHash(derive, digest, memory_bytes)


def _read_firebase(  # noqa: PLR0917 - called with the groups of its form
    n: str, r: str, separator: str, key: str, salt: str, digest: str
) -> ForeignHash:
    """Read a hash of Firebase: scrypt makes a key, which encrypts the project's signer key (AES-256 in counter mode)."""
    signer_key, encrypted = _decode(key), _decode(digest)
    if len(encrypted) < _LEAST_DIGEST_BYTES or len(encrypted) != len(signer_key):
        raise UnusableHash("is not as long as Firebase's signer key")
    make_key, memory_bytes = _scrypt(2 ** int(n), r, "1", _decode(salt) + _decode(separator), 32)

    def derive(password: bytes) -> bytes:
        encryptor = Cipher(AES(make_key(password)), CTR(bytes(16))).encryptor()
        return encryptor.update(signer_key) + encryptor.finalize()

    return ForeignHash(derive, encrypted, memory_bytes)


def _read_better_auth(salt: str, digest: str) -> ForeignHash:
    """Read a hash of better-auth: its salt is used as the text that it is, and the password in NFKC."""
    derive, memory_bytes = _scrypt(16384, "16", "1", salt.encode(), 64)
    return ForeignHash(
        lambda password: derive(unicodedata.normalize("NFKC", password.decode()).encode()), bytes.fromhex(digest), memory_bytes
    )


def _read_argon2(  # noqa: PLR0917 - called with the groups of its form
    kind: str, version: str | None, memory: str, passes: str, lanes: str, salt: str, digest: str
) -> ForeignHash:
    """Read a PHC string of Argon2 (RFC 9106). Without a version it is one of the first, 0x10."""
    memory_kib, threads = int(memory), _at_most(MAX_ARGON2_LANES, int(lanes), "lanes of Argon2")
    memory_bytes = _affordable(1024 * memory_kib)
    rounds = _at_most(MAX_ARGON2_BLOCKS, memory_kib * int(passes), "blocks of Argon2 (memory * passes)") // memory_kib
    salted, tag = _decode(salt), _decode(digest)
    if memory_kib < 8 * threads or len(salted) < 8 or not _LEAST_DIGEST_BYTES <= len(tag) <= 64:
        raise UnusableHash("has parameters that Argon2 does not have")

    def derive(password: bytes) -> bytes:
        return hash_secret_raw(
            password,
            salted,
            time_cost=rounds,
            memory_cost=memory_kib,
            parallelism=threads,
            hash_len=len(tag),
            type=Type[kind.upper()],
            version=int(version or 16),
        )

    return ForeignHash(derive, tag, memory_bytes)


def _read_bcrypt(encoded: str, prepare: Derive = lambda password: password[:_BCRYPT_BYTES]) -> ForeignHash:
    """Read a hash of bcrypt. Its letter (2a, 2b, 2y) makes no difference for passwords without a NUL of up to 72 bytes.

    Args:
        encoded: The 60 characters of the hash.
        prepare: What the system did with a password before. By default, all after 72 bytes is left out, as most systems do.
    """
    # Imported here, because only deployments with accounts of other systems need it.
    import bcrypt  # noqa: PLC0415

    _at_most(MAX_BCRYPT_COST, int(encoded[4:6]), "as the cost of bcrypt")
    settings = f"$2b${_clear_bits(encoded[4:29], 4)}".encode()
    return ForeignHash(lambda password: bcrypt.hashpw(prepare(password), settings)[29:], _clear_bits(encoded[29:], 2).encode())


def _read_passlib_bcrypt(version: str, cost: str, salt: str, digest: str) -> ForeignHash:
    """Read a hash of passlib's bcrypt_sha256. Version 2 has a key for the inner hash: the salt."""

    def prepare(password: bytes) -> bytes:
        inner = hmac.digest(salt.encode(), password, "sha256") if version == "2" else hashlib.sha256(password).digest()
        return base64.b64encode(inner)

    return _read_bcrypt(f"$2b${int(cost):02}${salt}{digest}", prepare)


def _clear_bits(text: str, unused: int) -> str:
    """Return base64 of bcrypt without the unused bits of its last character. Some systems set them, and the library raises."""
    return text[:-1] + _BCRYPT_ALPHABET[_BCRYPT_ALPHABET.index(text[-1]) >> unused << unused]


def _at_most(most: int, asked: int, what: str) -> int:
    if asked > most:
        raise UnusableHash(f"is too costly: it asks for {asked} {what}, and the most is {most}")
    return asked


def _affordable(memory_bytes: int) -> int:
    if memory_bytes > MAX_MEMORY_BYTES:
        raise UnusableHash(f"is too costly: it asks for {memory_bytes // 2**20} MiB of memory, and the most is 128")
    return memory_bytes


def _decode(text: str) -> bytes:
    """Return the bytes of base64, with or without padding; "." stands for "+" in the adapted alphabet of passlib."""
    text = text.rstrip("=").replace(".", "+")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise UnusableHash("is damaged: a part of it is not base64") from None


_NUMBER = "([1-9][0-9]{0,9})"
_SALT = "([!-#%-~]{1,256})"
_BASE64 = "([A-Za-z0-9+/]{2,256}={0,2})"
_ADAPTED = "([A-Za-z0-9./]{2,256})"
_HEX = "((?:[0-9a-f]{2}){1,128})"
_BCRYPT = r"(\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53})"
_PASSLIB_BCRYPT = r"([0-9]{1,2})\$([./A-Za-z0-9]{22})\$([./A-Za-z0-9]{31})"
_ARGON2 = rf"\$argon2(id|i|d)(?:\$v=(16|19))?\$m={_NUMBER},t={_NUMBER},p={_NUMBER}\${_BASE64}\${_BASE64}"
_FORMS: tuple[tuple[re.Pattern[str], Callable[..., ForeignHash]], ...] = tuple(
    (re.compile(form), read)
    for form, read in (
        (rf"(?:argon2)?{_ARGON2}", _read_argon2),  # with the word before it, Django
        (rf"(?:bcrypt\$)?{_BCRYPT}", _read_bcrypt),  # with the word before it, Django
        (  # Django
            rf"bcrypt_sha256\${_BCRYPT}",
            lambda encoded: _read_bcrypt(encoded, lambda password: hashlib.sha256(password).hexdigest().encode()),
        ),
        (  # Django
            rf"pbkdf2_(sha1|sha256|sha512)\${_NUMBER}\${_SALT}\${_BASE64}",
            lambda name, count, salt, digest: _read_pbkdf2(name, count, salt.encode(), _decode(digest)),
        ),
        (  # Django
            rf"scrypt\${_NUMBER}\${_SALT}\${_NUMBER}\${_NUMBER}\${_BASE64}",
            lambda n, salt, r, p, digest: _read_scrypt(int(n), r, p, salt.encode(), _decode(digest)),
        ),
        (  # passlib
            rf"\$pbkdf2(?:-(sha256|sha512))?\${_NUMBER}\${_ADAPTED}\${_ADAPTED}",
            lambda name, count, salt, digest: _read_pbkdf2(name or "sha1", count, _decode(salt), _decode(digest)),
        ),
        (rf"\$bcrypt-sha256\$v=(2),t=2b,r={_PASSLIB_BCRYPT}", _read_passlib_bcrypt),
        (rf"\$bcrypt-sha256\$(2)[ab],{_PASSLIB_BCRYPT}", lambda _, *parts: _read_passlib_bcrypt("1", *parts)),
        (  # passlib, and others that follow the PHC string format
            rf"\$scrypt\$ln=([1-9][0-9]?),r={_NUMBER},p={_NUMBER}\${_BASE64}\${_BASE64}",
            lambda n, r, p, salt, digest: _read_scrypt(2 ** int(n), r, p, _decode(salt), _decode(digest)),
        ),
        (  # Werkzeug
            rf"pbkdf2:(sha1|sha256|sha512):{_NUMBER}\${_SALT}\${_HEX}",
            lambda name, count, salt, digest: _read_pbkdf2(name, count, salt.encode(), bytes.fromhex(digest)),
        ),
        (  # Werkzeug
            rf"scrypt:{_NUMBER}:{_NUMBER}:{_NUMBER}\${_SALT}\${_HEX}",
            lambda n, r, p, salt, digest: _read_scrypt(int(n), r, p, salt.encode(), bytes.fromhex(digest)),
        ),
        (  # Firebase, as Supabase writes it
            rf"\$fbscrypt\$v=1,n=([1-9][0-9]?),r={_NUMBER},p=1,ss=([A-Za-z0-9+/]{{0,256}}={{0,2}}),sk={_BASE64}\${_BASE64}\${_BASE64}",
            _read_firebase,
        ),
        (r"([0-9a-f]{32}):([0-9a-f]{128})", _read_better_auth),
    )
)
