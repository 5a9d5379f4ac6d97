"""List the second factors of an account."""

from __future__ import annotations

import msgspec

from ...domain.account import Account
from ...domain.factor import FactorPolicy, Factors
from ...domain.totp import Totp
from ...storage.store import Rows, Store
from ..sessions.living import require_account


class FactorList(msgspec.Struct, frozen=True):
    """How a person signs in.

    Attributes:
        has_password: Whether the account has a password.
        totp: The authenticator app, None if there is none.
        factors: A summary.
        is_required: Whether the account must have a second factor.
    """

    has_password: bool
    totp: Totp | None
    factors: Factors
    is_required: bool


class ListFactors:
    """The use case behind `GET /factors`."""

    def __init__(self, *, store: Store, policy: FactorPolicy) -> None:
        self._store = store
        self._policy = policy

    async def __call__(self, account: Account | None) -> FactorList:
        """Return the factors of an account. Raises `NotFound` without an account, and `Unavailable`."""
        account = require_account(account)

        async def read(rows: Rows) -> FactorList:
            return FactorList(
                has_password=account.password_hash != "",
                totp=await rows.totp.get(account.id),
                factors=await rows.factors.get(account.id),
                is_required=self._policy.requires(account.roles),
            )

        return await self._store.read(read)
