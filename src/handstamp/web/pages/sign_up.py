"""The pages on which people prove their address, so that their account is created."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ...errors import HandstampError, InvalidCode, InvalidFields
from ...service.parts.one_time import Proven, Shown
from ...text import mark
from ..body import read_form
from ..edge import Call, Edge
from ..operation import UseCases
from ..repeatable import repeatable_form
from .destination import Destination
from .forms import CORRECTABLE
from .mailed import LinkForm, redirect_signed_in, write_code_page, write_link_page, write_refused_link
from .visitor import require_browser
from .writer import PageWriter


@dataclass(frozen=True, slots=True)
class SignUpPages:
    """The handlers of these pages. They raise `NotFound` if strangers do not sign up by mail here."""

    use: UseCases
    edge: Edge
    writer: PageWriter

    async def show_sign_up_code(self, call: Call) -> Response:
        """Return the page that takes the code."""
        self.use.require_sign_up()
        destination = Destination.parse(call.request.query_params, self.edge)
        return await write_code_page(self.use, self.writer, call, "register", **destination.template_values())

    async def submit_sign_up_code(self, call: Call) -> Response:
        """Create the account and sign in, or show the page again with what is wrong."""
        self.use.require_sign_up()
        require_browser(call)
        form = await read_form(call.request, LinkForm)
        destination = Destination.parse(form.destination(), self.edge)
        try:
            return await self._confirm(call, form, destination, None)
        except CORRECTABLE as error:
            return await write_code_page(self.use, self.writer, call, "register", error=error, **destination.template_values())

    async def show_sign_up_link(self, call: Call) -> Response:
        """Return the page behind the link. It creates nothing."""
        self.use.require_sign_up()
        token = call.request.query_params.get("token", "")
        try:
            proven = await self.use.sign_up.look(Shown(token=token or "-", browser=call.grant_cookie), call.caller)
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, "register", refused)
        return self._write_link(call, token, proven)

    async def submit_sign_up_link(self, call: Call) -> Response:
        """Create the account and sign in, or show the page again with what is wrong."""
        self.use.require_sign_up()
        require_browser(call)
        form = await read_form(call.request, LinkForm)
        destination = Destination.parse(form.destination(), self.edge)
        try:
            return await self._confirm(call, form, destination, form.password or None)
        except InvalidCode as refused:
            return write_refused_link(self.writer, call, "register", refused)
        except CORRECTABLE as error:
            proven = await self.use.sign_up.look(form.shown(call), call.caller)
            if isinstance(error, InvalidFields) and not proven.in_same_browser and not form.password:
                error = InvalidFields([("password", mark("Choose a password for the account."))])
            return self._write_link(call, form.token, proven, error=error)

    async def _confirm(self, call: Call, form: LinkForm, destination: Destination, password: str | None) -> Response:
        presented, delivery = call.tokens_in_cookies(), destination.delivery or "split"
        request = repeatable_form(form.idempotency_key, "register/confirm", form.token, form.code, form.password, delivery)
        pair = await self.use.sign_up.confirm(
            form.shown(call), call.caller, password=password, delivery=delivery, presented=presented, request=request
        )
        return redirect_signed_in(self.use, self.writer, call, pair, destination=destination, presented=presented)

    def _write_link(self, call: Call, token: str, proven: Proven, *, error: HandstampError | None = None) -> Response:
        values = Destination.parse(proven.grant.details, self.edge).template_values()
        return write_link_page(self.writer, call, token, proven, error=error, **values)
