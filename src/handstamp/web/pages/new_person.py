"""The page on which administrators create an account."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from ...errors import InvalidFields
from ...text import mark
from ..body import read_form
from ..edge import Call
from ..operation import UseCases
from .forms import CORRECTABLE
from .writer import PageWriter


class NewPersonForm(msgspec.Struct):
    """The form of the page. The password is needed where no mail can ask the person for one."""

    email: str = ""
    name: str = ""
    new_password: str = ""


@dataclass(frozen=True, slots=True)
class NewPersonPages:
    """The handlers of the page. They run behind `for_administrators`."""

    use: UseCases
    writer: PageWriter

    async def show_new_person(self, call: Call) -> Response:
        """Return the page."""
        return self.writer.write_page("new_person.html", call, mail_is_on=self.use.mail_is_on)

    async def submit_new_person(self, call: Call) -> Response:
        """Create the account, and go to its page; or show the form again with what is wrong."""
        form = await read_form(call.request, NewPersonForm)
        password = None if self.use.mail_is_on else form.new_password
        try:
            if password == "":
                raise InvalidFields([("password", mark("is missing"))])
            account = await self.use.accounts.create(form.email, password, call.operator, name=form.name)
        except CORRECTABLE as error:
            return self.writer.write_form_again(
                "new_person.html",
                error,
                call,
                mail_is_on=self.use.mail_is_on,
                email=form.email,
                name=form.name,
            )
        return self.writer.redirect(f"/admin/person?{urlencode({'id': account.id, 'done': 'created'})}")
