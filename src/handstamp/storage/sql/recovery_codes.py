"""The statements about recovery codes."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.recovery_code import RecoveryCode
from .columns import Columns
from .executor import Executor

COLUMNS = Columns(RecoveryCode)
_SELECT = f"SELECT {COLUMNS.list} FROM recovery_code WHERE account_id = ? ORDER BY hash"
_USE = "UPDATE recovery_code SET used_at_ms = ? WHERE account_id = ? AND hash = ? AND used_at_ms IS NULL RETURNING 1"


class SqlRecoveryCodes:
    """Implements `handstamp.storage.store.RecoveryCodeTable`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def list_of(self, account_id: str) -> list[RecoveryCode]:
        return [COLUMNS.decode(row) for row in await self._executor.run(_SELECT, (account_id,))]

    async def replace(self, account_id: str, codes: Sequence[RecoveryCode]) -> None:
        await self._executor.run("DELETE FROM recovery_code WHERE account_id = ?", (account_id,))
        if codes:
            sql = f"INSERT INTO recovery_code ({COLUMNS.list}) VALUES {COLUMNS.marks_of(len(codes))}"
            await self._executor.run(sql, [value for code in codes for value in COLUMNS.encode(code)])

    async def use(self, account_id: str, code_hash: bytes, now_ms: int) -> bool:
        return bool(await self._executor.run(_USE, (now_ms, account_id, code_hash)))
