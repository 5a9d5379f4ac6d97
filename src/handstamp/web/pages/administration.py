"""The first page of administrators: look people up, and a few figures."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from ...domain.account import Account
from ...service.operating.statistics import Figures
from ...text import mark
from ..edge import Call
from ..operation import UseCases
from .times import describe_time
from .writer import PageWriter

MAX_PEOPLE = 20
"""Shown on the page. Whoever needs another one types more of the address."""
PATIENCE_S = 0.3
"""How long the page waits for its figures. Counting a million rows takes seconds; the next visit shows them."""
_DONE = {"deleted": mark("The account is deleted.")}


@dataclass(frozen=True, slots=True)
class AdministrationPages:
    """The handler of the page."""

    use: UseCases
    writer: PageWriter
    counting: set[asyncio.Task[Figures]] = field(default_factory=set)
    """What counts after its page was answered. The event loop itself does not keep tasks."""

    async def show_people(self, call: Call) -> Response:
        """Return the page with the accounts whose address begins with the `email` of the query."""
        email = call.request.query_params.get("email", "")
        found = await self.use.accounts.list_page(prefix=email, limit=MAX_PEOPLE + 1)
        locked = await self.use.accounts.find_locked(found, call.operator)
        figures = None if email else await self._find_figures(call.now_ms)
        done = _DONE.get(call.request.query_params.get("done", ""))
        return self.writer.write_page(
            "people.html",
            call,
            email=email,
            people=[describe_person(each, locked) for each in found[:MAX_PEOPLE]],
            is_cut=len(found) > MAX_PEOPLE,
            figures=figures,
            counted=None if figures is None else describe_time(figures.counted_at_ms, call),
            notice=call.language.translate(done) if done else "",
            notice_kind="good",
        )

    async def _find_figures(self, now_ms: int) -> Figures | None:
        """Return the figures, None while they are being counted. Raises `Unavailable` if the store does not answer."""
        task = asyncio.ensure_future(self.use.statistics(now_ms))
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
        if done:
            return task.result()
        self.counting.add(task)
        task.add_done_callback(self._forget)
        return None

    def _forget(self, task: asyncio.Task[Figures]) -> None:
        self.counting.discard(task)
        if not task.cancelled():
            task.exception()  # the next visit counts again


def describe_person(account: Account, locked: set[str]) -> dict[str, Any]:
    """Return what the pages show of an account. `locked` are addresses."""
    return {
        "id": account.id,
        "email": account.email,
        "name": account.name,
        "language": account.language,
        "roles": account.roles,
        "is_verified": account.email_verified,
        "is_disabled": account.disabled_at_ms is not None,
        "is_locked": account.email in locked,
    }
