"""Group commit: changes that arrive together share one transaction, and so one wait for the disk.

Making a commit durable costs a millisecond, a refresh some microseconds. While one commit is under way the next changes
gather, and go together. One that fails harms no other: whatever can fail stands in a savepoint of its own, or is decided before
anything is written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from ..domain.account import Account
from ..domain.event import Event
from ..domain.session import Session
from ..errors import Unavailable
from .store import Decide

Change = TypeVar("Change")
MAX_BATCH = 32
MAX_WAITING = 10_000


class Failed(NamedTuple):
    """Stands in a list of results for a change that raised `cause` and was undone."""

    cause: Exception


class SessionChange(NamedTuple):
    """One session and what is to be decided about it."""

    sid: str
    decide: Decide[Any]


class Decisions:
    """What is decided about sessions whose rows are held, and what of it is to be written, all of it at the end."""

    def __init__(self, find: Callable[[str], tuple[Session, Account | None] | None]) -> None:
        """Take what returns a held row with its account, as it was before all decisions."""
        self._find = find
        self._changed: dict[str, Session] = {}
        self.events: list[Event] = []

    def judge(self, change: SessionChange) -> Any:
        """Return the answer, or `Failed` with what was raised. A session's second change sees what the first made of it."""
        session, account = self._find(change.sid) or (None, None)
        try:
            update = change.decide(self._changed.get(change.sid, session), account)
        except Exception as problem:  # noqa: BLE001 - it belongs to whoever submitted the change
            return Failed(problem)
        if update.session is not None:
            self._changed[change.sid] = update.session
        self.events += update.events
        return update.answer

    @property
    def changed(self) -> Collection[Session]:
        """The rows to write."""
        return self._changed.values()

    @property
    def revoked(self) -> Sequence[Session]:
        """Those of them that are revoked."""
        return [session for session in self.changed if session.revoked_at_ms is not None]


class GroupCommit(Generic[Change]):
    """Collects changes and hands them in batches to `commit`, one batch at a time."""

    def __init__(self, commit: Callable[[Sequence[Change]], Awaitable[list[Any]]]) -> None:
        """Take what runs a batch: it returns one result a change, after the commit, or raises for all of them."""
        self._commit = commit
        self._waiting: deque[tuple[Change, asyncio.Future[Any]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, change: Change) -> Any:
        """Return the change's result once it is durable, or raise what it raised.

        Raises `Unavailable` when more changes wait than can be answered in any sensible time.
        """
        if self._closed or len(self._waiting) >= MAX_WAITING:
            raise Unavailable("too many changes wait for the store")
        result = asyncio.get_running_loop().create_future()
        self._waiting.append((change, result))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await result

    async def close(self) -> None:
        """Finish what was submitted; take nothing more."""
        self._closed = True
        if self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._run(self._next_batch())
        finally:
            self._worker = None

    def _next_batch(self) -> list[tuple[Change, asyncio.Future[Any]]]:
        batch: list[tuple[Change, asyncio.Future[Any]]] = []
        while self._waiting and len(batch) < MAX_BATCH:
            change, result = self._waiting.popleft()
            if not result.cancelled():  # whoever asked has gone away before it began: leave it undone
                batch.append((change, result))
        return batch

    async def _run(self, batch: list[tuple[Change, asyncio.Future[Any]]]) -> None:
        if not batch:
            return
        try:
            outcomes = await self._commit([change for change, _ in batch])
        except Exception as problem:  # noqa: BLE001 - it is raised again, in whoever waits
            if isinstance(problem, Unavailable):  # those behind would only wait for the same nothing
                batch, self._waiting = [*batch, *self._waiting], deque()
            outcomes = [Failed(problem)] * len(batch)
        for (_, result), outcome in zip(batch, outcomes, strict=True):
            if result.cancelled():
                continue
            if isinstance(outcome, Failed):
                result.set_exception(outcome.cause)
            else:
                result.set_result(outcome)
