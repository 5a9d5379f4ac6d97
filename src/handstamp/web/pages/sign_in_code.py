"""The pages on which people sign in with a link or a code that comes by mail."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ...service.parts.one_time import keep_browser_secret
from ..body import read_form
from ..edge import Call, Edge
from ..operation import UseCases
from ..repeatable import repeatable_form
from .destination import Destination
from .forms import CORRECTABLE
from .mailed import MailedForm, redirect_to_code
from .second_step import finish_sign_in
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
        return redirect_to_code(self.writer, call, "sign_in", browser, query=destination.query)

    async def sign_in(self, call: Call, form: MailedForm, destination: Destination) -> Response:
        """Sign in with the link or the code."""
        presented, delivery = call.tokens_in_cookies(), destination.delivery or "split"
        request = repeatable_form(form.idempotency_key, "login/code", form.token, form.code, delivery)
        begun = self.use.code_sign_in(
            form.shown(call), delivery=delivery, caller=call.caller_with_browser(), presented=presented, request=request
        )
        return await finish_sign_in(self.use, self.writer, call, begun, destination=destination, presented=presented)
