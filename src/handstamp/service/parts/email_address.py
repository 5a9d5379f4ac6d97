"""Normalise e-mail addresses."""

from __future__ import annotations

from ...domain.account import EMAIL_MAX_LENGTH
from ...errors import InvalidFields


def normalise_email(text: str) -> str:
    """Return the spelling in which an address is stored: NFC, lower case.

    The local part may be case-sensitive in theory (RFC 5321 §2.4). In practice no provider gives two people addresses that differ
    only in case, and people do not type it consistently.

    Raises:
        InvalidFields: If it is not an e-mail address, with the reason.
    """
    # Its import compiles large patterns, which commands that only list do not need. The web application imports it at its start.
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415

    if len(text) > EMAIL_MAX_LENGTH:
        raise InvalidFields([("email", f"must have at most {EMAIL_MAX_LENGTH} characters")])
    try:
        address = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as problem:
        raise InvalidFields([("email", str(problem).replace("email", "e-mail").replace("@-sign", "@"))]) from None
    return address.normalized.lower()
