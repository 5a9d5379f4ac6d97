"""The page on which people who are signed in prove again that it is them, before a page or a form that asks for it.

What they wanted goes on by itself afterwards: a page is shown, and a form runs with the fields with which it was sent.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.responses import Response

from ...domain.account import Account
from ...errors import HandstampError, InsufficientAuthentication, InvalidCredentials, InvalidFields, InvalidRequest
from ...service.parts.factor_proof import GivenFactor
from ...text import mark
from ..body import parse_fields, put_fields, read_fields, read_form
from ..edge import Call, Edge, Handler
from ..operation import UseCases
from .destination import Destination
from .forms import CORRECTABLE
from .proving import ProofForm, ProofPage
from .visitor import arrives_from_elsewhere, require_browser, require_visitor
from .writer import CONFIRM_PAGE, PageWriter

_SECRETS = {"current_password", "new_password"}
"""A form with these is not carried on: no page holds a password. The person gets the form again."""


class ConfirmForm(ProofForm):
    """The form of the page: a proof, and what is wanted: a page to return to, or the path of a form and its fields."""

    return_to: str = ""
    wanted: str = ""
    carried: str = ""


@dataclass(frozen=True, slots=True)
class ConfirmPages:
    """The handlers of the page.

    Attributes:
        forms: What handles each form that may go on after a proof, by its path.
    """

    use: UseCases
    edge: Edge
    writer: PageWriter
    forms: Mapping[str, Handler]

    def guard(self, handle: Handler) -> Handler:
        """Return a handler of a form that asks for a proof where it is needed, and then goes on with the same form."""

        @functools.wraps(handle)
        async def handle_or_ask(call: Call) -> Response:
            try:
                return await handle(call)
            except InsufficientAuthentication:
                fields = await read_fields(call.request)
                wanted = call.request.scope["route"].path
                if not _SECRETS.isdisjoint(fields):
                    return await self._ask(call, ConfirmForm(return_to=self.edge.issuer.path + _page_of(wanted, fields)))
                return await self._ask(call, ConfirmForm(wanted=wanted, carried=urlencode(fields)))

        return handle_or_ask

    async def show_confirm(self, call: Call) -> Response:
        """Return the page."""
        if arrives_from_elsewhere(call):
            return self.writer.load_again(call)
        return await self._ask(call, ConfirmForm(return_to=call.request.query_params.get("return_to", "")))

    async def submit_confirm(self, call: Call) -> Response:
        """Renew the proof of the session and go on, or show the page again with what is wrong."""
        require_browser(call)
        form = await read_form(call.request, ConfirmForm)
        if form.other:
            return await self._ask(call, form)
        session, account = await require_visitor(self.use, call)
        answer, password = form.answer(), form.password if form.way == "password" else ""
        try:
            await self.use.step_up(
                session,
                account,
                call.caller_with_browser(),
                password=password,
                answer=None if answer == GivenFactor() else answer,
            )
        except InsufficientAuthentication:  # a password, and the account has a second factor by now
            return await self._ask(call, form)
        except InvalidCredentials:
            return await self._ask(call, form, InvalidFields([("password", mark("That is not your password."))]))
        except CORRECTABLE as error:
            return await self._ask(call, form, error)
        call.has_proved_factor = True
        if not form.wanted:
            return self.writer.redirect_to_url(self._require_trusted(form.return_to))
        handle = self.forms.get(form.wanted)
        if handle is None:
            raise InvalidRequest(mark("The form that this page was to go on with does not exist."))
        put_fields(call.request, parse_fields(form.carried.encode()))
        return await handle(call)

    async def _ask(self, call: Call, form: ConfirmForm, error: HandstampError | None = None) -> Response:
        session, account = await require_visitor(self.use, call)
        return_to = form.return_to if form.wanted else self._require_trusted(form.return_to)
        ways = await self._find_ways(account)
        if account is None or not ways:
            return self.writer.redirect(f"/sign-in?{urlencode({'again': '', 'return_to': return_to})}")
        page = ProofPage(
            title=mark("Confirm that it is you"),
            action=CONFIRM_PAGE,
            ways=ways,
            hidden={"return_to": return_to, "wanted": form.wanted, "carried": form.carried},
            leave="/account",
            begin=functools.partial(self.use.passkey_sign_in.begin_in_session, session, call.caller_with_browser()),
            email=account.email,
        )
        return await page.write(self.writer, call, form.other or form.way, error)

    async def _find_ways(self, account: Account | None) -> tuple[str, ...]:
        if account is None:
            return ()
        found = await self.use.list_factors(account)
        if found.factors.is_any:
            return found.factors.methods
        return ("password",) if found.has_password else ()

    def _require_trusted(self, return_to: str) -> str:
        """Return the address of a page of this service or of a trusted origin. Raises `InvalidRequest` for any other text."""
        return Destination.parse({"return_to": return_to}, self.edge).return_to or f"{self.edge.issuer.path}/account"


def _page_of(form: str, fields: Mapping[str, str]) -> str:
    """Return the path of the page that a form is on."""
    if not form.startswith("/admin/"):
        return "/account/sign-in"
    return f"{form}?{urlencode({'id': fields['id']})}" if "id" in fields else form
