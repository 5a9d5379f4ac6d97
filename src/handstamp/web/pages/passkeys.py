"""What pages with passkeys share: the options in a form, the answer of the browser, and what is signalled to it.

`static/passkeys.js` runs the ceremony and sends the form. It fetches nothing: the options are in the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from ...domain.account import Account
from ...errors import HandstampError
from ...service.accounts.factor_changes import Holder
from ...service.parts.ceremonies import Ceremony
from ..cookies import set_grant
from ..edge import Call
from ..operation import UseCases
from ..repeatable import repeatable_form
from .new_totp import write_recovery_codes
from .writer import PageWriter


class PasskeyForm(msgspec.Struct):
    """The form that the script sends. `conditional` is "on" if the browser made the passkey without a question."""

    passkey: str = ""
    passkey_challenge: str = ""
    conditional: str = ""
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True)
class NewPasskeyPage:
    """The page on which a passkey is created, for one kind of holder.

    Attributes:
        action: The path that the form is sent to.
        leave: The path of the page that leads out.
        onward: The path that the page with recovery codes leads to.
        hidden: What the forms carry on, to `onward` too. Without it, `onward` is a page.
    """

    use: UseCases
    writer: PageWriter
    action: str
    leave: str
    onward: str
    hidden: Mapping[str, str]

    async def write(self, call: Call, holder: Holder, error: HandstampError | None = None, **values: Any) -> Response:
        """Return the page, with options that were made for it. `values` are for the template."""
        ceremony = await self.use.own_passkeys.begin(holder, call.caller_with_browser())
        values |= {"hidden": self.hidden, "action": self.action, "leave": self.leave, **options_of(ceremony)}
        if error is not None:
            response = self.writer.write_form_again("new_passkey.html", error, call, **values)
        else:
            response = self.writer.write_page("new_passkey.html", call, **values)
        set_grant(response, ceremony.browser, call.cookies)
        return response

    async def confirm(self, call: Call, holder: Holder, form: PasskeyForm) -> Response | None:
        """Add the passkey. Return the page with the recovery codes that came with it, None if none came."""
        _, codes = await self.use.own_passkeys.confirm(
            holder,
            form.passkey_challenge,
            form.passkey,
            call.caller_with_browser(),
            is_silent=form.conditional == "on",
            request=repeatable_form(form.idempotency_key, "passkeys", form.passkey_challenge, form.passkey),
        )
        if not codes:
            return None
        return write_recovery_codes(self.writer, call, codes, action=self.onward, hidden=self.hidden)


def options_of(ceremony: Ceremony) -> dict[str, str]:
    """Return the options of a ceremony for the attributes and fields of a form."""
    return {"options": json.dumps(ceremony.options), "passkey_challenge": ceremony.challenge}


async def write_signals(use: UseCases, account: Account) -> str:
    """Return what a page of a signed-in person tells the browser about the account's passkeys, as JSON.

    The list is always the whole one: the browser forgets every passkey that is missing (Web Authentication Level 3 §5.1.10).
    """
    found = await use.own_passkeys.list_of(account)
    whose = {"rpId": found.rp_id, "userId": found.handle}
    name = {"name": account.email, "displayName": account.name or account.email}
    accepted = {"allAcceptedCredentialIds": [each.id for each in found.passkeys]}
    return json.dumps(
        [
            {"method": "signalAllAcceptedCredentials", "options": whose | accepted},
            {"method": "signalCurrentUserDetails", "options": whose | name},
        ]
    )
