"""Prove again who one is, in the same session (RFC 9470)."""

from __future__ import annotations

import msgspec

from ...domain.account import Account, is_hashable_password, normalise_password
from ...domain.event import Event
from ...domain.factor import Factors
from ...domain.session import FRESH_MS, Session
from ...errors import InsufficientAuthentication, InvalidCredentials, InvalidFields
from ...storage.store import Store, Transaction
from ...text import mark
from ..accounts.factor_changes import name_session
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.factor_proof import FactorProof, GivenFactor
from ..parts.hashing import Hashing
from ..parts.throttling import Throttling
from ..sessions.living import require_account, require_living_session
from .second_factor import FactorProvers


class StepUp:
    """The use case behind `POST /login/step-up`. It changes when and how the person of a session has proved who they are."""

    def __init__(self, *, store: Store, provers: FactorProvers, hashing: Hashing, throttling: Throttling, audit: Audit) -> None:
        self._store = store
        self._provers = provers
        self._hashing = hashing
        self._throttling = throttling
        self._audit = audit

    async def __call__(
        self, session: Session, account: Account | None, caller: Caller, *, password: str = "", answer: GivenFactor | None = None
    ) -> Session:
        """Renew the proof of a session. Nothing else of it changes; the next refresh carries the new proof.

        A factor is enough, since the session began with another proof. A password is enough only for an account without one:
        otherwise who knows the password could remove the factor that is to stop them.

        Args:
            session: The session of the person.
            account: Its account, read together with it, or None if it has none.
            caller: The time of the request and where it came from, with the secret of the browser.
            password: The password as it was typed, "" if an answer is given.
            answer: The second factor, None if a password is given.

        Returns:
            The session with its new proof.

        Raises:
            NotFound: If the session belongs to no account.
            InvalidFields: If not exactly one proof was sent.
            InvalidCredentials: If the password is wrong.
            InvalidCode: If the code is wrong or was used.
            InvalidPasskey: If the passkey is not accepted.
            InsufficientAuthentication: If a password was sent, and the account has a second factor.
            TooManyAttempts: If too many attempts have failed.
            SessionEnded: If the session has ended meanwhile.
            Unavailable: If the store does not answer, or if too many passwords wait to be hashed.
        """
        account = require_account(account)
        if bool(password) == (answer is not None):
            raise InvalidFields([("password", mark("send one of password, code, recoveryCode and passkey"))])
        factor = (
            await self._prove_password(session, account, password, caller)
            if answer is None
            else await self._provers.prove(
                account.id, answer, caller, device=session.id, within=name_session(session), in_session=True
            )
        )

        async def renew(rows: Transaction) -> tuple[Session, Event]:
            before, current = await require_living_session(rows, session.id, caller)
            if answer is None:
                _require_no_factor(await rows.factors.get(current.id))
            await factor.confirm(rows)
            amr = factor.amr if answer is None else tuple(dict.fromkeys((*before.amr, *factor.amr, "mfa")))
            # The class is that of the new proof, also where the one before was stronger: `auth_time` is of the same proof, and a
            # code that was phished makes no passkey fresh.
            after = msgspec.structs.replace(before, authenticated_at_ms=caller.now_ms, acr=factor.acr, amr=amr)
            await rows.sessions.update(after)
            event = caller.event("stepped_up", subject=current.id, sid=session.id, detail={"amr": " ".join(factor.amr)})
            await rows.events.insert(event)
            return after, event

        after, event = await self._store.transact(renew)
        for each in (*factor.events, event):
            self._audit.log(each)
        return after

    async def _prove_password(self, session: Session, account: Account, password: str, caller: Caller) -> FactorProof:
        password = normalise_password(password)
        if not is_hashable_password(password):
            raise InvalidFields([("password", mark("is empty or contains characters that passwords cannot have"))])
        _require_no_factor(await self._store.read(lambda rows: rows.factors.get(account.id)))
        counters = self._throttling.of_device(account.email, caller.ip, session.id, subject=account.id)
        with self._throttling.logging("second_factor", caller):
            await self._store.read(lambda rows: self._throttling.require_no_wait(rows, counters, caller.now_ms))
            if not await self._hashing.matches(account.password_hash, password, ip=caller.ip, device=counters.device):
                await self._throttling.count_guess(self._store, counters, caller, sid=session.id)
                raise InvalidCredentials

        async def confirm(rows: Transaction) -> None:
            await self._throttling.require_no_wait(rows, counters, caller.now_ms)
            await self._throttling.forgive(rows, counters)

        return FactorProof(("pwd",), confirm, [], "pwd")


def _require_no_factor(factors: Factors) -> None:
    if factors.is_any:
        raise InsufficientAuthentication(max_age_s=FRESH_MS // 1000, acr="mfa")
