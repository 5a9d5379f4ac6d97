"""The pages on which people give their account another address, and undo a change that they did not make."""

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
from .mailed import MailedForm, redirect_done, redirect_to_code
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
            return self._write_taken(call)
        return redirect_done(self.writer, call, "address")

    async def undo(self, call: Call, form: MailedForm, _: Destination) -> Response:
        """Give the account its old address back."""
        try:
            await self.use.change_email.undo(form.shown(call), call.caller)
        except AccountExists:
            return self._write_taken(call)
        return self.writer.write_page(
            "message.html",
            call,
            title=call.language.translate(mark("Your address is back")),
            text=call.language.translate(
                mark("Every device is signed out, and the password is removed. Choose a new one with the mail that we have sent.")
            ),
        )

    def _write_taken(self, call: Call) -> Response:
        return self.writer.write_page(
            "message.html",
            call,
            status=409,
            title=call.language.translate(mark("This address has an account")),
            text=call.language.translate(
                mark("Another account has this address now. Sign in to that one, or ask the people who run this service.")
            ),
        )
