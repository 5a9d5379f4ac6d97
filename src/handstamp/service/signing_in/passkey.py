"""Sign in with a passkey, alone or as a second factor."""

from __future__ import annotations

from collections.abc import Iterable

from ...domain.delivery import Delivery
from ...domain.proof import Proof
from ...domain.receipt import Repeatable
from ...domain.session import Session
from ...errors import EmailNotVerified, InvalidChallenge, InvalidCredentials
from ...storage.store import Store, Transaction
from ..accounts.factor_changes import name_attempt, name_session
from ..mailing.notices import Notices
from ..parts.caller import Caller
from ..parts.ceremonies import Ceremony, PasskeyCeremonies
from ..parts.devices import NO_EARLIER, Devices, EarlierSignIns
from ..parts.factor_proof import FactorProof, GivenFactor
from ..parts.tokens import TokenPair
from ..sessions.begin import BeginSession
from .second_factor import SecondFactor


class PasskeySignIn:
    """The use case behind `POST /login/passkey/options` and `POST /login/passkey`."""

    def __init__(
        self,
        *,
        store: Store,
        ceremonies: PasskeyCeremonies,
        devices: Devices,
        notices: Notices,
        begin_session: BeginSession,
        requires_verified: bool,
    ) -> None:
        """Create it. `requires_verified` refuses accounts whose address is not verified."""
        self._store = store
        self._ceremonies = ceremonies
        self._devices = devices
        self._notices = notices
        self._begin_session = begin_session
        self._requires_verified = requires_verified

    @property
    def rp_id(self) -> str:
        """The host to which passkeys belong."""
        return self._ceremonies.rp_id

    async def begin(self, caller: Caller) -> Ceremony:
        """Begin with any passkey that the person chooses. Nothing is stored."""
        return await self._ceremonies.begin(caller)

    async def begin_factor(self, second_factor: SecondFactor, challenge: str, caller: Caller) -> Ceremony:
        """Begin with one of the account whose first factor was proved. Raises `InvalidChallenge` and `Unavailable`."""
        attempt = second_factor.open(challenge, caller)
        return await self._ceremonies.begin(caller, account_id=attempt.subject, within=name_attempt(attempt))

    async def begin_in_session(self, session: Session, caller: Caller) -> Ceremony:
        """Begin with one of the account of a session, to prove again. Raises `Unavailable`."""
        return await self._ceremonies.begin(caller, account_id=session.subject, within=name_session(session))

    async def __call__(
        self,
        answer: str,
        challenge: str,
        *,
        delivery: Delivery,
        caller: Caller,
        presented: Iterable[str] = (),
        earlier: EarlierSignIns = NO_EARLIER,
        request: Repeatable | None = None,
    ) -> TokenPair:
        """Begin a session for a passkey alone. Its authenticator has verified the person, so no other factor is asked for.

        Args:
            answer: What the browser returned, as JSON.
            challenge: The challenge of `begin`.
            delivery: How the tokens of the session travel.
            caller: The time of the request and where it came from, with the secret of the browser.
            presented: Tokens that came with the request. Their sessions end (T15).
            earlier: What shows that the person has signed in on this device before.
            request: What is repeatable, or None.

        Raises:
            InvalidChallenge: If the ceremony has expired, was used or began elsewhere.
            UnknownPasskey: If there is no such passkey.
            InvalidPasskey: If it is not accepted.
            InvalidCredentials: If the account is disabled, or has changed meanwhile.
            EmailNotVerified: If the address must be verified first.
            Unavailable: If the store, the signing key or the claims hook fails.
        """
        account_id, factor = await self._ceremonies.prove(answer, challenge, caller)
        account = await self._store.read(lambda rows: rows.accounts.get(account_id))
        if account is None or account.disabled_at_ms is not None:
            raise InvalidCredentials
        if self._requires_verified and not account.email_verified:
            raise EmailNotVerified(account.id)

        async def on_begin(rows: Transaction) -> None:
            is_known = self._devices.find(account.id, earlier) is not None
            await self._notices.tell_of_sign_in(rows, account, caller, is_known_device=is_known)

        try:
            return await self._begin_session(
                Proof(subject=account.id, account=account, amr=factor.amr, acr=factor.acr, authenticated_at_ms=caller.now_ms),
                delivery=delivery,
                caller=caller,
                confirm=factor.confirm,
                on_begin=on_begin,
                replaced=presented,
                request=request,
            )
        except InvalidChallenge as refused:
            pair = await self._begin_session.repeat(account.id, request, caller) if refused.verdict == "used" else None
            if pair is None:
                raise
            return pair


class PasskeyFactor:
    """Judges passkeys as second factors."""

    def __init__(self, ceremonies: PasskeyCeremonies) -> None:
        self._ceremonies = ceremonies

    async def prove_factor(self, account_id: str, answer: GivenFactor, caller: Caller, *, within: str) -> FactorProof:
        """Return the proof of a passkey of an account. Raises as `PasskeyCeremonies.prove`."""
        _, factor = await self._ceremonies.prove(answer.passkey, answer.challenge, caller, account_id=account_id, within=within)
        return factor
