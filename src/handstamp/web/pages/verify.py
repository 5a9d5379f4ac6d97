"""How people verify the address of their account on pages."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ...service.parts.one_time import keep_browser_secret
from ...text import mark
from ..edge import Call
from ..operation import UseCases
from .destination import Destination
from .mailed import MailedForm, redirect_done, redirect_to_code
from .visitor import require_visitor
from .writer import PageWriter

VERIFIED = mark("Your address is verified.")


@dataclass(frozen=True, slots=True)
class VerifyPages:
    """What sends the mail, and what its link or its code does. The former raises `NotFound` if this service sends no mail."""

    use: UseCases
    writer: PageWriter

    async def submit_verify_mail(self, call: Call) -> Response:
        """Send the mail to a visitor who is signed in, and go on to the page that takes its code."""
        self.use.require_mail()
        session, _ = await require_visitor(self.use, call)
        browser = keep_browser_secret(call.grant_cookie)
        await self.use.verify_address.ask(session.subject, call.caller, browser=browser, device=session.id)
        return redirect_to_code(self.writer, call, "verify_email", browser)

    async def verify(self, call: Call, form: MailedForm, _: Destination) -> Response:
        """Verify the address."""
        await self.use.verify_address.confirm(form.shown(call), call.caller)
        return redirect_done(self.writer, call, "verified")
