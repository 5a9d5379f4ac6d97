"""The pages on which people give their account another address, and undo a change that they did not make."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from ...domain.one_time import Purpose
from ...errors import AccountExists, InvalidCode
from ...service.parts.one_time import Shown, keep_browser_secret
from ...service.sessions.living import require_account, require_fresh
from ...text import mark
from ..body import read_form
from ..edge import Call
from ..operation import UseCases
from .forms import CORRECTABLE
from .mailed import LinkForm, redirect_to_code, write_code_page, write_link_page, write_refused_link
from .visitor import arrives_from_elsewhere, load_again, require_browser, require_visitor
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
        """Return the form. Raises `InsufficientAuthentication`, which leads over the sign-in page and back."""
        self.use.require_mail()
        if arrives_from_elsewhere(call):
            return load_again(self.writer, call)
        session, account = await require_visitor(self.use, call)
        account = require_account(account)
        require_fresh(session, call.now_ms)
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
        return redirect_to_code(self.writer, call, "/change-email/code", browser)

    async def show_change_code(self, call: Call) -> Response:
        """Return the page that takes the code."""
        self.use.require_mail()
        return await write_code_page(self.use, self.writer, call, "change_email")

    async def submit_change_code(self, call: Call) -> Response:
        """Change the address, or show the page again with what is wrong."""
        self.use.require_mail()
        require_browser(call)
        form = await read_form(call.request, LinkForm)
        try:
            await self.use.change_email.confirm(form.shown(call), call.caller)
        except AccountExists:
            return self._write_taken(call)
        except CORRECTABLE as error:
            return await write_code_page(self.use, self.writer, call, "change_email", error=error)
        return self._redirect_changed(call)

    async def show_change_link(self, call: Call) -> Response:
        """Return the page behind the link to the new address. It changes nothing."""
        return await self._show_link(call, "change_email")

    async def submit_change_link(self, call: Call) -> Response:
        """Change the address."""
        self.use.require_mail()
        require_browser(call)
        form = await read_form(call.request, LinkForm)
        try:
            await self.use.change_email.confirm(form.shown(call), call.caller)
        except AccountExists:
            return self._write_taken(call)
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, "change_email", refused)
        return self._redirect_changed(call)

    async def show_undo(self, call: Call) -> Response:
        """Return the page behind the link to the old address. It changes nothing."""
        return await self._show_link(call, "undo_change")

    async def submit_undo(self, call: Call) -> Response:
        """Give the account its old address back."""
        self.use.require_mail()
        require_browser(call)
        form = await read_form(call.request, LinkForm)
        try:
            await self.use.change_email.undo(form.shown(call), call.caller)
        except AccountExists:
            return self._write_taken(call)
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, "undo_change", refused)
        return self.writer.write_page(
            "message.html",
            call,
            title=call.language.translate(mark("Your address is back")),
            text=call.language.translate(
                mark("Every device is signed out, and the password is removed. Choose a new one with the mail that we have sent.")
            ),
        )

    async def _show_link(self, call: Call, purpose: Purpose) -> Response:
        self.use.require_mail()
        token = call.request.query_params.get("token", "")
        shown = Shown(token=token or "-", browser=call.grant_cookie)
        try:
            proven = await self.use.change_email.look(shown, call.caller, undo=purpose == "undo_change")
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, purpose, refused)
        return write_link_page(self.writer, call, token, proven)

    def _redirect_changed(self, call: Call) -> Response:
        page = "/account" if call.carries_refresh_cookie else "/sign-in"
        return self.writer.redirect(f"{page}?done=address")

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
