"""The gate for second factors: no session of an account begins past it."""

from __future__ import annotations

from ...domain.account import Account
from ...domain.attempt import ENROLMENT_MS, LIFETIME_MS
from ...domain.delivery import Delivery
from ...domain.factor import FactorPolicy, Lacking, find_lacking
from ...domain.proof import Proof
from ...errors import SecondFactorRequired
from ...storage.store import Rows
from ..parts.attempts import Attempts
from ..parts.caller import Caller
from ..parts.one_time import keep_browser_secret


class FactorGate:
    """Says what a sign-in lacks, and issues the challenge with which it goes on."""

    def __init__(self, *, attempts: Attempts, policy: FactorPolicy) -> None:
        self._attempts = attempts
        self._policy = policy

    async def find_lacking(self, rows: Rows, proof: Proof, account: Account | None) -> Lacking | None:
        """Return what a proof lacks, None if its session may begin. Subjects that are no accounts have no factors here."""
        if account is None:
            return None
        return find_lacking(proof, await rows.factors.get(account.id), self._policy, account.roles)

    def challenge(self, proof: Proof, lacking: Lacking, *, delivery: Delivery, caller: Caller) -> SecondFactorRequired:
        """Return what the edge answers in place of tokens."""
        lifetime_ms = ENROLMENT_MS if lacking.enrol else LIFETIME_MS
        browser = keep_browser_secret(caller.browser)
        challenge = self._attempts.issue(
            "second_factor",
            browser=browser,
            caller=caller,
            lifetime_ms=lifetime_ms,
            subject=proof.subject,
            epoch=0 if proof.account is None else proof.account.epoch,
            amr=proof.amr,
            acr=proof.acr,
            delivery=delivery,
            through=proof.through,
        )
        return SecondFactorRequired(
            challenge,
            methods=lacking.methods,
            enrol=lacking.enrol,
            expires_in_s=lifetime_ms // 1000,
            browser=browser,
        )
