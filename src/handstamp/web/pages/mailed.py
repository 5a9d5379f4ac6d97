"""What the pages with mail share: the page that takes a code, and the page behind a link, which uses nothing up by itself."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from ...devices import name_device
from ...domain.one_time import OneTime, Purpose
from ...errors import HandstampError, InvalidCode
from ...service.parts.one_time import Proven, Shown
from ...service.parts.tokens import TokenPair
from ...wire.problems import detail_of
from ..answers import log_refusal
from ..cookies import clear_cookies, set_grant, set_pair
from ..edge import Call
from ..operation import UseCases
from .destination import Destination
from .writer import PageWriter


class LinkForm(msgspec.Struct):
    """The form of a page that takes a code, and of a page behind a link."""

    token: str = ""
    code: str = ""
    password: str = ""
    return_to: str = ""
    delivery: str = ""
    idempotency_key: str = ""

    def destination(self) -> dict[str, str]:
        """Return where the visitor wants to go afterwards."""
        return {"return_to": self.return_to, "delivery": self.delivery}

    def shown(self, call: Call) -> Shown:
        """Return what the form shows: its link, or its code and the cookie of the browser."""
        return Shown(token=self.token, code=self.code, browser=call.grant_cookie)


async def write_code_page(
    use: UseCases, writer: PageWriter, call: Call, purpose: Purpose, *, error: HandstampError | None = None, **values: Any
) -> Response:
    """Return the page that says where a mail was sent, and takes its code. It can be loaded again."""
    latest = await use.one_time.find_latest(purpose, call.grant_cookie)
    values |= {"purpose": purpose, "email": "" if latest is None or latest.used_at_ms is not None else latest.email}
    if error is not None:
        return writer.write_form_again("code.html", error, call, **values)
    return writer.write_page("code.html", call, **values)


def write_link_page(
    writer: PageWriter,
    call: Call,
    token: str,
    proven: Proven,
    *,
    error: HandstampError | None = None,
    **values: Any,
) -> Response:
    """Return the page behind a link: what its button will do, and in another browser from where the mail was asked for."""
    grant = proven.grant
    values |= {
        "purpose": grant.purpose,
        "email": grant.email,
        "token": token,
        "asked": None if proven.in_same_browser else describe_asking(grant, call),
    }
    if error is not None:
        return writer.write_form_again("link.html", error, call, **values)
    return writer.write_page("link.html", call, **values)


def write_refused_link(writer: PageWriter, call: Call, purpose: Purpose, refused: InvalidCode) -> Response:
    """Return the page behind a link that is not accepted, which leads to where another mail can be asked for."""
    log_refusal(refused, call.request.scope)
    detail = detail_of(refused, call.language.translate)
    return writer.write_page("link_refused.html", call, status=422, purpose=purpose, detail=detail)


def describe_asking(grant: OneTime, call: Call) -> dict[str, str]:
    """Return on which device, from where and when a mail was asked for, in words."""
    device = call.language.translate(name_device(grant.user_agent))
    place = " · ".join(filter(None, (device, call.language.isolate(grant.ip))))
    return {"place": place, "time": call.language.write_time(grant.created_at_ms)}


def redirect_to_code(writer: PageWriter, call: Call, path: str, browser: str) -> Response:
    """Return a redirect to a page that takes a code, and bind the codes of this browser to it."""
    response = writer.redirect(path)
    set_grant(response, browser, call.cookies)
    return response


def redirect_signed_in(
    use: UseCases, writer: PageWriter, call: Call, pair: TokenPair, *, destination: Destination, presented: list[str]
) -> Response:
    """Return a redirect to where the visitor wanted to go, with the cookies of a new session in place of `presented`."""
    return_to = destination.return_to
    response = writer.redirect_to_url(return_to) if return_to else writer.redirect("/account")
    set_pair(response, pair, call.cookies)
    use.remember_device(response, call, pair)
    return clear_cookies(response, call.cookies, but_for=pair) if presented else response
