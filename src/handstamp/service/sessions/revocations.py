"""The revocation feed for verifiers in other services, in the order of the commits.

A cursor contains the number and the name of the last entry that a reader has seen. After a restore from a backup the database has
another entry under that number, or none. Then the reader gets a snapshot of all entries, and misses none.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ...domain.revocation import Revocation
from ...errors import HandstampError
from ...logger import Logger
from ...storage.store import Rows, Store
from ..operating.keys import Keys
from ..parts.bounded_logger import BoundedLogger
from ..parts.caller import Caller
from ..parts.changes import Changes
from ..parts.common_clock import CommonClock

HEARTBEAT_S = 5
"""The longest time that a reader waits for a new entry."""
PAGE_SIZE = 2_000
MAX_WAITING, MAX_WAITING_EACH = 2_000, 500
"""How many readers may wait: in all, and with one credential. More get an answer at once, at the cost of any request."""
_log = Logger("handstamp.revocations")
_bounded_log = BoundedLogger("handstamp.revocations")


@dataclass(frozen=True, slots=True)
class FeedPage:
    """One answer of the feed.

    Attributes:
        entries: The entries after the cursor of the reader, in the order of the commits.
        cursor: What the reader sends next time.
        is_snapshot: True if these are all entries from the beginning, not only those after the reader's cursor.
        has_more: True if the reader should ask again at once.
    """

    entries: Sequence[Revocation]
    cursor: str
    is_snapshot: bool
    has_more: bool


class Revocations:
    """The use case behind `GET /revocations`. It also keeps the processes of a deployment up to date."""

    def __init__(self, *, store: Store, changes: Changes, keys: Keys, clock: CommonClock) -> None:
        self._store = store
        self._changes = changes
        self._keys = keys
        self._clock = clock
        self._last_seq = -1
        self._news = asyncio.Event()
        self._waiting: Counter[str] = Counter()
        self.problem: str = ""
        """Why this process cannot follow the changes of the store, "" if it can."""
        self.read_at_ms: dict[str, int] = {}
        """When the readers with each credential last had an answer of this process, in milliseconds since 1970."""

    async def run(self) -> None:
        """Follow the changes of the store until cancelled: wake waiting readers, and reload the keys when one was voided."""
        self._news = asyncio.Event()  # belongs to the running event loop
        with self._changes.follow() as changed:
            while True:
                await changed.wait()
                changed.clear()
                try:
                    last = await self._store.read(lambda rows: rows.revocations.get_last())
                    if last.seq != self._last_seq:
                        await self._notify(last.seq)
                    self.problem = ""
                except HandstampError as problem:
                    self.problem = getattr(problem, "why", str(problem))
                    _log.warning("following_failed", problem=self.problem)
                except Exception as problem:  # noqa: BLE001 - an unexpected failure must not stop the loop
                    self.problem = type(problem).__name__  # /readyz shows it; the message may say more than it should
                    _log.exception("following_failed")

    async def read_after(self, cursor: str, *, wait_s: int, reader: str, caller: Caller) -> FeedPage:
        """Return the entries after `cursor`, or a snapshot for an unknown cursor.

        Args:
            cursor: The cursor of the last page, "" for a snapshot.
            wait_s: Seconds to wait for a new entry; at most `HEARTBEAT_S` are waited.
            reader: The name of the credential.
            caller: The time of the request.

        Raises:
            Unavailable: If the store does not answer.
        """
        page = await self._wait_and_read(cursor, min(wait_s, HEARTBEAT_S), reader, caller)
        self.read_at_ms[reader] = self._clock.estimate()
        return page

    async def _wait_and_read(self, cursor: str, wait_s: int, reader: str, caller: Caller) -> FeedPage:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            news = self._news  # taken before reading, so that a change in between is not missed
            page = await self._read_page(cursor, caller)
            if page.entries or page.is_snapshot or page.has_more or not self._may_wait(reader):
                return page
            self._waiting[reader] += 1
            try:
                async with asyncio.timeout_at(until):
                    await news.wait()  # may be set by an entry that this reader has already: then it waits again
            except TimeoutError:
                return await self._read_page(page.cursor, caller)  # read again: an empty answer must be true now
            finally:
                self._waiting[reader] -= 1
                if not self._waiting[reader]:
                    del self._waiting[reader]
            cursor = page.cursor

    @property
    def readers(self) -> int:
        """How many readers wait for a new entry in this process."""
        return self._waiting.total()

    def _may_wait(self, reader: str) -> bool:
        may_wait = self._waiting[reader] < MAX_WAITING_EACH and self._waiting.total() < MAX_WAITING
        if not may_wait:
            _bounded_log.warning("feed_crowded", credential=reader, waiting=self._waiting[reader])
        return may_wait

    async def _notify(self, last_seq: int) -> None:
        since = self._last_seq + 1
        new = await self._store.read(lambda rows: rows.revocations.list_since(since, limit=PAGE_SIZE))
        if last_seq < since or len(new) == PAGE_SIZE or any(revocation.kind == "kid" for revocation in new):
            await self._keys.load(self._clock.estimate())
        self._last_seq = last_seq
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _read_page(self, cursor: str, caller: Caller) -> FeedPage:
        seq, name = _parse_cursor(cursor)

        async def read(rows: Rows) -> FeedPage:
            found = await rows.revocations.list_since(seq, limit=PAGE_SIZE + 1)
            is_snapshot = not found or (found[0].seq, found[0].name) != (seq, name)
            if is_snapshot:
                found = await rows.revocations.list_since(0, limit=PAGE_SIZE + 1)
            has_more = len(found) > PAGE_SIZE
            found = found[:PAGE_SIZE]
            return FeedPage(
                entries=[entry for entry in found[0 if is_snapshot else 1 :] if entry.exp_s * 1000 > caller.now_ms],
                cursor=f"{found[-1].seq}.{found[-1].name}",
                is_snapshot=is_snapshot,
                has_more=has_more,
            )

        return await self._store.read(read)


def _parse_cursor(cursor: str) -> tuple[int, str]:
    number, _, name = cursor.partition(".")
    return (int(number), name) if number.isdecimal() and number.isascii() and len(number) < 16 else (0, "")
