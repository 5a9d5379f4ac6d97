"""The pages on which an operator begins to look at an account as its person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from ...errors import InvalidFields, InvalidRequest
from ...text import mark
from ..body import read_form
from ..cookies import set_pair
from ..edge import Call
from ..operation import UseCases
from ..repeatable import repeatable_form
from .admitting import require_id
from .destination import Destination
from .mailed import MailedForm
from .writer import PageWriter


class LookForm(msgspec.Struct):
    """The form that makes a link."""

    id: str = ""
    reason: str = ""
    write: str = ""


@dataclass(frozen=True, slots=True)
class SupportPages:
    """The handlers of these pages. They raise `NotFound` if operators may not look at accounts as their persons."""

    use: UseCases
    writer: PageWriter

    async def show_look(self, call: Call) -> Response:
        """Return the form that asks for the reason. The account is the `id` of the query."""
        self.use.impersonate.require_on()
        account_id = call.request.query_params.get("id", "")
        account = await self.use.accounts.get(require_id(account_id))
        return self.writer.write_page("look.html", call, account_id=account.id, email=account.email, **self._values())

    async def submit_look(self, call: Call) -> Response:
        """Make a link, and show it once."""
        self.use.impersonate.require_on()
        form = await read_form(call.request, LookForm)
        writes = form.write == "on"
        try:
            link = await self.use.impersonate.make_link(
                require_id(form.id), call.operator, reason=form.reason, writes=writes, destination={}
            )
        except InvalidFields as error:
            account = await self.use.accounts.get(form.id)
            values = self._values() | {"account_id": account.id, "email": account.email, "reason": form.reason, "write": writes}
            return self.writer.write_form_again("look.html", error, call, **values)
        return self.writer.write_page("look.html", call, account_id=form.id, **self._values() | {"link": link})

    async def begin(self, call: Call, form: MailedForm, destination: Destination) -> Response:
        """Begin the session of a link. This browser does not become one that is known of the person.

        Raises:
            InvalidRequest: If somebody is signed in in this browser. The link stays unused.
        """
        if call.carries_cookie:
            raise InvalidRequest(
                mark("Somebody is signed in in this browser. Open the link in a private window, so that you stay signed in here.")
            )
        delivery = destination.delivery or "split"
        request = repeatable_form(form.idempotency_key, "look", form.token, delivery)
        pair = await self.use.impersonate.by_link(form.shown(call), delivery=delivery, caller=call.caller, request=request)
        return_to = destination.return_to
        response = self.writer.redirect_to_url(return_to) if return_to else self.writer.redirect("/account")
        set_pair(response, pair, call.cookies)
        return response

    def _values(self) -> dict[str, Any]:
        return {"link": "", "reason": "", "write": False, "may_write": self.use.impersonate.may_write}
