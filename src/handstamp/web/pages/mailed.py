"""The pages of a mail, the same for every purpose: one takes its code, one is behind its link and uses nothing up by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from ...devices import name_device
from ...domain.one_time import PURPOSES, OneTime, Purpose
from ...errors import HandstampError, InvalidCode
from ...service.parts.caller import Caller
from ...service.parts.one_time import Proven, Shown
from ...text import mark
from ...wire.problems import detail_of
from ..answers import log_refusal
from ..body import read_form
from ..cookies import set_grant
from ..edge import Call, Edge
from ..operation import UseCases
from .destination import Destination
from .forms import CORRECTABLE
from .visitor import require_browser
from .writer import PageWriter

CODE_PAGES: dict[Purpose, str] = {
    "register": "/create-account/code",
    "sign_in": "/sign-in/code",
    "verify_email": "/verify/code",
    "reset_password": "/reset/code",
    "change_email": "/change-email/code",
}
"""Where the code of a mail is typed. A purpose that is not here has links only."""
_ASKING: dict[Purpose, str] = {
    "register": "/create-account",
    "sign_in": "/sign-in/mail",
    "verify_email": "/account",
    "reset_password": "/forgot",
    "change_email": "/account/email",
    "undo_change": "/forgot",
    "undo_factor": "/forgot",
    "impersonate": "/admin",
}
"""Where another mail can be asked for."""


class MailedForm(msgspec.Struct):
    """The form of a page that takes a code, and of a page behind a link."""

    token: str = ""
    code: str = ""
    password: str = ""
    new_password: str = ""
    return_to: str = ""
    delivery: str = ""
    idempotency_key: str = ""

    def shown(self, call: Call) -> Shown:
        """Return what the form shows: its link, or its code and the cookie of the browser."""
        return Shown(token=self.token, code=self.code, browser=call.grant_cookie)


Look = Callable[[Shown, Caller], Awaitable[Proven]]
Run = Callable[[Call, MailedForm, Destination], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class MailedPages:
    """The handlers of both pages of a purpose.

    Attributes:
        require: Raises `NotFound` if this service sends no such mail.
        look: Returns what the link allows, and uses nothing up.
        run: Has the effect of the link or the code, and returns the answer.
    """

    use: UseCases
    edge: Edge
    writer: PageWriter
    purpose: Purpose
    require: Callable[[], None]
    look: Look
    run: Run

    async def show_code(self, call: Call) -> Response:
        """Return the page that says where the mail was sent, and takes its code. It can be loaded again."""
        self.require()
        return await self._write_code(call, Destination.parse(call.request.query_params, self.edge))

    async def show_link(self, call: Call) -> Response:
        """Return the page behind the link: what its button will do, and in another browser from where it was asked for."""
        self.require()
        return await self._write_link(call, call.request.query_params.get("token", ""))

    async def submit(self, call: Call) -> Response:
        """Do what the link or the code allows, or show the page again with what is wrong."""
        self.require()
        require_browser(call)
        form = await read_form(call.request, MailedForm)
        destination = Destination.parse({"return_to": form.return_to, "delivery": form.delivery}, self.edge)
        try:
            return await self.run(call, form, destination)
        except CORRECTABLE as error:
            if not form.token and PURPOSES[self.purpose].has_code:
                return await self._write_code(call, destination, error)
            if isinstance(error, InvalidCode):
                return self._write_refused(call, error)
            return await self._write_link(call, form.token, error)

    async def _write_code(self, call: Call, destination: Destination, error: HandstampError | None = None) -> Response:
        latest = await self.use.one_time.find_latest(self.purpose, call.grant_cookie)
        email = "" if latest is None or latest.used_at_ms is not None else latest.email
        values = destination.template_values() | {"path": CODE_PAGES[self.purpose], "email": email}
        return self._write("code.html", call, error, values)

    async def _write_link(self, call: Call, token: str, error: HandstampError | None = None) -> Response:
        try:
            proven = await self.look(Shown(token=token or "-", browser=call.grant_cookie), call.caller)
        except InvalidCode as refused:
            return self._write_refused(call, refused)
        grant = proven.grant
        values = Destination.parse(grant.details, self.edge).template_values() | {
            "path": PURPOSES[self.purpose].page,
            "email": grant.email,
            "token": token,
            "asked": None if proven.in_same_browser else describe_asking(grant, call),
        }
        return self._write("link.html", call, error, values)

    def _write(self, template: str, call: Call, error: HandstampError | None, values: dict[str, Any]) -> Response:
        values |= {"purpose": self.purpose, "asking": _ASKING[self.purpose]}
        if error is not None:
            return self.writer.write_form_again(template, error, call, **values)
        return self.writer.write_page(template, call, **values)

    def _write_refused(self, call: Call, refused: InvalidCode) -> Response:
        """Return the page behind a link that is not accepted, which leads to where another mail can be asked for."""
        log_refusal(refused, call.request.scope)
        detail = detail_of(refused, call.language.translate)
        return self.writer.write_page("link_refused.html", call, status=422, asking=_ASKING[self.purpose], detail=detail)


def describe_asking(grant: OneTime, call: Call) -> dict[str, str]:
    """Return on which device, from where and when a mail was asked for, in words."""
    device = call.language.translate(name_device(grant.user_agent))
    place = " · ".join(filter(None, (device, call.language.isolate(grant.ip))))
    return {"place": place, "time": call.language.write_time(grant.created_at_ms)}


def redirect_to_code(writer: PageWriter, call: Call, purpose: Purpose, browser: str, *, query: str = "") -> Response:
    """Return a redirect to the page that takes the code of a mail, and bind the codes of this browser to it."""
    response = writer.redirect(CODE_PAGES[purpose] + query)
    set_grant(response, browser, call.cookies)
    return response


def redirect_done(writer: PageWriter, call: Call, done: str) -> Response:
    """Return a redirect to a page that says what was done: the account's, or without a session the one for signing in."""
    page = "/account" if call.carries_refresh_cookie else "/sign-in"
    return writer.redirect(f"{page}?done={done}")


def write_taken(writer: PageWriter, call: Call) -> Response:
    """Return the page which says that another account has the address of a link by now."""
    say = call.language.translate
    title, text = (
        mark("This address has an account"),
        mark("Another account has this address now. Sign in to that one, or ask the people who run this service."),
    )
    return writer.write_page("message.html", call, status=409, title=say(title), text=say(text))
