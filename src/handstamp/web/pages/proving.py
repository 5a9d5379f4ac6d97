"""The page that asks for one proof: the code of an app, a recovery code, a passkey or the password.

It has one main action. Other ways are quiet buttons of the same page, which carry on all that it knows. Signing in and confirming
that it is still the same person share it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from ...errors import HandstampError
from ...service.parts.ceremonies import Ceremony
from ...service.parts.factor_proof import GivenFactor
from ..cookies import set_grant
from ..edge import Call
from .passkeys import options_of
from .writer import PageWriter


class ProofForm(msgspec.Struct):
    """What the form of the page holds. `other` is the way that a quiet button asks for; nothing is proved then."""

    way: str = ""
    other: str = ""
    code: str = ""
    recovery_code: str = ""
    passkey: str = ""
    passkey_challenge: str = ""
    password: str = ""
    idempotency_key: str = ""

    def answer(self) -> GivenFactor:
        """Return the second factor that was answered, the one that the page has asked for."""
        return GivenFactor(
            code=self.code if self.way == "totp" else "",
            recovery_code=self.recovery_code if self.way == "recovery_code" else "",
            passkey=self.passkey if self.way == "passkey" else "",
            challenge=self.passkey_challenge if self.way == "passkey" else "",
        )


@dataclass(frozen=True, slots=True)
class ProofPage:
    """What one such page says.

    Attributes:
        title: Above the form, as marked text.
        action: The path that the form is sent to.
        ways: The ways that this person has, the first one first: "passkey", "totp", "recovery_code" or "password".
        begin: Begins the ceremony of a passkey.
        hidden: What the form carries on.
        leave: The path of the page that leads out.
        email: Whose proof it is, "" if the page need not say so.
    """

    title: str
    action: str
    ways: tuple[str, ...]
    hidden: Mapping[str, str]
    leave: str
    begin: Callable[[], Awaitable[Ceremony]]
    email: str = ""

    async def write(self, writer: PageWriter, call: Call, wanted: str = "", error: HandstampError | None = None) -> Response:
        """Return the page that asks for a proof, of the wanted kind if this person has it, and says what was wrong."""
        way = wanted if wanted in self.ways else self.ways[0]
        ceremony = await self.begin() if way == "passkey" else None
        values: dict[str, Any] = {
            "title": call.language.translate(self.title),
            "action": self.action,
            "email": self.email,
            "way": way,
            "others": [each for each in self.ways if each != way],
            "hidden": self.hidden,
            "leave": self.leave,
        }
        if ceremony is not None:
            values |= options_of(ceremony)
        if error is not None:
            response = writer.write_form_again("prove.html", error, call, **values)
        else:
            response = writer.write_page("prove.html", call, **values)
        if ceremony is not None:
            set_grant(response, ceremony.browser, call.cookies)
        return response
