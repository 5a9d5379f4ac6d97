"""The page on which people download all that is stored about them, and delete their account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from ...domain.account import Account
from ...domain.session import Session
from ...errors import DeletionBlocked
from ...service.sessions.living import require_fresh
from ..api.own_data import write_export
from ..body import read_form
from ..edge import Call
from ..operation import UseCases
from .forms import CORRECTABLE
from .visitor import arrives_from_elsewhere, name_of, require_confirmed, require_visitor
from .writer import PageWriter


class DeleteForm(msgspec.Struct):
    """The form that deletes the account."""

    email: str = ""


@dataclass(frozen=True, slots=True)
class OwnDataPages:
    """The handlers of the page. All raise `MissingToken`, `InvalidToken`, `SessionEnded` or `InsufficientAuthentication`."""

    use: UseCases
    writer: PageWriter

    async def show_data(self, call: Call) -> Response:
        """Return the page."""
        if arrives_from_elsewhere(call):
            return self.writer.load_again(call)
        session, account = await require_visitor(self.use, call)
        if account is None:
            require_fresh(session, call.now_ms)
        else:
            await require_confirmed(self.use, call)
        return self.writer.write_page("own_data.html", call, **_values(session, account))

    async def export(self, call: Call) -> Response:
        """Return the file."""
        session, account = await require_visitor(self.use, call)
        return write_export(session.subject, await self.use.export_data(session, account, call.caller), call)

    async def submit_delete(self, call: Call) -> Response:
        """Delete the account, or show the page again with what is wrong."""
        form = await read_form(call.request, DeleteForm)
        session, account = await require_visitor(self.use, call)
        try:
            await self.use.delete_account(session, account, form.email, call.caller)
        except (*CORRECTABLE, DeletionBlocked) as error:
            return self.writer.write_form_again("own_data.html", error, call, **_values(session, account))
        return self.writer.end_visit(self.writer.redirect("/signed-out?from=deleted"), call)


def _values(session: Session, account: Account | None) -> dict[str, Any]:
    return {"visitor": name_of(session, account), "has_account": account is not None}
