"""What operations with mail share: the answer 202 that tells nothing, and the link or the code that comes back."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from ...domain.one_time import CODE_LIFETIME_MS, PURPOSES
from ...errors import InvalidFields
from ...service.parts.one_time import Shown, keep_browser_secret
from ...text import mark
from ...wire.cross_site import is_from_browser
from ..answers import write_json
from ..cookies import set_grant
from ..edge import Call
from .shapes import AnswerShape, RequestShape, Ticket, described


class MailAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """A mail is on its way, if there is one to send: the answer is the same whether the address has an account or not."""

    email: Annotated[str, described("The address, normalised")]
    expires_in: Annotated[int, described("Seconds for which the link of the mail is accepted")]
    code_expires_in: Annotated[int, described("Seconds for which the code of the mail is accepted")]
    ticket: Annotated[str, described("To be sent with the code. Browsers have a cookie instead")] | msgspec.UnsetType = (
        msgspec.UNSET
    )

    def __repr__(self) -> str:
        """Return a text without the ticket and the address."""
        return "MailAnswer(****)"


class ConfirmRequest(RequestShape, frozen=True, kw_only=True, rename="camel"):
    """The link or the code of a mail: `token`, or else `code`."""

    token: Annotated[str, described("The `token` of the link's query", max_length=64)] | None = None
    code: Annotated[str, described("The six digits of the mail", max_length=32, examples=["123456"])] | None = None
    ticket: Ticket | None = None


def browser_of(call: Call) -> str:
    """Return the secret of the browser that asks for a mail, or a new one."""
    return keep_browser_secret(call.grant_cookie)


def write_mail_sent(call: Call, email: str, browser: str) -> Response:
    """Return the answer 202. A browser gets its secret as a cookie, another client as `ticket`."""
    is_browser = is_from_browser(call.headers.getlist)
    answer = MailAnswer(
        email=email,
        expires_in=PURPOSES["sign_in"].lifetime_ms // 1000,
        code_expires_in=CODE_LIFETIME_MS // 1000,
        ticket=msgspec.UNSET if is_browser else browser,
    )
    response = write_json(answer, status=202)
    if is_browser:
        set_grant(response, browser, call.cookies)
    return response


def read_shown(call: Call, body: ConfirmRequest) -> Shown:
    """Return what a request shows. Raises `InvalidFields` unless it is either a link or a code."""
    if (body.token is None) == (body.code is None):
        raise InvalidFields([("token", mark("send either the token of the link or the code of the mail"))])
    return Shown(token=body.token or "", code=body.code or "", browser=body.ticket or call.grant_cookie)
