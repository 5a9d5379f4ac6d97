"""Make the ten recovery codes of an account, and find them again for a request whose answer was lost."""

from __future__ import annotations

from collections.abc import Sequence

from ...crypto.identifiers import new_id, new_secret
from ...crypto.recovery_codes import RecoveryCodes, hash_code, normalise_code
from ...domain.receipt import Repeatable
from ...domain.recovery_code import RecoveryCode
from ...storage.store import Rows, Transaction
from .caller import Caller
from .receipts import Receipts


class RecoveryCodeSets:
    """Makes codes. Only their hashes are stored, so they can be shown once."""

    def __init__(self, codes: RecoveryCodes, receipts: Receipts) -> None:
        self._codes = codes
        self._receipts = receipts

    async def replace(self, rows: Transaction, account_id: str, request: Repeatable | None, caller: Caller) -> list[str]:
        """Replace all codes of an account by ten new ones, and return these.

        Args:
            rows: The transaction.
            account_id: The account.
            request: What is repeatable. The same request gets the same codes again; None for one without a key.
            caller: The time of the request.
        """
        batch = new_id()
        codes = self._codes.make(account_id, batch, _key_of(request))
        await rows.recovery_codes.replace(account_id, _make_rows(account_id, codes, caller.now_ms))
        await self._receipts.save(rows, account_id, request, batch, caller.now_ms)
        return codes

    async def find(self, rows: Rows, account_id: str, request: Repeatable | None, caller: Caller) -> list[str] | None:
        """Return the codes that the same request has made before, if they are still those of the account, else None.

        Raises:
            InvalidFields: If the client has used the key of `request` for another request.
        """
        batch = await self._receipts.find(rows, account_id, request, caller.now_ms)
        if batch is None:
            return None
        stored = {code.hash for code in await rows.recovery_codes.list_of(account_id)}
        for codes in self._codes.make_again(account_id, batch, _key_of(request)):
            if stored == {hash_code(account_id, normalise_code(code)) for code in codes}:
                return codes
        return None


def _key_of(request: Repeatable | None) -> str:
    return new_secret() if request is None else request.key


def _make_rows(account_id: str, codes: Sequence[str], now_ms: int) -> list[RecoveryCode]:
    hashes = (hash_code(account_id, normalise_code(code)) for code in codes)
    return [RecoveryCode(account_id=account_id, hash=each, created_at_ms=now_ms) for each in hashes]
