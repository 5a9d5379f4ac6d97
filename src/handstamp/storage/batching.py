"""Group commit: changes that arrive together share one transaction, and so one wait for the disk.

A durable commit takes a millisecond, a refresh some microseconds. While one commit is in progress, the next changes are collected
and then committed together. A change that fails does not affect the others: it runs in a savepoint of its own, or it is decided
before anything is written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import Context
from typing import Any, Generic, NamedTuple, TypeVar

from ..domain.account import Account
from ..domain.event import Event
from ..domain.mail import Mail
from ..domain.session import Session
from ..errors import Unavailable
from .store import Decide

Change = TypeVar("Change")
Commit = Callable[[Sequence[Any]], Awaitable[list[Any]]]
Around = Callable[[Commit], Commit]
"""Wraps a commit, to measure it or to trace it."""
MAX_BATCH = 32
MAX_WAITING = 10_000


class Failed(NamedTuple):
    """The result of a change that raised `cause` and was undone."""

    cause: Exception


class SessionChange(NamedTuple):
    """A decision that is to be made about one session."""

    sid: str
    decide: Decide[Any]


class Decisions:
    """Runs decisions about locked sessions and collects what they want to write."""

    def __init__(self, find: Callable[[str], tuple[Session, Account | None] | None]) -> None:
        """Read locked rows with `find`, which returns a session and its account as they were before all decisions."""
        self._find = find
        self._changed: dict[str, Session] = {}
        self.events: list[Event] = []
        self.mails: list[Mail] = []

    def judge(self, change: SessionChange) -> Any:
        """Return the decision's answer, or `Failed` if it raised. A second change of a session sees the result of the first."""
        session, account = self._find(change.sid) or (None, None)
        try:
            update = change.decide(self._changed.get(change.sid, session), account)
        except Exception as problem:  # noqa: BLE001 - it is raised in the caller who submitted the change
            return Failed(problem)
        if update.session is not None:
            self._changed[change.sid] = update.session
        self.events += update.events
        self.mails += update.mails
        return update.answer

    @property
    def changed(self) -> Collection[Session]:
        """The rows to write."""
        return self._changed.values()

    @property
    def unrevoked(self) -> Sequence[Session]:
        """The rows to write that are not revoked."""
        return [session for session in self.changed if session.revoked_at_ms is None]

    @property
    def revoked(self) -> Sequence[Session]:
        """The rows to write that are revoked."""
        return [session for session in self.changed if session.revoked_at_ms is not None]


class GroupCommit(Generic[Change]):
    """Collects changes and commits them in batches, one batch at a time."""

    def __init__(self, commit: Callable[[Sequence[Change]], Awaitable[list[Any]]], *, around: Around | None = None) -> None:
        """Create it.

        Args:
            commit: Commits a batch, and returns one result for each change after the commit, or raises for the batch.
            around: Returns a commit that is observed. None to observe nothing.
        """
        self._commit = commit if around is None else around(commit)
        self._waiting: deque[tuple[Change, asyncio.Future[Any]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, change: Change) -> Any:
        """Return the change's result once it is durable, or raise what it raised.

        Raises `Unavailable` if more than `MAX_WAITING` changes wait.
        """
        if self._closed or len(self._waiting) >= MAX_WAITING:
            raise Unavailable("too many changes wait for the store")
        result = asyncio.get_running_loop().create_future()
        self._waiting.append((change, result))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), context=Context())  # of no request: it works for many
        return await result

    async def close(self) -> None:
        """Commit what was submitted and refuse further changes."""
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
            if not result.cancelled():  # the caller has gone away before the change began: skip it
                batch.append((change, result))
        return batch

    async def _run(self, batch: list[tuple[Change, asyncio.Future[Any]]]) -> None:
        if not batch:
            return
        try:
            outcomes = await self._commit([change for change, _ in batch])
        except Exception as problem:  # noqa: BLE001 - it is raised in every caller of the batch
            if isinstance(problem, Unavailable):  # the changes behind it would wait for the same failure
                batch, self._waiting = [*batch, *self._waiting], deque()
            outcomes = [Failed(problem)] * len(batch)
        for (_, result), outcome in zip(batch, outcomes, strict=True):
            if result.cancelled():
                continue
            if isinstance(outcome, Failed):
                result.set_exception(outcome.cause)
            else:
                result.set_result(outcome)

    @property
    def waiting(self) -> int:
        """How many changes wait for a commit."""
        return len(self._waiting)
