"""Prove with a code of an authenticator app, as a second factor."""

from __future__ import annotations

from ...crypto.totp import TotpSecrets, find_steps
from ...domain.event import Event
from ...domain.totp import Totp, use
from ...errors import ConfigurationError, InvalidCode, Unavailable
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.factor_proof import FactorProof
from ..parts.one_time import read_digits
from ..parts.throttling import Counters, Throttling

METHODS = ("otp",)
"""The `amr` (RFC 8176): one-time password."""


class TotpProver:
    """Judges codes of authenticator apps. Begins nothing: the caller has proved the first factor, and limits the attempt."""

    def __init__(self, *, store: Store, secrets: TotpSecrets, throttling: Throttling, audit: Audit) -> None:
        self._store = store
        self._secrets = secrets
        self._throttling = throttling
        self._audit = audit

    async def prove(self, account_id: str, typed: str, caller: Caller, *, device: str = "") -> FactorProof:
        """Return the proof of a right code. A wrong one is counted for the account.

        Args:
            account_id: The account, whose first factor was proved before.
            typed: The code as it was typed.
            caller: The time of the request and where it came from.
            device: The name of the device on which the person has signed in before, or the session; "" for an unknown one.

        Raises:
            InvalidFields: If it has no six digits.
            InvalidCode: If it is wrong or was used already, or if the account has no authenticator app.
            TooManyAttempts: If too many codes were wrong.
            Unavailable: If the store does not answer, or no master secret opens the secret of the app.
        """
        code = read_digits(typed)
        counters = self._throttling.of_factor(account_id, "totp", device=device)
        with self._throttling.logging("second_factor", caller):
            totp, events = await self._store.transact(lambda rows: self._look(rows, account_id, code, counters, caller))
        for event in events:
            self._audit.log(event)
        if totp is None:
            raise InvalidCode("wrong_app_code")

        async def confirm(rows: Transaction) -> None:
            await self._throttling.require_no_wait(rows, counters, caller.now_ms)
            current = await rows.totp.get(account_id)
            after = None if current is None else use(current, self._find_steps(current, code, caller.now_ms), caller.now_ms)
            if after is None:
                raise InvalidCode("used_app_code")
            await rows.totp.save(after)
            await self._throttling.forgive(rows, counters)

        return FactorProof(METHODS, confirm, [])

    async def _look(
        self, rows: Transaction, account_id: str, code: str, counters: Counters, caller: Caller
    ) -> tuple[Totp | None, list[Event]]:
        """Return the row if the code is accepted. Otherwise count a failure, and return what to log."""
        await self._throttling.require_no_wait(rows, counters, caller.now_ms)
        totp = await rows.totp.get(account_id)
        steps = () if totp is None else self._find_steps(totp, code, caller.now_ms)
        if totp is not None and steps:
            if use(totp, steps, caller.now_ms) is None:
                raise InvalidCode("used_app_code")  # it was right, and is not counted: people press a button twice
            return totp, []
        events = [caller.event("sign_in_failed", subject=account_id, actor="visitor", detail={"factor": "totp"})]
        limit = await self._throttling.count_failure(rows, counters, caller.now_ms)
        if limit is not None:
            events.append(caller.event("account_locked", subject=account_id, actor="visitor", detail={"limit": limit}))
            await rows.events.insert(events[-1])
        return None, events

    def _find_steps(self, totp: Totp, code: str, now_ms: int) -> tuple[int, ...]:
        try:
            secret = self._secrets.open(totp.sealed, totp.account_id)
        except ConfigurationError:
            raise Unavailable("the secret of an authenticator app belongs to another master secret") from None
        return find_steps(secret, code, now_ms)
