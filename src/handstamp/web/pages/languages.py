"""Which language a page is in: what an application asks for, then the account's, then what the browser prefers."""

from __future__ import annotations

from starlette.responses import Response

from ...domain.account import Account
from ...languages.choice import first_available, requested_language
from ..cookies import set_language
from ..edge import Call, Handler


def in_language(handle: Handler) -> Handler:
    """Return a handler that first chooses the language of its page.

    `ui_locales` in the query overrides the cookie of an earlier page, and both override `Accept-Language`. A cookie keeps what
    `ui_locales` has asked for, for the pages that follow.
    """

    async def handle_in_language(call: Call) -> Response:
        requested = requested_language(call.request.query_params.get("ui_locales", ""))
        await call.load_language(requested or first_available([call.language_cookie]) or "")
        response = await handle(call)
        if requested is not None:
            set_language(response, requested, call.cookies)
        return response

    return handle_in_language


async def prefer_account_language(call: Call, account: Account | None) -> None:
    """Answer in the language of an account, unless an application has asked for another one."""
    if account is not None and account.language and not call.language_cookie and "ui_locales" not in call.request.query_params:
        await call.load_language(first_available([account.language]) or "")
