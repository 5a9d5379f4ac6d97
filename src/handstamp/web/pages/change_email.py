"""The pages on which people give their account another address."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from ...errors import AccountExists
from ...service.parts.one_time import keep_browser_secret
from ...service.sessions.living import require_account
from ...text import mark
from ..body import read_form
from ..edge import Call
from ..operation import UseCases
from .destination import Destination
from .forms import CORRECTABLE
from .mailed import MailedForm, redirect_done, redirect_to_code, write_taken
from .visitor import arrives_from_elsewhere, require_confirmed, require_visitor
from .writer import PageWriter

ADDRESS_CHANGED = mark("Your account has its new address.")


class NewAddressForm(msgspec.Struct):
    """The form that takes the new address."""

    email: str = ""


@dataclass(frozen=True, slots=True)
class ChangeEmailPages:
    """The handlers of these pages. They raise `NotFound` if this service sends no mail."""

    use: UseCases
    writer: PageWriter

    async def show_new_address(self, call: Call) -> Response:
        """Return the form. Raises `InsufficientAuthentication`, which leads over the page that asks for a proof."""
        self.use.require_mail()
        if arrives_from_elsewhere(call):
            return self.writer.load_again(call)
        _, account = await require_confirmed(self.use, call)
        return self.writer.write_page("new_address.html", call, current=account.email)

    async def submit_new_address(self, call: Call) -> Response:
        """Send a mail to the new address, and go on to the page that takes its code."""
        self.use.require_mail()
        form = await read_form(call.request, NewAddressForm)
        session, account = await require_visitor(self.use, call)
        account = require_account(account)
        browser = keep_browser_secret(call.grant_cookie)
        try:
            await self.use.change_email.ask(session, account, form.email, call.caller, browser=browser)
        except CORRECTABLE as error:
            return self.writer.write_form_again("new_address.html", error, call, email=form.email, current=account.email)
        return redirect_to_code(self.writer, call, "change_email", browser)

    async def confirm(self, call: Call, form: MailedForm, _: Destination) -> Response:
        """Change the address."""
        try:
            await self.use.change_email.confirm(form.shown(call), call.caller)
        except AccountExists:
            return write_taken(self.writer, call)
        return redirect_done(self.writer, call, "address")
