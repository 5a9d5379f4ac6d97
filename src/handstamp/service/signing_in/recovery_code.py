"""Prove with a recovery code, in place of a second factor."""

from __future__ import annotations

from ...crypto.recovery_codes import hash_code, normalise_code
from ...domain.event import Event
from ...domain.mail import RecoveryCodeUsed
from ...errors import InvalidCode, InvalidFields
from ...storage.store import Store, Transaction
from ...text import mark
from ..mailing.notices import Notices
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.factor_proof import FactorProof
from .totp import METHODS


class RecoveryCodeProver:
    """Judges recovery codes. Begins nothing: the caller has proved the first factor, and limits the attempt.

    Wrong codes are not counted for the account. No number of guesses finds 120 random bits, and whoever knows the password could
    use such a limit to keep out a person who has lost the other factors.
    """

    def __init__(self, *, store: Store, notices: Notices, audit: Audit) -> None:
        self._store = store
        self._notices = notices
        self._audit = audit

    async def prove(self, account_id: str, typed: str, caller: Caller) -> FactorProof:
        """Return the proof of a right code. Its use is told by mail.

        Args:
            account_id: The account, whose first factor was proved before.
            typed: The code as it was typed.
            caller: The time of the request and where it came from.

        Raises:
            InvalidFields: If it has not the form of a recovery code.
            InvalidCode: If it is wrong or was used already.
            Unavailable: If the store does not answer.
        """
        code = normalise_code(typed)
        if not code:
            raise InvalidFields([("recoveryCode", mark("must have the 24 letters and digits of a recovery code"))])
        hashed = hash_code(account_id, code)
        codes = await self._store.read(lambda rows: rows.recovery_codes.list_of(account_id))
        if not any(each.hash == hashed and each.used_at_ms is None for each in codes):
            event = caller.event("sign_in_failed", subject=account_id, actor="visitor", detail={"factor": "recovery_code"})
            self._audit.log(event)
            raise InvalidCode("wrong_recovery_code")
        recorded: list[Event] = []

        async def confirm(rows: Transaction) -> None:
            account = await rows.accounts.get(account_id)
            if account is None or not await rows.recovery_codes.use(account_id, hashed, caller.now_ms):
                raise InvalidCode("wrong_recovery_code")
            left = (await rows.factors.get(account_id)).recovery_codes
            recorded[:] = [caller.event("recovery_code_used", subject=account_id, detail={"left": left})]
            await rows.events.insert(recorded[0])
            await self._notices.tell(rows, account, RecoveryCodeUsed(left=left), caller)

        return FactorProof(METHODS, confirm, recorded)
