"""The pages on which people verify the address of their account."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ...errors import InvalidCode
from ...service.parts.one_time import Shown, keep_browser_secret
from ...text import mark
from ..body import read_form
from ..edge import Call
from ..operation import UseCases
from .forms import CORRECTABLE
from .mailed import LinkForm, redirect_to_code, write_code_page, write_link_page, write_refused_link
from .visitor import require_browser, require_visitor
from .writer import PageWriter

VERIFIED = mark("Your address is verified.")


@dataclass(frozen=True, slots=True)
class VerifyPages:
    """The handlers of these pages. They raise `NotFound` if this service sends no mail."""

    use: UseCases
    writer: PageWriter

    async def submit_verify_mail(self, call: Call) -> Response:
        """Send the mail to a visitor who is signed in, and go on to the page that takes its code."""
        self.use.require_mail()
        session, _ = await require_visitor(self.use, call)
        browser = keep_browser_secret(call.grant_cookie)
        await self.use.verify_address.ask(session.subject, call.caller, browser=browser, device=session.id)
        return redirect_to_code(self.writer, call, "/verify/code", browser)

    async def show_verify_code(self, call: Call) -> Response:
        """Return the page that takes the code."""
        self.use.require_mail()
        return await write_code_page(self.use, self.writer, call, "verify_email")

    async def submit_verify_code(self, call: Call) -> Response:
        """Verify the address, or show the page again with what is wrong."""
        self.use.require_mail()
        require_browser(call)
        form = await read_form(call.request, LinkForm)
        try:
            return await self._verify(call, form)
        except CORRECTABLE as error:
            return await write_code_page(self.use, self.writer, call, "verify_email", error=error)

    async def show_verify_link(self, call: Call) -> Response:
        """Return the page behind the link. It verifies nothing."""
        self.use.require_mail()
        token = call.request.query_params.get("token", "")
        try:
            proven = await self.use.verify_address.look(Shown(token=token or "-", browser=call.grant_cookie), call.caller)
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, "verify_email", refused)
        return write_link_page(self.writer, call, token, proven)

    async def submit_verify_link(self, call: Call) -> Response:
        """Verify the address."""
        self.use.require_mail()
        require_browser(call)
        form = await read_form(call.request, LinkForm)
        try:
            return await self._verify(call, form)
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, "verify_email", refused)

    async def _verify(self, call: Call, form: LinkForm) -> Response:
        await self.use.verify_address.confirm(form.shown(call), call.caller)
        page = "/account" if call.carries_refresh_cookie else "/sign-in"
        return self.writer.redirect(f"{page}?done=verified")
