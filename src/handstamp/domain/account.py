"""A person's account, and which passwords it accepts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from itertools import pairwise

import msgspec

EMAIL_MAX_LENGTH = 254
PASSWORD_MAX_LENGTH = 256
PASSWORD_MAX_BYTES = 4 * PASSWORD_MAX_LENGTH
_LONGEST_WALK = 6
_TRIMMINGS = "0123456789!.?-_ "


class Account(msgspec.Struct, frozen=True):
    """A person who can sign in. `id` is the `sub` of their tokens and is never given to anybody else.

    `epoch` is bumped by whatever must end all of the account's sessions, so that a sign-in that began before cannot leave a
    session behind it.
    """

    id: str
    email: str
    password_hash: str
    created_at_ms: int
    epoch: int = 0
    disabled_at_ms: int | None = None
    email_verified: bool = False
    roles: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Name the account; the password's hash is nobody's to print."""
        return f"Account(id={self.id!r}, epoch={self.epoch})"


def normalise_password(password: str) -> str:
    """Return the form that is hashed: NFC, so that one password typed on two keyboards is one (NIST SP 800-63B-4 §3.1.1.2)."""
    return unicodedata.normalize("NFC", password)


def password_is_sane(password: str) -> bool:
    """Say whether a normalised password may be hashed at all: bounded, and of characters that a person can type."""
    return (
        0 < len(password) <= PASSWORD_MAX_LENGTH
        and len(password.encode("utf-8", "surrogatepass")) <= PASSWORD_MAX_BYTES
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in password)
    )


def password_problem(password: str, *, min_length: int, common: Collection[str], personal: Sequence[str]) -> str | None:
    """Say, in words for the person, why a normalised password cannot be chosen; None where it can.

    Length counts code points and there are no rules of composition (NIST SP 800-63B-4 §3.1.1.2). `common` holds passwords that
    are tried first; `personal` holds what an attacker knows of this account: its address, the service's name.
    """
    if len(password) < min_length:
        return f"is too short: use at least {min_length} characters. A sentence that only you would say works well."
    if not password_is_sane(password):
        return f"must have at most {PASSWORD_MAX_LENGTH} characters, all of which can be typed"
    plain = password.casefold()
    if any(word and word in plain and not plain.replace(word, "").strip(_TRIMMINGS) for word in map(str.casefold, personal)):
        return "is made of your address or of this service's name: choose something that nobody can look up"
    joined = plain.replace(" ", "")
    if plain in common or _is_monotonous(plain) or _is_monotonous(joined) or _is_pair_of(plain, common):
        return "is among the first that an attacker tries: choose something of your own"
    return None


def _is_monotonous(plain: str) -> bool:
    """Say whether it repeats a short piece, or walks along the alphabet or the digits ("aaaa", "abcabc", "123456")."""
    if re.fullmatch(r"(.{1,8}?)\1+.{0,3}", plain, re.DOTALL):
        return True
    steps = [ord(after) - ord(before) for before, after in pairwise(plain)]
    return sum(step not in (-1, 0, 1) for step in steps) <= len(plain) // _LONGEST_WALK


def _is_pair_of(plain: str, common: Collection[str]) -> bool:
    """Say whether it is one common password set behind another, or one with digits behind it ("sunshineprincess")."""
    for cut in range(3, len(plain)):
        head, tail = plain[:cut], plain[cut:]
        if head in common and (tail in common or tail.strip(_TRIMMINGS) == ""):
            return True
    return False
