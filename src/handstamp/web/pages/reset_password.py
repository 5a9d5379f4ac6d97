"""The pages on which people who have forgotten the password choose a new one."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from ...errors import HandstampError, InvalidCode
from ...service.parts.one_time import Proven, Shown, keep_browser_secret
from ...text import mark
from ..body import read_form
from ..edge import Call
from ..operation import UseCases
from .forms import CORRECTABLE
from .mailed import redirect_to_code, write_code_page, write_link_page, write_refused_link
from .visitor import require_browser
from .writer import PageWriter

RESET = mark("Your password is set. Sign in with it.")


class ForgotForm(msgspec.Struct):
    """The form that asks for a mail."""

    email: str = ""


class ResetForm(msgspec.Struct):
    """The form that takes the new password, with the code or behind the link."""

    token: str = ""
    code: str = ""
    new_password: str = ""

    def shown(self, call: Call) -> Shown:
        """Return what the form shows: its link, or its code and the cookie of the browser."""
        return Shown(token=self.token, code=self.code, browser=call.grant_cookie)


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
        return redirect_to_code(self.writer, call, "/reset/code", browser)

    async def show_reset_code(self, call: Call) -> Response:
        """Return the page that takes the code and the new password."""
        self.use.require_mail()
        return await write_code_page(self.use, self.writer, call, "reset_password")

    async def submit_reset_code(self, call: Call) -> Response:
        """Set the new password, or show the page again with what is wrong."""
        self.use.require_mail()
        require_browser(call)
        form = await read_form(call.request, ResetForm)
        try:
            return await self._reset(call, form)
        except CORRECTABLE as error:
            return await write_code_page(self.use, self.writer, call, "reset_password", error=error)

    async def show_reset_link(self, call: Call) -> Response:
        """Return the page behind the link. It changes nothing."""
        self.use.require_mail()
        token = call.request.query_params.get("token", "")
        try:
            proven = await self._look(token, call)
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, "reset_password", refused)
        return write_link_page(self.writer, call, token, proven)

    async def submit_reset_link(self, call: Call) -> Response:
        """Set the new password, or show the page again with what is wrong."""
        self.use.require_mail()
        require_browser(call)
        form = await read_form(call.request, ResetForm)
        try:
            return await self._reset(call, form)
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, "reset_password", refused)
        except CORRECTABLE as error:
            return await self._write_link_again(call, form.token, error)

    async def _write_link_again(self, call: Call, token: str, error: HandstampError) -> Response:
        try:
            proven = await self._look(token, call)
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, "reset_password", refused)
        return write_link_page(self.writer, call, token, proven, error=error)

    async def _look(self, token: str, call: Call) -> Proven:
        return await self.use.reset_password.look(Shown(token=token or "-", browser=call.grant_cookie), call.caller)

    async def _reset(self, call: Call, form: ResetForm) -> Response:
        await self.use.reset_password.confirm(form.shown(call), form.new_password, call.caller)
        return self.writer.redirect("/sign-in?done=reset")
