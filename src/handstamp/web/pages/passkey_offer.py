"""The page after a sign-in with a password, which offers to create a passkey, and can be declined for good.

With a passkey, a password alone no longer signs in. So the person is asked. Only if another factor is there already, the browser
may create the passkey without a question (conditional create), since nothing else changes then.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from ...errors import HandstampError, InsufficientAuthentication, InvalidChallenge, NotSignedIn
from ...service.accounts.factor_changes import hold_session
from ..body import read_form
from ..cookies import DECLINED_MAX_AGE_S, LATER_MAX_AGE_S, set_offer
from ..edge import Call, Edge
from ..operation import UseCases
from .destination import Destination
from .forms import CORRECTABLE
from .passkeys import NewPasskeyPage, PasskeyForm
from .visitor import require_confirmed, require_visitor
from .writer import PageWriter

PATH = "/passkey-offer"


class OfferForm(PasskeyForm):
    """The form that creates the passkey."""

    return_to: str = ""


class DeclineForm(msgspec.Struct):
    """The form that goes on without one. `forever` is "on" for not asking in this browser again."""

    return_to: str = ""
    forever: str = ""


async def find_offer(use: UseCases, call: Call, can: str, account_id: str, return_to: str) -> str:
    """Return the path of the page if a passkey is to be offered now, else "".

    Args:
        use: The use cases.
        call: The request, whose browser may have declined.
        can: "on" if the script has found that this device can keep passkeys.
        account_id: The account that has just signed in.
        return_to: Where the visitor goes on to afterwards.
    """
    if can != "on" or call.offer_cookie or await use.own_passkeys.has_any(account_id):
        return ""
    return f"{PATH}?{urlencode({'return_to': return_to})}"


@dataclass(frozen=True, slots=True)
class PasskeyOfferPages:
    """The handlers of the page."""

    use: UseCases
    edge: Edge
    writer: PageWriter

    async def show_offer(self, call: Call) -> Response:
        """Return the page, or go on if the sign-in is not fresh any more."""
        destination = Destination.parse({"return_to": call.request.query_params.get("return_to", "")}, self.edge)
        try:
            return await self._write(call, destination)
        except (InsufficientAuthentication, NotSignedIn):
            return self._go_on(destination)

    async def submit_offer(self, call: Call) -> Response:
        """Create the passkey and go on, over the recovery codes if it came with some; or show the page again."""
        form = await read_form(call.request, OfferForm)
        destination = Destination.parse({"return_to": form.return_to}, self.edge)
        session, account = await require_visitor(self.use, call)
        try:
            codes = await self._page(destination).confirm(call, hold_session(session, account, call.caller), form)
        except (*CORRECTABLE, InvalidChallenge) as error:
            return await self._write(call, destination, error)
        return codes or self._go_on(destination)

    async def submit_decline(self, call: Call) -> Response:
        """Go on, and do not ask in this browser for a month, or not again."""
        form = await read_form(call.request, DeclineForm)
        response = self._go_on(Destination.parse({"return_to": form.return_to}, self.edge))
        set_offer(response, DECLINED_MAX_AGE_S if form.forever == "on" else LATER_MAX_AGE_S, call.cookies)
        return response

    async def _write(self, call: Call, destination: Destination, error: HandstampError | None = None) -> Response:
        session, account = await require_confirmed(self.use, call)
        quietly = (await self.use.list_factors(account)).factors.is_any and error is None
        holder = hold_session(session, account, call.caller)
        return await self._page(destination).write(
            call, holder, error, is_offer=True, quietly=quietly, return_to=destination.return_to
        )

    def _page(self, destination: Destination) -> NewPasskeyPage:
        hidden = {"return_to": destination.return_to}
        return NewPasskeyPage(self.use, self.writer, action=PATH, leave="", onward=f"{PATH}/decline", hidden=hidden)

    def _go_on(self, destination: Destination) -> Response:
        return self.writer.redirect_to_url(destination.return_to) if destination.return_to else self.writer.redirect("/account")
