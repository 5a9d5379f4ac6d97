"""E-mail addresses in one spelling."""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email

from ...domain.account import EMAIL_MAX_LENGTH
from ...errors import InvalidFields


def normalise_email(text: str) -> str:
    """Return the one spelling under which an address is kept: NFC, lower case. Raises `InvalidFields` saying what is wrong.

    Case in the local part could differ in theory (RFC 5321 §2.4); no provider lets two people differ by it, and people forget it.
    """
    if len(text) > EMAIL_MAX_LENGTH:
        raise InvalidFields([("email", f"must have at most {EMAIL_MAX_LENGTH} characters")])
    try:
        address = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as problem:
        raise InvalidFields([("email", str(problem).replace("email", "e-mail").replace("@-sign", "@"))]) from None
    return address.normalized.lower()
