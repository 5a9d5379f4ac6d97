"""Check the passwords that people choose."""

from __future__ import annotations

from collections.abc import Sequence

from ...crypto.passwords import common_passwords
from ...domain.account import find_password_problem, normalise_password
from ...errors import InvalidFields
from ..parts.email_address import normalise_email


class PasswordRules:
    """The rules for new passwords in this deployment."""

    def __init__(self, *, min_length: int, service_words: Sequence[str]) -> None:
        """Create them. `service_words` are names of the service, of which no password may consist."""
        self._min_length = min_length
        self._service_words = tuple(service_words)

    def normalise(self, password: str, email: str, *, field: str = "password") -> str:
        """Return a new password in its normalised form.

        Args:
            password: The password as it was typed.
            email: The normalised address of the account.
            field: The name of the field, for the error.

        Raises:
            InvalidFields: If the password cannot be chosen.
        """
        password = normalise_password(password)
        personal = (email, *email.split("@"), *self._service_words)
        problem = find_password_problem(password, min_length=self._min_length, common=common_passwords(), personal=personal)
        if problem is not None:
            raise InvalidFields([(field, problem)])
        return password

    async def normalise_with_email(self, email: str, password: str, *, must_be_public: bool) -> tuple[str, str]:
        """Return the address and the password of a new account in their normalised forms.

        Args:
            email: The address as it was typed.
            password: The password as it was typed.
            must_be_public: True if the domain of the address must exist on the internet.

        Raises:
            InvalidFields: If one of them is invalid. The problems of both are listed.
        """
        problems: list[tuple[str, str]] = []
        try:
            email = await normalise_email(email, must_be_public=must_be_public)
        except InvalidFields as invalid:
            problems += invalid.fields
        try:
            password = self.normalise(password, email)
        except InvalidFields as invalid:
            problems += invalid.fields
        if problems:
            raise InvalidFields(problems)
        return email, password
