"""The page that tells a person in sentences what has happened to their account and sessions: why was I signed out?"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ..edge import Call
from ..operation import UseCases
from .entries import MAX_ENTRIES, describe_entries
from .visitor import arrives_from_elsewhere, require_visitor
from .writer import PageWriter


@dataclass(frozen=True, slots=True)
class HistoryPages:
    """The handler of the page. It raises `MissingToken`, `InvalidToken` or `SessionEnded`."""

    use: UseCases
    writer: PageWriter

    async def show_history(self, call: Call) -> Response:
        """Return the page."""
        if arrives_from_elsewhere(call):
            return self.writer.load_again(call)
        session, account = await require_visitor(self.use, call, impersonation=True)
        history = await self.use.histories.of_subject(session.subject, account, call.caller)
        entries = [{**entry, "is_this": entry["session"] == session.id} for entry in describe_entries(history, call)]
        is_cut = history.is_cut or len(history.entries) > MAX_ENTRIES
        return self.writer.write_page("history.html", call, entries=entries, is_cut=is_cut)
