"""Complete a sign-in with a second factor."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ...domain.attempt import Attempt
from ...domain.factor import add_factor
from ...domain.mail import SecondFactorGuessed
from ...domain.proof import Proof
from ...domain.receipt import Repeatable
from ...errors import InvalidChallenge, InvalidCode, InvalidFields, InvalidPasskey, SecondFactorRequired
from ...storage.store import Rows, Store, Transaction
from ...text import mark
from ..accounts.factor_changes import ENROLLED_AMR, Holder, hold_attempt, name_attempt
from ..mailing.notices import Notices
from ..parts.attempts import Attempts
from ..parts.caller import Caller
from ..parts.devices import NO_EARLIER, Devices, EarlierSignIns
from ..parts.factor_proof import FactorProof, GivenFactor, PasskeyAnswers
from ..parts.throttling import Throttling
from ..parts.tokens import TokenPair
from ..sessions.begin import BeginSession
from .recovery_code import RecoveryCodeProver
from .totp import TotpProver


class FactorProvers(msgspec.Struct, frozen=True):
    """What judges each kind of second factor, and counts wrong answers."""

    totp: TotpProver
    recovery_code: RecoveryCodeProver
    passkey: PasskeyAnswers
    store: Store
    throttling: Throttling
    notices: Notices

    async def prove(
        self, account_id: str, answer: GivenFactor, caller: Caller, *, device: str, within: str, in_session: bool
    ) -> FactorProof:
        """Return the proof of the one factor that was answered, within a sign-in or a session. Count a wrong answer.

        Args:
            account_id: The account.
            answer: What was answered.
            caller: The time of the request and where it came from, with the secret of the browser.
            device: The name of the known device, "" for an unknown one.
            within: The name of the sign-in or of the session.
            in_session: Whether it is a session.

        Raises:
            InvalidFields: If it is not exactly one.
            InvalidCode: If the code is wrong or was used.
            InvalidPasskey: If the passkey is not accepted.
        """
        try:
            return await self._prove(account_id, answer, caller, device=device, within=within)
        except (InvalidCode, InvalidPasskey) as refused:
            if not isinstance(refused, InvalidCode) or refused.verdict != "used_app_code":
                await self.store.transact(lambda rows: self._count_wrong(rows, account_id, caller, in_session=in_session))
            raise

    async def _count_wrong(self, rows: Transaction, account_id: str, caller: Caller, *, in_session: bool) -> None:
        """Tell the person of several wrong answers, once: whoever sends them has their password or session (ASVS 5.0, 6.3.5)."""
        account = await rows.accounts.get(account_id)
        if account is not None and await self.throttling.count_second_step(rows, account_id, caller.now_ms):
            await self.notices.tell(rows, account, SecondFactorGuessed(in_session=in_session), caller)

    async def _prove(self, account_id: str, answer: GivenFactor, caller: Caller, *, device: str, within: str) -> FactorProof:
        given = [name for name in ("code", "recovery_code", "passkey") if getattr(answer, name)]
        if len(given) != 1:
            raise InvalidFields([("code", mark("send one of code, recoveryCode and passkey"))])
        if answer.code:
            return await self.totp.prove(account_id, answer.code, caller, device=device)
        if answer.recovery_code:
            return await self.recovery_code.prove(account_id, answer.recovery_code, caller)
        return await self.passkey.prove_factor(account_id, answer, caller, within=within)


class SecondFactor:
    """The use case behind `POST /login/second-factor`: the second step of every way of signing in."""

    def __init__(
        self,
        *,
        store: Store,
        attempts: Attempts,
        provers: FactorProvers,
        devices: Devices,
        notices: Notices,
        begin_session: BeginSession,
    ) -> None:
        self._store = store
        self._attempts = attempts
        self._provers = provers
        self._devices = devices
        self._notices = notices
        self._begin_session = begin_session

    def open(self, challenge: str, caller: Caller) -> Attempt:
        """Return the sign-in of a challenge, as its browser has sent it back. Raises `InvalidChallenge`."""
        return self._attempts.open(challenge, "second_factor", browser=caller.browser, caller=caller)

    async def hold(self, challenge: str, caller: Caller) -> Holder:
        """Return a sign-in in which a factor must be added, as what may add it. Raises `InvalidChallenge` and `Unavailable`."""
        attempt = self.open(challenge, caller)
        account = await self._store.read(lambda rows: rows.accounts.get(attempt.subject))
        return hold_attempt(self._attempts, attempt, account, caller)

    async def find_lacking(self, challenge: str, caller: Caller) -> SecondFactorRequired:
        """Return what the sign-in of a challenge lacks now, with the same challenge, for a page that asks for it.

        Raises:
            InvalidChallenge: If it is not accepted any more.
            Unavailable: If the store does not answer.
        """
        attempt = self.open(challenge, caller)

        async def find(rows: Rows) -> SecondFactorRequired:
            row = await self._attempts.require_open(rows, attempt, caller)
            account = await rows.accounts.get(attempt.subject)
            lacking = await self._begin_session.find_lacking(rows, _first(attempt), account)
            left_s = (attempt.expires_at_ms - caller.now_ms) // 1000
            if lacking is None or row.enrolled or account is None:
                return SecondFactorRequired(challenge, expires_in_s=left_s, browser=caller.browser)
            return SecondFactorRequired(
                challenge, methods=lacking.methods, enrol=lacking.enrol, expires_in_s=left_s, browser=caller.browser
            )

        return await self._store.read(find)

    async def __call__(
        self,
        challenge: str,
        answer: GivenFactor,
        caller: Caller,
        *,
        presented: Iterable[str] = (),
        earlier: EarlierSignIns = NO_EARLIER,
        request: Repeatable | None = None,
    ) -> TokenPair:
        """Begin the session of a sign-in whose first step was right.

        Args:
            challenge: What the first step answered.
            answer: The second factor. Empty if one was added during this sign-in, which counts as its proof.
            caller: The time of the request and where it came from, with the secret of the browser.
            presented: Tokens that came with the request. Their sessions end (T15).
            earlier: What shows that the person has signed in on this device before.
            request: What is repeatable, or None.

        Raises:
            InvalidChallenge: If the sign-in has expired, is complete, began in another browser or had too many wrong codes.
            InvalidCode: If the code is wrong or was used.
            InvalidPasskey: If the passkey is not accepted.
            InvalidFields: If not exactly one factor was sent.
            InvalidCredentials: If the account has changed since the first step.
            TooManyAttempts: If too many codes of the account were wrong.
            Unavailable: If the store, the signing key or the claims hook fails.
        """
        attempt = self.open(challenge, caller)
        try:
            return await self._complete(attempt, answer, caller, presented=presented, earlier=earlier, request=request)
        except InvalidChallenge as refused:
            pair = await self._begin_session.repeat(attempt.subject, request, caller) if refused.verdict == "used" else None
            if pair is None:
                raise
            return pair

    async def _complete(
        self,
        attempt: Attempt,
        answer: GivenFactor,
        caller: Caller,
        *,
        presented: Iterable[str],
        earlier: EarlierSignIns,
        request: Repeatable | None,
    ) -> TokenPair:
        device = self._devices.find(attempt.subject, earlier) or ""
        factor = await self._prove(attempt, answer, caller, device)
        account = await self._store.read(lambda rows: rows.accounts.get(attempt.subject))
        if account is None or account.epoch != attempt.epoch:
            raise InvalidChallenge("void")

        async def confirm(rows: Transaction) -> None:
            await self._attempts.consume(rows, attempt, caller)
            await factor.confirm(rows)

        async def on_begin(rows: Transaction) -> None:
            await self._notices.tell_of_sign_in(rows, account, caller, is_known_device=device != "")

        first = msgspec.structs.replace(_first(attempt), account=account)
        return await self._begin_session(
            add_factor(first, factor.amr, acr=factor.acr, now_ms=caller.now_ms),
            delivery=attempt.delivery,
            caller=caller,
            confirm=confirm,
            on_begin=on_begin,
            beside=factor.events,
            replaced=presented,
            request=request,
        )

    async def _prove(self, attempt: Attempt, answer: GivenFactor, caller: Caller, device: str) -> FactorProof:
        if answer == GivenFactor():
            row = await self._store.read(lambda rows: self._attempts.require_open(rows, attempt, caller))
            if row.enrolled not in ENROLLED_AMR:
                raise InvalidFields([("code", mark("send one of code, recoveryCode and passkey"))])

            async def confirm(rows: Transaction) -> None:
                left = await rows.factors.get(attempt.subject)
                if not (left.has_totp if row.enrolled == "totp" else left.passkeys):
                    raise InvalidChallenge("void")  # it was removed meanwhile

            return FactorProof(ENROLLED_AMR[row.enrolled], confirm, [], "phr" if row.enrolled == "passkey" else "mfa")
        await self._attempts.count(attempt, caller)
        within = name_attempt(attempt)
        return await self._provers.prove(attempt.subject, answer, caller, device=device, within=within, in_session=False)


def _first(attempt: Attempt) -> Proof:
    """Return what the first step has proved. Its account is read later."""
    return Proof(
        subject=attempt.subject,
        amr=attempt.amr,
        acr=attempt.acr,
        authenticated_at_ms=attempt.created_at_ms,
        through=attempt.through,
    )
