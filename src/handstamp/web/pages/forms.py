"""What forms show of an error: a sentence beside each field that is wrong, or above the form."""

from __future__ import annotations

from typing import Any

from ...errors import (
    AccountExists,
    HandstampError,
    InvalidCode,
    InvalidCredentials,
    InvalidFields,
    InvalidPasskey,
    TooManyAttempts,
    Unavailable,
)
from ...languages.catalogue import Catalogue
from ...text import mark
from ...wire.problems import detail_of, row_of

CORRECTABLE = (InvalidFields, InvalidCredentials, InvalidCode, InvalidPasskey, AccountExists, TooManyAttempts, Unavailable)
"""Errors after which the form is shown again with what was typed. After all others, sending it again will not help."""
_LABELS = {
    "code": mark("The code"),
    "passkey": mark("The passkey"),
    "email": mark("The e-mail address"),
    "name": mark("The name"),
    "password": mark("The password"),
    "currentPassword": mark("The current password"),
    "newPassword": mark("The new password"),
    "recoveryCode": mark("The recovery code"),
    "reason": mark("The reason"),
    "role": mark("The role"),
}
_FIELDS = {"currentPassword": "current_password", "newPassword": "new_password", "recoveryCode": "recovery_code"}


class FieldErrors(dict[str, str]):
    """What is wrong, by the name of the field; an empty string for all others."""

    def __missing__(self, _: str) -> str:
        return ""


def describe_error(error: HandstampError, language: Catalogue) -> dict[str, Any]:
    """Return the status and the values with which a form's template shows an error in a language."""
    status, _ = row_of(type(error))
    detail = detail_of(error, language.translate)
    match error:
        case InvalidFields(fields=fields):
            sentences = ((_FIELDS.get(name, name), _sentence(name, problem, language)) for name, problem in fields)
            return {"status": status, "errors": FieldErrors(sentences)}
        case AccountExists():
            return {"status": status, "errors": FieldErrors(email=detail)}
        case InvalidCode(verdict=verdict):
            field = "recovery_code" if verdict == "wrong_recovery_code" else "code"
            return {"status": status, "errors": FieldErrors({field: detail})}
        case InvalidCredentials():
            return {"status": status, "errors": FieldErrors(password=detail)}
        case _:
            return {"status": status, "notice": detail, "notice_kind": "wrong"}


def _sentence(field: str, problem: str, language: Catalogue) -> str:
    """Return a problem of a field as a sentence. Some problems are sentences already, which English shows by the capital."""
    translated = language.translate(problem)
    if problem[:1].isupper():
        return translated
    return f"{language.translate(_LABELS.get(field, field))} {translated.removesuffix('.')}."
