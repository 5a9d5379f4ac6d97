"""The statement about all second factors of an account."""

from __future__ import annotations

from ...domain.factor import Factors
from .executor import Executor

_SELECT = (
    "SELECT (SELECT count(*) FROM totp WHERE account_id = ?), "
    "(SELECT count(*) FROM passkey WHERE account_id = ?), "
    "(SELECT count(*) FROM recovery_code WHERE account_id = ? AND used_at_ms IS NULL)"
)


class SqlFactors:
    """Implements `handstamp.storage.store.FactorQueries`."""

    __slots__ = ("_executor",)

    def __init__(self, executor: Executor) -> None:
        """Run statements on `executor`."""
        self._executor = executor

    async def get(self, account_id: str) -> Factors:
        ((apps, passkeys, codes),) = await self._executor.run(_SELECT, (account_id,) * 3)
        return Factors(has_totp=bool(apps), passkeys=passkeys, recovery_codes=codes)
