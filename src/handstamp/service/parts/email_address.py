"""Normalise e-mail addresses."""

from __future__ import annotations

import asyncio
import importlib
import re

from ...domain.account import EMAIL_MAX_LENGTH
from ...errors import InvalidFields
from ...text import mark, mark_instead

_HOST = re.compile(r"(?!xn--)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.(?!xn--)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII)
"""The name of a host in ASCII (RFC 1123 §2.1), none of whose labels is an encoded international one."""
_LABEL_MAX_LENGTH = 63
"""Of one label of a domain name (RFC 1035 §2.3.4)."""


async def load_rules() -> None:
    """Import the library of the rules on a thread, so that neither the start of a server nor its first sign-in waits for it."""
    await asyncio.to_thread(importlib.import_module, "email_validator")


async def normalise_email(text: str, *, must_be_public: bool = False) -> str:
    """Return the spelling in which an address is stored: without white space around it, NFC, lower case.

    The local part may be case-sensitive in theory (RFC 5321 §2.4). In practice no provider gives two people addresses that differ
    only in case, and people do not type it consistently.

    Args:
        text: The address as it was typed.
        must_be_public: True to refuse domains that do not exist on the internet, such as `.local`: strangers register with
            public addresses. Operators may create others, and signing in judges the form as little as it can.

    Raises:
        InvalidFields: If it is not an e-mail address, with the reason.
    """
    text = text.strip()
    if len(text) > EMAIL_MAX_LENGTH:
        raise InvalidFields([("email", mark("must have at most %(limit)s characters", limit=EMAIL_MAX_LENGTH))])
    if any(len(label) > _LABEL_MAX_LENGTH for label in text.rpartition("@")[2].split(".")):
        raise InvalidFields(
            [("email", mark("has a part after the @ of more than %(limit)s characters", limit=_LABEL_MAX_LENGTH))]
        )
    if not must_be_public and text.isascii() and _HOST.fullmatch(text.rpartition("@")[2].lower()):
        return _normalise(text, must_be_public)
    return await asyncio.to_thread(_normalise, text, must_be_public)  # international domain names take milliseconds


def _normalise(text: str, must_be_public: bool) -> str:
    local, _, domain = text.lower().rpartition("@")
    if not must_be_public and _HOST.fullmatch(domain):  # the library refuses names of intranets
        return f"{_validate(f'{local}@example.com').partition('@')[0]}@{domain}"
    return _validate(text)


def _validate(text: str) -> str:
    # Imported here because it takes 30 ms, which commands that read no address need not pay.
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415

    try:
        address = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as problem:
        english = str(problem).replace("email", "e-mail").replace("@-sign", "@")
        raise InvalidFields([("email", mark_instead("This is not a valid e-mail address.", english=english))]) from None
    return address.normalized.lower()
