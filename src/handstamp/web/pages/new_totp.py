"""The page on which an authenticator app is added, in a session or while signing in, and the page of recovery codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
from markupsafe import Markup
from starlette.responses import Response

from ...errors import HandstampError
from ...service.accounts.factor_changes import Holder
from ...text import mark
from ..edge import Call
from ..operation import UseCases
from ..qr import draw_qr
from ..repeatable import repeatable_form
from .writer import PageWriter


class TotpForm(msgspec.Struct):
    """The form that takes the first code of a new app. `enrolment` holds its secret, sealed."""

    enrolment: str = ""
    code: str = ""
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True)
class TotpPage:
    """The page on which an app is added, for one kind of holder.

    Attributes:
        action: The path that the form is sent to.
        leave: The path of the page that leads out.
        onward: The path that the page with recovery codes leads to.
        hidden: What the forms carry on, to `onward` too. Without it, `onward` is a page.
    """

    use: UseCases
    writer: PageWriter
    action: str
    leave: str
    onward: str
    hidden: Mapping[str, str]

    async def write(self, call: Call, holder: Holder, form: TotpForm, error: HandstampError | None = None) -> Response:
        """Return the page with the QR code of a new app: that of the form while it can be confirmed, or else another one."""
        app = self.use.authenticator_app
        enrolment = app.look(holder, form.enrolment, call.caller) if form.enrolment else None
        if enrolment is None:
            enrolment = await app.begin(holder, call.caller)
        title = call.language.translate(mark("QR code with the key below"))
        values: dict[str, Any] = {
            "picture": Markup(await draw_qr(enrolment.uri, title=title)),  # noqa: S704 - made by segno, which escapes the title
            "secret": enrolment.secret,
            "hidden": {"enrolment": enrolment.sealed, **self.hidden},
            "action": self.action,
            "leave": self.leave,
        }
        if error is not None:
            return self.writer.write_form_again("new_totp.html", error, call, **values)
        return self.writer.write_page("new_totp.html", call, **values)

    async def confirm(self, call: Call, holder: Holder, form: TotpForm) -> Response:
        """Add the app, and return the page with the recovery codes that came with it. None come if there are some already."""
        request = repeatable_form(form.idempotency_key, "totp/confirm", form.enrolment, form.code)
        codes = await self.use.authenticator_app.confirm(holder, form.enrolment, form.code, call.caller, request=request)
        if not codes and not self.hidden:
            return self.writer.redirect(self.onward)
        return write_recovery_codes(self.writer, call, codes, action=self.onward, hidden=self.hidden)


def write_recovery_codes(writer: PageWriter, call: Call, codes: list[str], *, action: str, hidden: Mapping[str, str]) -> Response:
    """Return the page that shows recovery codes. Its button goes on: to a page, or with a form if there is something to carry."""
    text = "\n".join((f"{writer.service_name}, {call.language.write_date(call.now_ms)}", "", *codes, ""))
    return writer.write_page(
        "recovery_codes.html",
        call,
        codes=codes,
        file=f"data:text/plain;charset=utf-8,{quote(text)}",
        action=action,
        hidden=hidden,
    )
