"""The pages behind the links that undo what a person did not do: a new address, or a new way to sign in."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ...domain.one_time import Purpose
from ...errors import AccountExists
from ...service.parts.caller import Caller
from ...service.parts.one_time import Proven, Shown
from ...text import mark
from ..edge import Call
from ..operation import UseCases
from .destination import Destination
from .mailed import MailedForm, write_taken
from .writer import PageWriter

_TITLES: dict[Purpose, str] = {
    "undo_change": mark("Your address is back"),
    "undo_factor": mark("It is undone"),
}


@dataclass(frozen=True, slots=True)
class UndoPages:
    """What the pages of a purpose look at, and do."""

    use: UseCases
    writer: PageWriter
    purpose: Purpose

    async def look(self, shown: Shown, caller: Caller) -> Proven:
        """Return what the link allows, and use nothing up."""
        return await self.use.undo.look(self.purpose, shown, caller)

    async def run(self, call: Call, form: MailedForm, _: Destination) -> Response:
        """Undo it, and say what comes next."""
        try:
            await self.use.undo(self.purpose, form.shown(call), call.caller)
        except AccountExists:
            return write_taken(self.writer, call)
        text = mark("Every device is signed out, and the password is removed. Choose a new one with the mail that we have sent.")
        say = call.language.translate
        return self.writer.write_page("message.html", call, title=say(_TITLES[self.purpose]), text=say(text))
