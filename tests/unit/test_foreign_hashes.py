"""Hashes of other systems: each is made by the library that makes them elsewhere, and hostile ones are refused."""

from __future__ import annotations

import threading
from collections.abc import Callable

import argon2
import bcrypt
import passlib.hash
import pytest
from django.contrib.auth import hashers
from hypothesis import given
from hypothesis import strategies as st
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher
from werkzeug.security import generate_password_hash

from handstamp.crypto.foreign_hashes import (
    MAX_ARGON2_BLOCKS,
    MAX_ITERATIONS,
    MAX_MEMORY_BYTES,
    MAX_SCRYPT_BLOCKS,
    ForeignHash,
    UnusableHash,
    read_foreign_hash,
)
from handstamp.crypto.passwords import PasswordHasher, _Memory

PASSWORD = "kelp lantern rivet 41 é of the tests"
FIREBASE = (  # https://github.com/firebase/scrypt#password-hashing, whose password is user1password
    "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,"
    "sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="
    "$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="
)
HASHER = PasswordHasher("owasp")
BETTER_AUTH = (  # made by better-auth 1.7.25
    "ffa453b3287b801c5eb28cf231f528f4:"
    "5d4ba4a1b1c971726238e35a2b9e98c75f9b39b158034728c217c7cf69605befd5dbc1bc3329d2b89cb8526ceb7a10af8afc43a6839fbfec22d716f5f6b13b57"
)


def django_bcrypt(hasher: hashers.BCryptSHA256PasswordHasher) -> str:
    """Return a hash with little cost."""
    hasher.rounds = 4
    encoded: str = hasher.encode(PASSWORD, hasher.salt())
    return encoded


def django_argon2() -> str:
    """Return a hash with little cost."""
    hasher = hashers.Argon2PasswordHasher()
    hasher.time_cost, hasher.memory_cost, hasher.parallelism = 1, 64, 2
    encoded: str = hasher.encode(PASSWORD, "saltsaltsalt")
    return encoded


