"""The page that tells a person in sentences what has happened to their account and sessions: why was I signed out?"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ..edge import Call
from ..operation import UseCases
from .times import describe_time
from .visitor import arrives_from_elsewhere, name_session, require_visitor
from .writer import PageWriter

MAX_ENTRIES = 40
"""Shown on the page, newest first."""


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
        translate = call.language.translate
        devices = {each.id: name_session(each, call) for each in history.sessions}
        entries = [
            {
                "time": describe_time(entry.at_ms, call),
                "sentence": translate(entry.sentence),
                "device": devices.get(entry.sid or "", ""),
                "is_this": entry.sid == session.id,
            }
            for entry in history.entries[: -MAX_ENTRIES - 1 : -1]
        ]
        is_cut = history.is_cut or len(history.entries) > MAX_ENTRIES
        return self.writer.write_page("history.html", call, entries=entries, is_cut=is_cut)
