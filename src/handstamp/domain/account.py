"""Accounts, and the rules for passwords."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from itertools import pairwise

import msgspec

from ..errors import InvalidFields
from ..text import mark, mark_plural

EMAIL_MAX_LENGTH = 254
NAME_MAX_LENGTH = 100
NAME_MAX_TYPED = 4 * NAME_MAX_LENGTH
"""Code points of a name as it is typed. Composing a longer text costs time, and no form of it is a name."""
PASSWORD_MAX_LENGTH = 256
PASSWORD_MAX_BYTES = 4 * PASSWORD_MAX_LENGTH
MAX_COMBINING = 30
"""Combining characters in a row. No language has more (Unicode UAX #15 §13), and the time to sort them grows as their square."""
_RUN_LENGTH = 6
"""A text is a run if no more than one in so many steps leaves it."""
_LOOK_ALIKES = tuple(str.maketrans("013457@$!|", f"o{one}eastas{one}{one}") for one in "il")
"""Digits and signs that stand for letters ("p4$$w0rd"). 1 is read as i and as l."""
_NOT_IN_NAMES = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of characters that no name has: controls, half a surrogate pair, private and unassigned ones, line breaks."""
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Invisible characters that turn the direction of the text after them, also outside of the name (Unicode UAX #9 §2)."""
_FILLERS = "0123456789!.?-_ "
"""Characters that people add to a word to make it long enough. They add no strength."""


class Account(msgspec.Struct, frozen=True):
    """A person who can sign in. Times are milliseconds since 1970.

    Attributes:
        id: The `sub` of the person's tokens. It is never reused.
        password_hash: "" if the person has no password. No password matches it.
        epoch: Increased by every change that ends all sessions of the account. A sign-in reads it first and creates its session
            only if it is unchanged, so a sign-in already in progress leaves no session behind.
        name: What the person wants to be called, as `normalise_name` returns it; "" if unknown.
        language: The language of the person's mails, as a tag (RFC 5646); "" if unknown.
    """

    id: str
    email: str
    password_hash: str
    created_at_ms: int
    epoch: int = 0
    disabled_at_ms: int | None = None
    email_verified: bool = False
    roles: tuple[str, ...] = ()
    name: str = ""
    language: str = ""

    def __repr__(self) -> str:
        """Return a text without the password hash, the address and the name."""
        return f"Account(id={self.id!r}, epoch={self.epoch})"


def normalise_name(text: str) -> str:
    """Return a person's name as it is stored: NFC, without white space around it, and with single spaces inside.

    It has one line and no character that changes the text around it, so it can stand in a page, a mail or a log. It is still a
    stranger's text: no mail to an address that is not proven to be theirs may contain it.

    Raises:
        InvalidFields: If it is too long, or has characters that no name has.
    """
    if len(text) <= NAME_MAX_TYPED:
        text = re.sub("[ \u00a0\u3000]+", " ", unicodedata.normalize("NFC", text)).strip(" ")
    if len(text) > NAME_MAX_LENGTH:
        raise InvalidFields([("name", mark("must have at most %(limit)s characters", limit=NAME_MAX_LENGTH))])
    if any(character in _DIRECTIONS or unicodedata.category(character) in _NOT_IN_NAMES for character in text):
        raise InvalidFields([("name", mark("contains characters that names cannot have"))])
    return text


def normalise_password(password: str) -> str:
    """Return the password in NFC, the form that is hashed.

    Keyboards differ in how they compose letters (NIST SP 800-63B-4 §3.1.1.2). A text of more than `PASSWORD_MAX_BYTES` code
    points, or with more than `MAX_COMBINING` combining characters in a row, is returned as it is: composing it takes long.
    """
    if len(password) > PASSWORD_MAX_BYTES or (not password.isascii() and _combines_many(password)):
        return password
    return unicodedata.normalize("NFC", password)


def _combines_many(text: str) -> bool:
    run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run > MAX_COMBINING:
            return True
    return False


def is_hashable_password(password: str) -> bool:
    """Return True if a normalised password has an allowed length and no control characters, so that it may be hashed."""
    return (
        0 < len(password) <= PASSWORD_MAX_LENGTH
        and len(password.encode("utf-8", "surrogatepass")) <= PASSWORD_MAX_BYTES
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in password)
    )


def find_password_problem(password: str, *, min_length: int, common: Collection[str], personal: Sequence[str]) -> str | None:
    """Return why a person cannot choose this password, as a text for them, or None if they can.

    Length counts code points, and no character classes are required (NIST SP 800-63B-4 §3.1.1.2).

    Args:
        password: A normalised password.
        min_length: The least number of code points.
        common: Passwords that attackers try first, case-folded.
        personal: Words that an attacker knows about this account: its address, the name of the service.
    """
    if len(password) < min_length:
        return mark_plural(
            "is too short: use at least %(count)s character. A sentence that only you would say works well.",
            "is too short: use at least %(count)s characters. A sentence that only you would say works well.",
            count=min_length,
        )
    if not is_hashable_password(password):
        return mark("must have at most %(limit)s characters and no control characters", limit=PASSWORD_MAX_LENGTH)
    plain = password.casefold()
    if any(word and word in plain and not plain.replace(word, "").strip(_FILLERS) for word in map(str.casefold, personal)):
        return mark("consists of your address or the name of this service: choose something that cannot be looked up")
    spellings = _list_spellings(plain)
    if any(spelling in common or _is_monotonous(spelling) or _is_common_pair(spelling, common) for spelling in spellings):
        return mark("is one that attackers try first: choose something of your own")
    return None


def _list_spellings(plain: str) -> set[str]:
    """Return what a password may be a spelling of: without spaces and punctuation, and with letters in place of look-alikes."""
    spellings = {plain, plain.replace(" ", ""), *(plain.translate(table) for table in _LOOK_ALIKES)}
    return spellings | {squeezed for spelling in spellings if (squeezed := "".join(filter(str.isalnum, spelling)))}


def _is_monotonous(plain: str) -> bool:
    """Return True for a repeated short piece, and for a run along the alphabet or the digits ("aaaa", "abcabc", "123456")."""
    if re.fullmatch(r"(.{1,8}?)\1+.{0,3}", plain, re.DOTALL):
        return True
    steps = [ord(after) - ord(before) for before, after in pairwise(plain)]
    return sum(step not in (-1, 0, 1) for step in steps) <= len(plain) // _RUN_LENGTH


def _is_common_pair(plain: str, common: Collection[str]) -> bool:
    """Return True for two common passwords in a row, and for a common one followed by digits ("sunshineprincess")."""
    for cut in range(3, len(plain)):
        head, tail = plain[:cut], plain[cut:]
        if head in common and (tail in common or tail.strip(_FILLERS) == ""):
            return True
    return False