MAKERS: dict[str, Callable[[], str]] = {
    "Django PBKDF2": lambda: hashers.PBKDF2PasswordHasher().encode(PASSWORD, "seasalt2", iterations=1000),
    "Django PBKDF2 SHA-1": lambda: hashers.PBKDF2SHA1PasswordHasher().encode(PASSWORD, "seasalt2", iterations=1000),
    "Django Argon2": django_argon2,
    "Django bcrypt_sha256": lambda: django_bcrypt(hashers.BCryptSHA256PasswordHasher()),
    "Django bcrypt": lambda: django_bcrypt(hashers.BCryptPasswordHasher()),
    "Django scrypt": lambda: hashers.ScryptPasswordHasher().encode(PASSWORD, "seasalt2", n=16),
    "passlib pbkdf2_sha1": lambda: passlib.hash.pbkdf2_sha1.using(rounds=1000).hash(PASSWORD),
    "passlib pbkdf2_sha256": lambda: passlib.hash.pbkdf2_sha256.using(rounds=1000).hash(PASSWORD),
    "passlib pbkdf2_sha512": lambda: passlib.hash.pbkdf2_sha512.using(rounds=1000).hash(PASSWORD),
    "passlib bcrypt_sha256": lambda: passlib.hash.bcrypt_sha256.using(rounds=4).hash(PASSWORD),
    "passlib bcrypt_sha256, version 1": lambda: passlib.hash.bcrypt_sha256.using(rounds=4, version=1).hash(PASSWORD),
    "passlib bcrypt": lambda: passlib.hash.bcrypt.using(rounds=4, ident="2a").hash(PASSWORD),
    "passlib scrypt": lambda: passlib.hash.scrypt.using(rounds=4).hash(PASSWORD),
    "pwdlib Argon2": lambda: Argon2Hasher(time_cost=1, memory_cost=64, parallelism=2).hash(PASSWORD),
    "pwdlib bcrypt": lambda: BcryptHasher(rounds=4).hash(PASSWORD),
    "bcrypt": lambda: bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
    "bcrypt of PHP": lambda: "$2y" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()[3:],
    "argon2i": lambda: argon2.PasswordHasher(1, 64, 1, type=argon2.Type.I).hash(PASSWORD),
    "argon2d": lambda: argon2.PasswordHasher(1, 64, 1, type=argon2.Type.D).hash(PASSWORD),
    "Werkzeug scrypt": lambda: generate_password_hash(PASSWORD, "scrypt:16:8:2"),
    "Werkzeug PBKDF2": lambda: generate_password_hash(PASSWORD, "pbkdf2:sha256:1000"),
    "Werkzeug PBKDF2 SHA-512": lambda: generate_password_hash(PASSWORD, "pbkdf2:sha512:1000"),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_a_hash_matches_its_password_alone(maker: str) -> None:
    """The right password matches, and others that differ a little do not. Each hash is due for a new one of ours."""
    encoded = MAKERS[maker]()
    assert HASHER.matches(encoded, PASSWORD)
    assert not any(HASHER.matches(encoded, wrong) for wrong in (PASSWORD[:-1], PASSWORD + " ", PASSWORD.upper(), "x"))
    assert HASHER.is_outdated(encoded)


def test_firebase_matches_its_published_vector() -> None:
    """Its modified scrypt encrypts the signer key of the project; another signer key gives another hash."""
    assert read_foreign_hash(FIREBASE).matches("user1password")
    assert not read_foreign_hash(FIREBASE).matches("user2password")
    assert not read_foreign_hash(FIREBASE.replace("sk=j", "sk=k")).matches("user1password")


def test_better_auth_matches_a_hash_that_it_made() -> None:
    """Its salt is used as text, and the password in NFKC: a ligature counts as its letters."""
    assert read_foreign_hash(BETTER_AUTH).matches("ﬁnch lantern")
    assert read_foreign_hash(BETTER_AUTH).matches("finch lantern")
    assert not read_foreign_hash(BETTER_AUTH).matches("Finch lantern")


def test_bcrypt_reads_72_bytes_as_where_the_hash_was_made() -> None:
    """What comes after them never counted, and does not keep a person out now. A character may be cut in two."""
    encoded = bcrypt.hashpw(("é" * 36).encode(), bcrypt.gensalt(4)).decode()
    assert read_foreign_hash(encoded).matches("é" * 36 + " and the rest")
    assert not read_foreign_hash(encoded).matches("é" * 35)
    cut = bcrypt.hashpw(("x" + "é" * 36).encode()[:72], bcrypt.gensalt(4)).decode()
    assert read_foreign_hash(cut).matches("x" + "é" * 36)


def test_bcrypt_ignores_bits_that_say_nothing() -> None:
    """Four bits of the last character of a salt, and two of a digest's, are not read by any system; some systems set them."""
    encoded = bcrypt.hashpw(b"kelp lantern", b"$2b$04$abcdefghijklmnopqrstu.").decode()
    digest_ends = next(group for group in ("./AB", "CDEF", "GHIJ", "KLMN", "OPQR", "STUV", "WXYZ", "abcd", "efgh", "ijkl", "mnop",
                                           "qrst", "uvwx", "yz01", "2345", "6789") if encoded[-1] in group)  # fmt: skip
    for salt_end in "./ABCDEFGHIJKLMN":
        for digest_end in digest_ends:
            assert read_foreign_hash(f"{encoded[:28]}{salt_end}{encoded[29:-1]}{digest_end}").matches("kelp lantern")
    assert not read_foreign_hash(f"{encoded[:28]}O{encoded[29:]}").matches("kelp lantern")


def test_the_defaults_of_django_are_affordable() -> None:
    """The costs that it uses now are within the bounds, with room for its next releases."""
    assert hashers.PBKDF2PasswordHasher.iterations <= MAX_ITERATIONS / 2
    scrypt = hashers.ScryptPasswordHasher
    assert scrypt.work_factor * scrypt.block_size * scrypt.parallelism <= MAX_SCRYPT_BLOCKS / 2
    argon = hashers.Argon2PasswordHasher
    assert argon.memory_cost * 1024 <= MAX_MEMORY_BYTES
    assert argon.memory_cost * argon.time_cost <= MAX_ARGON2_BLOCKS / 2


SALT, TAG, HEX = "c2FsdHNhbHRzYWx0", "dGFndGFndGFndGFndGFndGFndGFndGFn", "0" * 64
HOSTILE = {
    "iterations": f"pbkdf2_sha256$3000001$salt${TAG}",
    "many digits": f"pbkdf2_sha256${'9' * 1000}$salt${TAG}",
    "no iterations": f"pbkdf2_sha256$0$salt${TAG}",
    "negative iterations": f"pbkdf2_sha256$-1$salt${TAG}",
    "digits of another script": f"pbkdf2_sha256$\u0661\u0660\u0660$salt${TAG}",
    "no salt": f"pbkdf2_sha256$1000$${TAG}",
    "a huge salt": f"pbkdf2_sha256$1000${'s' * 257}${TAG}",
    "a digest of one byte": "pbkdf2_sha256$1000$salt$dA==",
    "a digest of five blocks": f"pbkdf2:sha256:1000$salt${HEX * 2}00",
    "an unknown digest": f"pbkdf2:md5:1000$salt${HEX}",
    "bcrypt 15": "$2b$15$" + "a" * 53,
    "bcrypt 99": "$2b$99$" + "a" * 53,
    "bcrypt 2x": "$2x$04$" + "a" * 53,
    "memory of Argon2": f"$argon2id$v=19$m=4194304,t=1,p=1${SALT}${TAG}",
    "passes of Argon2": f"$argon2id$v=19$m=65536,t=4294967295,p=1${SALT}${TAG}",
    "lanes of Argon2": f"$argon2id$v=19$m=65536,t=1,p=16777215${SALT}${TAG}",
    "less memory than lanes": f"$argon2id$v=19$m=8,t=1,p=2${SALT}${TAG}",
    "data of Argon2": f"$argon2id$v=19$m=64,t=1,p=1,data=AAAA${SALT}${TAG}",
    "memory of scrypt": f"$scrypt$ln=31,r=8,p=1${SALT}${TAG}",
    "r of scrypt": f"scrypt:16:1073741824:1$salt${HEX}",
    "p of scrypt": f"scrypt:1024:8:1073741823$salt${HEX}",
    "N of scrypt is no power of two": f"scrypt:16383:8:1$salt${HEX}",
    "N of scrypt is 1": f"scrypt:1:8:1$salt${HEX}",
    "N of scrypt is too much for r": f"scrypt:65536:1:1$salt${HEX}",
    "memory of Firebase": FIREBASE.replace("n=14", "n=32"),
    "rounds of Firebase": FIREBASE.replace("r=8", "r=99999"),
    "a short signer key": FIREBASE.replace("sk=jxsp", "sk="),
    "not base64": "$argon2id$v=19$m=64,t=1,p=1$c2Fsd$AAAAA",
    "MD5": "md5$salt$0123456789abcdef0123456789abcdef",
    "plain text": PASSWORD,
    "a line break": f"pbkdf2_sha256$1000$salt${TAG}\n",
    "NUL": f"pbkdf2_sha256$1000$sa\0lt${TAG}",
    "half a surrogate pair": f"pbkdf2_sha256$1000$sa\ud800lt${TAG}",
    "a long text": "$" * 100_000,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_hash_is_refused_and_never_computed(case: str) -> None:
    """It is refused by its parameters, and at a sign-in it costs the same as an unknown address."""
    with pytest.raises(UnusableHash) as refused:
        read_foreign_hash(HOSTILE[case])
    assert len(str(refused.value)) < 150


def test_a_hash_that_cannot_be_checked_matches_no_password() -> None:
    """Also if it came into the database by another way than an import. The check costs the same as for an unknown address."""
    assert not any(HASHER.matches(encoded, PASSWORD) for encoded in ("", "plain text", HOSTILE["memory of scrypt"]))


@given(st.sampled_from([FIREBASE, *(f for f in HOSTILE.values() if len(f) < 400)]), st.data())
def test_whatever_is_accepted_is_affordable(text: str, data: st.DataObject) -> None:
    """Numbers and pieces of hashes are exchanged at random. The result is refused with words, or is within the bounds."""
    at = data.draw(st.integers(0, len(text)))
    piece = data.draw(st.one_of(st.integers(0, 10**11).map(str), st.sampled_from(list(HOSTILE.values())), st.text(max_size=4)))
    try:
        found = read_foreign_hash(text[:at] + piece + text[at + data.draw(st.integers(0, 3)) :])
    except UnusableHash:
        return
    assert isinstance(found, ForeignHash)
    assert found.memory_bytes <= MAX_MEMORY_BYTES
    assert 16 <= len(found.digest) <= 256


def test_costly_hashes_share_a_bounded_memory() -> None:
    """A check waits until another one has given back what it needs."""
    memory, order = _Memory(100), list[str]()
    first_is_in, second_is_in = threading.Event(), threading.Event()

    def second() -> None:
        first_is_in.wait()
        with memory.take(60):
            order.append("second")
        second_is_in.set()

    thread = threading.Thread(target=second)
    thread.start()
    with memory.take(60):
        first_is_in.set()
        with memory.take(40):
            assert not second_is_in.wait(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
