"""What forms show of an error: a sentence beside each field that is wrong, or above the form."""

from __future__ import annotations

from typing import Any

from ...errors import AccountExists, HandstampError, InvalidCredentials, InvalidFields, TooManyAttempts, Unavailable
from ...wire.problems import row_of

CORRECTABLE = (InvalidFields, InvalidCredentials, AccountExists, TooManyAttempts, Unavailable)
"""Errors after which the form is shown again with what was typed. After all others, sending it again will not help."""
_LABELS = {
    "email": "The e-mail address",
    "password": "The password",
    "currentPassword": "The current password",
    "newPassword": "The new password",
}
_FIELDS = {"currentPassword": "current_password", "newPassword": "new_password"}


class FieldErrors(dict[str, str]):
    """What is wrong, by the name of the field; an empty string for all others."""

    def __missing__(self, _: str) -> str:
        return ""


def describe_error(error: HandstampError) -> dict[str, Any]:
    """Return the status and the values with which a form's template shows an error."""
    status, _ = row_of(type(error))
    if isinstance(error, InvalidFields):
        errors = FieldErrors((_FIELDS.get(name, name), _sentence(name, problem)) for name, problem in error.fields)
        return {"status": status, "errors": errors}
    if isinstance(error, AccountExists):
        return {"status": status, "errors": FieldErrors(email=str(error))}
    if isinstance(error, InvalidCredentials):
        return {"status": status, "errors": FieldErrors(password=str(error))}
    return {"status": status, "notice": str(error), "notice_kind": "wrong"}


def _sentence(field: str, problem: str) -> str:
    """Return a problem of a field as a sentence. Some problems are sentences already."""
    return problem if problem[:1].isupper() else f"{_LABELS.get(field, field)} {problem.removesuffix('.')}."
