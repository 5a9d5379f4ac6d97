"""The revocation feed: what verifiers elsewhere are told, in the order in which it was committed.

A cursor names the last entry that a reader has seen, by number and by name. A database that was restored from a backup has
another entry under that number, or none: then the reader gets everything anew, and misses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ...clock import Clock
from ...domain.revocation import Revocation
from ...errors import HandstampError
from ...logger import Logger
from ...storage.store import Rows, Store
from ..operating.keys import Keys
from ..parts.caller import Caller

HEARTBEAT_S = 5
"""How long a reader waits at most when there is nothing new."""
PAGE = 2_000
MAX_WAITING = 2_000
"""Readers beyond these are answered without waiting, so that a flood of them costs no more than requests do."""
_log = Logger("handstamp.revocations")


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, and where to go on. `is_snapshot`: from the very beginning. `has_more`: ask again at once."""

    entries: Sequence[Revocation]
    cursor: str
    is_snapshot: bool
    has_more: bool


class Revocations:
    """The use case behind `GET /revocations`, and what keeps the processes of a deployment in step."""

    def __init__(self, *, store: Store, keys: Keys, clock: Clock) -> None:
        """Take what it works with."""
        self._store = store
        self._keys = keys
        self._clock = clock
        self._last_seq = -1
        self._news = asyncio.Event()
        self._waiting = 0

    async def run(self) -> None:
        """Follow the store for ever, until cancelled: wake up waiting readers, and drop keys that were voided."""
        self._news = asyncio.Event()  # of this event loop
        async for _ in self._store.changes():
            try:
                last = await self._store.read(lambda rows: rows.revocations.get_last())
                if last.seq != self._last_seq:
                    await self._take_note(last.seq)
            except HandstampError as problem:
                _log.warning("following_failed", problem=getattr(problem, "why", str(problem)))
            except Exception:  # noqa: BLE001 - one round that fails, for whatever reason, must not be the last
                _log.exception("following_failed")

    async def after(self, cursor: str, *, wait_s: int, caller: Caller) -> Page:
        """Return what came after `cursor`, everything for an unknown one; wait up to `wait_s` seconds for something to come."""
        loop = asyncio.get_running_loop()
        until = loop.time() + min(wait_s, HEARTBEAT_S)
        while True:
            news = self._news  # taken before looking: what comes in between is not slept through
            page = await self._page(cursor, caller)
            if page.entries or page.is_snapshot or page.has_more or self._waiting >= MAX_WAITING:
                return page
            self._waiting += 1
            try:
                async with asyncio.timeout_at(until):
                    await news.wait()  # which may be news that this reader has had already: then it waits on
            except TimeoutError:
                return await self._page(page.cursor, caller)  # looked at once more: "nothing" has to be true of now
            finally:
                self._waiting -= 1
            cursor = page.cursor

    async def _take_note(self, last_seq: int) -> None:
        since = self._last_seq + 1
        new = await self._store.read(lambda rows: rows.revocations.list_since(since, limit=PAGE))
        if last_seq < since or len(new) == PAGE or any(revocation.kind == "kid" for revocation in new):
            await self._keys.load(self._clock())
        self._last_seq = last_seq
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _page(self, cursor: str, caller: Caller) -> Page:
        seq, name = _place(cursor)

        async def look(rows: Rows) -> Page:
            found = await rows.revocations.list_since(seq, limit=PAGE + 1)
            is_snapshot = not found or (found[0].seq, found[0].name) != (seq, name)
            if is_snapshot:
                found = await rows.revocations.list_since(0, limit=PAGE + 1)
            has_more = len(found) > PAGE
            found = found[:PAGE]
            return Page(
                entries=[entry for entry in found[0 if is_snapshot else 1 :] if entry.exp_s * 1000 > caller.now_ms],
                cursor=f"{found[-1].seq}.{found[-1].name}",
                is_snapshot=is_snapshot,
                has_more=has_more,
            )

        return await self._store.read(look)


def _place(cursor: str) -> tuple[int, str]:
    number, _, name = cursor.partition(".")
    return (int(number), name) if number.isdecimal() and number.isascii() and len(number) < 16 else (0, "")
