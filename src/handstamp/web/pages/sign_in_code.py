"""The pages on which people sign in with a link or a code that comes by mail."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ...errors import InvalidCode
from ...service.parts.one_time import Shown, keep_browser_secret
from ..body import read_form
from ..edge import Call, Edge
from ..operation import UseCases
from ..repeatable import repeatable_form
from .destination import Destination
from .forms import CORRECTABLE
from .mailed import LinkForm, redirect_signed_in, redirect_to_code, write_code_page, write_link_page, write_refused_link
from .sign_in import SignInForm
from .visitor import require_browser
from .writer import PageWriter


@dataclass(frozen=True, slots=True)
class SignInCodePages:
    """The handlers of these pages. They raise `NotFound` if signing in by mail is off."""

    use: UseCases
    edge: Edge
    writer: PageWriter

    async def show_sign_in_mail(self, call: Call) -> Response:
        """Return the form that asks for a mail."""
        self.use.require_sign_in_by_code()
        destination = Destination.parse(call.request.query_params, self.edge)
        return self.writer.write_page("sign_in_mail.html", call, **destination.template_values())

    async def submit_sign_in_mail(self, call: Call) -> Response:
        """Send the mail, if the address has an account, and go on to the page that takes the code in any case."""
        self.use.require_sign_in_by_code()
        require_browser(call)
        form, browser = await read_form(call.request, SignInForm), keep_browser_secret(call.grant_cookie)
        destination = Destination.parse(form.destination(), self.edge)
        try:
            await self.use.code_sign_in.ask(
                form.email, call.caller, browser=browser, earlier=call.earlier_sign_ins(), remembered=form.destination()
            )
        except CORRECTABLE as error:
            values = destination.template_values()
            return self.writer.write_form_again("sign_in_mail.html", error, call, email=form.email, **values)
        return redirect_to_code(self.writer, call, f"/sign-in/code{destination.query}", browser)

    async def show_sign_in_code(self, call: Call) -> Response:
        """Return the page that takes the code."""
        self.use.require_sign_in_by_code()
        destination = Destination.parse(call.request.query_params, self.edge)
        return await write_code_page(self.use, self.writer, call, "sign_in", **destination.template_values())

    async def submit_sign_in_code(self, call: Call) -> Response:
        """Sign in, or show the page again with what is wrong."""
        self.use.require_sign_in_by_code()
        require_browser(call)
        form = await read_form(call.request, LinkForm)
        destination = Destination.parse(form.destination(), self.edge)
        try:
            return await self._sign_in(call, form, destination)
        except CORRECTABLE as error:
            return await write_code_page(self.use, self.writer, call, "sign_in", error=error, **destination.template_values())

    async def show_sign_in_link(self, call: Call) -> Response:
        """Return the page behind the link. It begins no session."""
        self.use.require_sign_in_by_code()
        token = call.request.query_params.get("token", "")
        try:
            proven = await self.use.code_sign_in.look(Shown(token=token or "-", browser=call.grant_cookie), call.caller)
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, "sign_in", refused)
        values = Destination.parse(proven.grant.details, self.edge).template_values()
        return write_link_page(self.writer, call, token, proven, **values)

    async def submit_sign_in_link(self, call: Call) -> Response:
        """Sign in."""
        self.use.require_sign_in_by_code()
        require_browser(call)
        form = await read_form(call.request, LinkForm)
        try:
            return await self._sign_in(call, form, Destination.parse(form.destination(), self.edge))
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, "sign_in", refused)

    async def _sign_in(self, call: Call, form: LinkForm, destination: Destination) -> Response:
        presented, delivery = call.tokens_in_cookies(), destination.delivery or "split"
        request = repeatable_form(form.idempotency_key, "login/code", form.token, form.code, delivery)
        pair = await self.use.code_sign_in(
            form.shown(call), delivery=delivery, caller=call.caller, presented=presented, request=request
        )
        return redirect_signed_in(self.use, self.writer, call, pair, destination=destination, presented=presented)
