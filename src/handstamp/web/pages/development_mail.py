"""The development inbox: what would have been sent if there were a mail server. It holds links that sign people in.

So it is for the machine alone on which the service is developed. The deployment has it on loopback only, and each request is
checked too: another program can pass requests on, and a page of another site can have its own name resolved to this machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from markupsafe import Markup
from starlette.responses import Response

from ...domain.issuer import is_loopback
from ...domain.mail import MAIL_KINDS, Mail
from ...errors import NotFound
from ...languages.catalogue import ENGLISH
from ...service.mailing.queue import DevelopmentInbox
from ...text import mark
from ...words import format_distance, format_time
from ..edge import Call
from .writer import PageWriter

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_LINK = re.compile(r"https?://[^\s<>\"]+")
_FRAME_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
    "sandbox allow-top-navigation-by-user-activation"
)
"""For the HTML of a mail, which is shown in a frame. It runs no script, and its links lead the whole page on."""


@dataclass(frozen=True, slots=True)
class DevelopmentMailPages:
    """The handlers of the pages. All raise `NotFound` for a request that does not come from this machine."""

    inbox: DevelopmentInbox
    writer: PageWriter

    async def show_inbox(self, call: Call) -> Response:
        """Return the list of mail."""
        _require_this_machine(call)
        mails = [_describe(mail, to, subject, call.now_ms) for mail, to, subject in await self.inbox.list_newest()]
        return self.writer.write_page("development_inbox.html", call, mails=mails)

    async def show_mail(self, call: Call) -> Response:
        """Return one mail, as text and with a frame for its HTML."""
        _require_this_machine(call)
        mail, message = await self.inbox.get(call.request.path_params["id"])
        values = _describe(mail, message.to, message.subject, call.now_ms) | {"text": _with_links(message.text)}
        response = self.writer.write_page("development_mail.html", call, mail=values)
        response.headers["content-security-policy"] += "; frame-src 'self'"
        return response

    async def show_html(self, call: Call) -> Response:
        """Return the HTML of one mail, for the frame."""
        _require_this_machine(call)
        shown = await self.inbox.get(call.request.path_params["id"])
        html = shown.message.html.replace("<head>", '<head><base target="_top">', 1)
        return Response(
            html, media_type="text/html", headers={"cache-control": "no-store", "content-security-policy": _FRAME_POLICY}
        )


def _require_this_machine(call: Call) -> None:
    client = call.request.scope.get("client")
    host = urlsplit(f"//{call.headers.get('host', '')}").hostname or ""
    is_passed_on = any(name in call.headers for name in _FORWARDED)
    if client is None or not is_loopback(client[0]) or not is_loopback(host) or is_passed_on:
        raise NotFound(mark("There is nothing at this address. /docs lists what there is."))
    call.language = ENGLISH  # the pages are for developers


def _describe(mail: Mail, to: str, subject: str, now_ms: int) -> dict[str, str]:
    return {
        "id": mail.id,
        "kind": mail.kind,
        "about": MAIL_KINDS[mail.kind].description,
        "to": to,
        "subject": subject,
        "when": format_distance(now_ms, mail.created_at_ms),
        "exact": f"{format_time(mail.created_at_ms)} UTC",
    }


def _with_links(text: str) -> Markup:
    """Return text as HTML in which every URL is a link."""
    parts, end = [], 0
    for found in _LINK.finditer(text):
        parts += [Markup.escape(text[end : found.start()]), Markup('<a href="{0}">{0}</a>').format(found[0])]
        end = found.end()
    return Markup("").join([*parts, Markup.escape(text[end:])])
