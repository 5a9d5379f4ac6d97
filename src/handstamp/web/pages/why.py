"""The page that tells administrators what has happened to one session, or to a person who has no account any more."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ...errors import NotFound
from ...text import mark
from ..edge import Call
from ..operation import UseCases
from .admitting import require_id
from .entries import MAX_ENTRIES, describe_entries
from .visitor import name_session
from .writer import PageWriter


@dataclass(frozen=True, slots=True)
class WhyPages:
    """The handler of the page. It runs behind `for_administrators`."""

    use: UseCases
    writer: PageWriter

    async def show_why(self, call: Call) -> Response:
        """Return the page of the `id` of the query: a session, or a subject. Raises `NotFound` if nothing is known of it."""
        about = require_id(call.request.query_params.get("id", "").strip())
        try:
            history = await self.use.histories.of(about, call.operator)
        except NotFound:
            raise NotFound(mark("Nothing is known about this id.")) from None
        if history.subject == about and history.account is not None:
            return self.writer.redirect(f"/admin/person?{call.request.scope['query_string'].decode('ascii')}")
        session = next((each for each in history.sessions if each.id == about), None)
        return self.writer.write_page(
            "why.html",
            call,
            id=about,
            device=name_session(session, call) if session is not None else "",
            lives=about in history.living,
            subject=history.subject,
            account=None if history.account is None else {"id": history.account.id, "email": history.account.email},
            entries=describe_entries(history, call),
            is_cut=history.is_cut or len(history.entries) > MAX_ENTRIES,
        )
