"""The page for signing in, which several flows lead to: its form, and the options with which a passkey signs in."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from ...crypto.passkeys import find_id
from ...errors import HandstampError, InvalidPasskey, UnknownPasskey
from ..cookies import set_grant
from ..edge import Call
from ..operation import UseCases
from .passkeys import options_of
from .writer import PageWriter


async def write_sign_in(
    use: UseCases, writer: PageWriter, call: Call, error: HandstampError | None = None, **values: Any
) -> Response:
    """Return the page, which says what was wrong. `values` are for the template."""
    ceremony = await use.passkey_sign_in.begin(call.caller_with_browser())
    values |= options_of(ceremony)
    if error is not None:
        response = writer.write_form_again("sign_in.html", error, call, **values)
    else:
        response = writer.write_page("sign_in.html", call, **values)
    set_grant(response, ceremony.browser, call.cookies)
    return response


def write_unknown(use: UseCases, error: HandstampError, answer: str) -> str:
    """Return what tells the browser that a passkey is not known here, as JSON; "" unless that is what was wrong.

    The browser forgets it for good (Web Authentication Level 3 §5.1.10): no other refusal may lead to this.
    """
    if not isinstance(error, UnknownPasskey):
        return ""
    try:
        options = {"rpId": use.passkey_sign_in.rp_id, "credentialId": find_id(answer)}
    except InvalidPasskey:
        return ""
    return json.dumps([{"method": "signalUnknownCredential", "options": options}])
