"""Follow the changes of the store once for all background work of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ...storage.store import Store


class Changes:
    """Passes on what `Store.changes` yields. Each follower of the store itself costs a connection, or looks at the file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followers: set[asyncio.Event] = set()

    async def run(self) -> None:
        """Follow the store until cancelled."""
        async for _ in self._store.changes():
            for changed in self._followers:
                changed.set()

    @contextmanager
    def follow(self) -> Iterator[asyncio.Event]:
        """Return an event that is set now, and again soon after each commit by any process. The follower clears it."""
        changed = asyncio.Event()
        changed.set()
        self._followers.add(changed)
        try:
            yield changed
        finally:
            self._followers.discard(changed)
