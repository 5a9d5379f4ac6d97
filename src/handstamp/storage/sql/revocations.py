"""The statements about revocations."""

from __future__ import annotations

from ...domain.revocation import Revocation
from .columns import Columns
from .executor import Executor, purge_statement

COLUMNS = Columns(Revocation)
WRITTEN = Columns(Revocation, without=("seq",))
"""The database assigns `seq`."""
INSERT = f"INSERT INTO revocation ({WRITTEN.list}) VALUES ({WRITTEN.marks}) ON CONFLICT DO NOTHING"
_SELECT = f"SELECT {COLUMNS.list} FROM revocation"
_PURGE = purge_statement("revocation", "seq", "exp_s", keep="AND seq < (SELECT max(seq) FROM revocation)")


class SqlRevocations:
    """Implements `handstamp.storage.store.RevocationTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def list_since(self, seq: int, *, limit: int) -> list[Revocation]:
        rows = await self._executor.run(f"{_SELECT} WHERE seq >= ? ORDER BY seq LIMIT ?", (seq, limit))
        return [COLUMNS.decode(row) for row in rows]

    async def count(self, *, limit: int) -> int:
        rows = await self._executor.run("SELECT count(*) FROM (SELECT 1 FROM revocation LIMIT ?) AS held", (limit,))
        return int(rows[0][0])

    async def get_last(self) -> Revocation:
        return COLUMNS.decode((await self._executor.run(f"{_SELECT} ORDER BY seq DESC LIMIT 1"))[0])

    async def insert(self, revocation: Revocation) -> None:
        await self._executor.add_revocations([WRITTEN.encode(revocation)])

    async def purge(self, *, now_ms: int, limit: int) -> int:
        """Delete up to `limit` revocations that concern no token any more. Return the number of deleted rows.

        The last revocation is never deleted, so that a reader's place in the feed is always found.
        """
        return len(await self._executor.run(_PURGE, (now_ms // 1000, limit)))
