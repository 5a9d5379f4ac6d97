"""Spans for the store: one for each call in the request's trace, and one for each commit that several changes share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, Tracer

from ..domain.account import Account
from ..domain.session import Session
from ..storage.batching import Commit
from ..storage.store import Decide, Rows, Store, StoreLoad, StoreTime, Transaction, Update
from .spans import in_span, is_recorded

T = TypeVar("T")


class TracedStore:
    """Implements `handstamp.storage.store.Store` by another store.

    Only requests that are recorded have spans. Other requests and work in the background have none.
    """

    def __init__(self, store: Store, tracer: Tracer, *, is_remote: bool) -> None:
        """Wrap a store.

        Args:
            store: The store.
            tracer: Makes the spans.
            is_remote: True if the database is another process. SQLite reads a session in microseconds, and a span would take
                longer.
        """
        self._store = store
        self._tracer = tracer
        if not is_remote:
            self.session = store.session  # type: ignore[method-assign]

    async def open(self) -> None:
        """Open the store."""
        await self._store.open()

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    def read(self, work: Callable[[Rows], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        """Read in a span."""
        return self._trace("store read", self._store.read(work))

    def session(self, sid: str) -> Coroutine[Any, Any, tuple[Session, Account | None] | None]:
        """Read a session in a span."""
        return self._trace("store read", self._store.session(sid))

    def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        """Wait for a transaction in a span."""
        return self._trace("store transact", self._store.transact(work))

    def update_session(self, sid: str, decide: Decide[T]) -> Coroutine[Any, Any, T]:
        """Wait for a decision in a span, which is linked with that of the commit."""
        if not is_recorded():
            return self._store.update_session(sid, decide)
        return self._update_in_span(sid, decide)

    async def _update_in_span(self, sid: str, decide: Decide[T]) -> T:
        with in_span(self._tracer, "store update session") as span:
            return await self._store.update_session(sid, _Linked(decide, span))

    def _trace(self, name: str, call: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Return a call that runs in a span, or the call itself if the request is not recorded."""
        return self._run_in_span(name, call) if is_recorded() else call

    async def _run_in_span(self, name: str, call: Coroutine[Any, Any, T]) -> T:
        with in_span(self._tracer, name):
            return await call

    def load(self) -> StoreLoad:
        """Return how busy the store is."""
        return self._store.load()

    async def time(self) -> StoreTime | None:
        """Return the time of the store."""
        return await self._store.time()

    def changes(self) -> AsyncIterator[None]:
        """Yield after commits."""
        return self._store.changes()


class _Linked(Generic[T]):
    """A decision that knows the span in which a request waits for it."""

    __slots__ = ("_decide", "span")

    def __init__(self, decide: Decide[T], span: Span) -> None:
        self._decide = decide
        self.span = span

    def __call__(self, session: Session | None, account: Account | None) -> Update[T]:
        return self._decide(session, account)


def trace_commits(commit: Commit, tracer: Tracer) -> Commit:
    """Return a commit of changes that runs in a span of its own trace, if a request that waits for it is recorded.

    Requests share it, so it is linked with all of them.
    """

    async def commit_in_span(changes: Sequence[Any]) -> list[Any]:
        spans = [getattr(getattr(change, "decide", None), "span", INVALID_SPAN) for change in changes]
        waiting = [span for span in spans if span.is_recording()]
        if not waiting:
            return await commit(changes)
        links = [Link(span.get_span_context()) for span in waiting]
        attributes = {"handstamp.changes": len(changes)}
        with in_span(tracer, "store batch", attributes=attributes, context=Context(), links=links) as batch:
            for span in waiting:
                span.add_link(batch.get_span_context())
            return await commit(changes)

    return commit_in_span
