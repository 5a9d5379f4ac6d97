"""What forms show of errors: beside the fields that they are about, in sentences."""

from __future__ import annotations

from typing import Any

from ...errors import AccountExists, HandstampError, InvalidCredentials, InvalidFields, TooManyAttempts, Unavailable
from ...wire.problems import row_of

ASKS_AGAIN = (InvalidFields, InvalidCredentials, AccountExists, TooManyAttempts, Unavailable)
"""After these the form is shown again, with what was typed; after all others there is nothing to try."""
_LABELS = {
    "email": "The e-mail address",
    "password": "The password",
    "currentPassword": "The current password",
    "newPassword": "The new password",
}
_FIELDS = {"currentPassword": "current_password", "newPassword": "new_password"}


class Errors(dict[str, str]):
    """What is wrong, by field; nothing for the others."""

    def __missing__(self, _: str) -> str:
        return ""


def told(error: HandstampError) -> dict[str, Any]:
    """Return what a form shows of an error: beside the fields that it is about, else above."""
    status, _ = row_of(type(error))
    if isinstance(error, InvalidFields):
        return {
            "status": status,
            "errors": Errors((_FIELDS.get(name, name), _sentence(name, what)) for name, what in error.fields),
        }
    if isinstance(error, AccountExists):
        return {"status": status, "errors": Errors(email=str(error))}
    if isinstance(error, InvalidCredentials):
        return {"status": status, "errors": Errors(password=str(error))}
    return {"status": status, "notice": str(error), "notice_kind": "wrong"}


def _sentence(field: str, what: str) -> str:
    """Return what is wrong with a field as a sentence; some problems are one already."""
    return what if what[:1].isupper() else f"{_LABELS.get(field, field)} {what.removesuffix('.')}."
