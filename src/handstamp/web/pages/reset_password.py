"""The pages on which people who have forgotten the password choose a new one."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from ...service.parts.one_time import keep_browser_secret
from ...text import mark
from ..body import read_form
from ..edge import Call
from ..operation import UseCases
from .destination import Destination
from .forms import CORRECTABLE
from .mailed import MailedForm, redirect_to_code
from .visitor import require_browser
from .writer import PageWriter

RESET = mark("Your password is set. Sign in with it.")


class ForgotForm(msgspec.Struct):
    """The form that asks for a mail."""

    email: str = ""


@dataclass(frozen=True, slots=True)
class ResetPages:
    """The handlers of these pages. All but `show_forgot` raise `NotFound` if this service sends no mail."""

    use: UseCases
    writer: PageWriter

    async def show_forgot(self, call: Call) -> Response:
        """Return the form, or whom to ask if this service sends no mail."""
        return self.writer.write_page("forgot.html", call, mail_is_on=self.use.mail_is_on, support=self.use.support_contact)

    async def submit_forgot(self, call: Call) -> Response:
        """Send the mail, and go on to the page that takes its code. Both are the same for an address without an account."""
        self.use.require_mail()
        require_browser(call)
        form = await read_form(call.request, ForgotForm)
        browser = keep_browser_secret(call.grant_cookie)
        try:
            await self.use.reset_password.ask(form.email, call.caller, browser=browser, earlier=call.earlier_sign_ins())
        except CORRECTABLE as error:
            return self.writer.write_form_again("forgot.html", error, call, email=form.email, mail_is_on=True, support="")
        return redirect_to_code(self.writer, call, "reset_password", browser)

    async def reset(self, call: Call, form: MailedForm, _: Destination) -> Response:
        """Set the new password."""
        await self.use.reset_password.confirm(form.shown(call), form.new_password, call.caller)
        return self.writer.redirect("/sign-in?done=reset")
