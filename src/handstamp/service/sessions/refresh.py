"""Refresh a session: a refresh token gets the next pair, or the same pair again, or ends its session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, assert_never

from ...domain.account import Account
from ...domain.claims import RefreshClaims
from ...domain.event import Actor, Event, EventKind
from ...domain.policy import Policy
from ...domain.rotation import CatchUp, Challenge, Ended, Outcome, Recover, Repeat, Reuse, Rotate, decide
from ...domain.session import Session, end_reason
from ...errors import HandstampError, InvalidToken, SessionEnded
from ...storage.store import Store, Update
from ..mailing.notices import Notices
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.granting import Granting
from ..parts.tokens import PairOutcome, TokenIssuer, TokenPair

Way = Literal["body", "cookie"]
"""How a refresh token was sent."""
FindFault = Callable[[Session], str | None]
"""Returns what is wrong with a request's proof of the key of a bound session, for the generation in its row. It is "" if the
request has no proof, and None if its proof is right. Called while the row is locked."""

FindEnd = Callable[[Session], int | None]
"""Returns when the credential that an earlier proof has made expires, in seconds since 1970, or None if the request has none."""


class Refresh:
    """The use case behind `POST /refresh`."""

    def __init__(
        self, *, store: Store, tokens: TokenIssuer, granting: Granting, policy: Policy, notices: Notices, audit: Audit
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._granting = granting
        self._policy = policy
        self._notices = notices
        self._audit = audit

    async def __call__(
        self, token: str, *, way: Way, caller: Caller, find_fault: FindFault | None = None, find_end: FindEnd | None = None
    ) -> TokenPair:
        """Return the pair that follows a refresh token.

        The decision is made while the session's row is locked. The pair is minted before the commit, so that the old token stays
        valid if signing fails. An error is raised only after the commit, so that a revocation is durable.

        Args:
            token: The refresh token.
            way: How it was sent. It must match the delivery of the session.
            caller: The time of the request and where it came from.
            find_fault: Checks the proof in the request. It is called only if the session is bound to a device.
            find_end: Finds the credential in the request that an earlier proof has made. It is called only if the session is
                bound to a device and there is no right proof. The access token expires with that credential.

        Raises:
            InvalidToken: If the token is invalid or was sent in the wrong way.
            ProofRequired: If the session is bound to a device and its key was not proved. Nothing has changed.
            SessionEnded: If the session has ended, or if this refresh has ended it as reuse.
            Unavailable: If the store, the signing key or the claims hook fails.
        """
        claims = self._tokens.read_refresh(token)
        if caller.now_ms >= claims.exp * 1000:
            # An expired token revokes nothing: one from an old backup is no sign of theft.
            raise await self._refuse_expired(claims, caller)

        from_hook = await self._granting.ask(claims.sub)

        fault: str | None = ""

        def judge(session: Session | None, account: Account | None) -> Update[tuple[Outcome, TokenPair | None, Event | None]]:
            nonlocal fault
            require_way(session, claims, way)
            until_s = None
            if session is not None and session.bound_key is not None:
                fault = "" if find_fault is None else find_fault(session)
                until_s = None if fault is None or find_end is None else find_end(session)
            outcome = decide(
                session, account, claims, caller.now_ms, self._policy, is_proved=fault is None, was_proved=until_s is not None
            )
            pair: TokenPair | None = None
            if not isinstance(outcome, _WITHOUT_PAIR):
                grant = self._granting.combine(outcome.session, account, from_hook)
                pair = self._tokens.mint(
                    outcome.session,
                    grant,
                    caller.now_ms,
                    outcome=_PAIR_OUTCOMES[type(outcome)],
                    until_s=until_s,
                    gives_pass=until_s is None,
                )
            event = _make_event(outcome, claims, caller) if isinstance(outcome, _RECORDED) else None
            is_of_person = isinstance(outcome, Reuse) and outcome.session.impersonator is None
            mails = self._notices.tell_of_reuse(account, caller) if is_of_person else ()
            return Update((outcome, pair, event), _find_row_to_write(outcome), () if event is None else (event,), mails)

        outcome, pair, event = await self._store.update_session(claims.sid, judge)
        if isinstance(outcome, _ROUTINE):
            self._audit.log_routine(_find_kind(outcome), partial(_make_event, outcome, claims, caller))
        if event is not None:
            self._audit.log(event)
        if pair is None:
            raise self._refuse(outcome, fault, caller)
        return pair

    def _refuse(self, outcome: Outcome, fault: str | None, caller: Caller) -> HandstampError:
        if isinstance(outcome, Challenge):
            return self._ask_for_proof(outcome.session, fault, caller)
        if isinstance(outcome, Ended):
            self._audit.meter.count_refused_refresh(outcome.reason)
            return SessionEnded(outcome.reason)
        return SessionEnded("reuse")

    def _ask_for_proof(self, session: Session, fault: str | None, caller: Caller) -> HandstampError:
        """Return the error for a bound session whose key was not proved, and log a wrong proof."""
        if fault:
            self._audit.log(
                caller.event("proof_failed", subject=session.subject, sid=session.id, actor="visitor", detail={"why": fault})
            )
        self._audit.meter.count_refused_refresh("challenge")
        return self._tokens.require_proof(session)

    async def _refuse_expired(self, claims: RefreshClaims, caller: Caller) -> SessionEnded:
        session, account = await self._store.session(claims.sid) or (None, None)
        if session is None:
            return SessionEnded("expired")
        reason = end_reason(session, account, caller.now_ms)
        return SessionEnded(reason or "idle", session_lives=reason is None)


def require_way(session: Session | None, claims: RefreshClaims, way: Way) -> None:
    """Raise `InvalidToken` if a refresh token came in another way than the delivery of its session, or for another subject."""
    if session is not None and (session.subject != claims.sub or (session.delivery == "json") != (way == "body")):
        raise InvalidToken("presented in another way than the session's delivery, or for another subject")


_PAIR_OUTCOMES: dict[type, PairOutcome] = {Rotate: "rotated", Repeat: "repeated", Recover: "recovered", CatchUp: "caught_up"}
_EVENT_KINDS: dict[type, EventKind] = {
    Rotate: "refreshed",
    Repeat: "repeated",
    Recover: "recovered",
    Reuse: "reuse_detected",
    CatchUp: "caught_up",
}


_WITHOUT_PAIR = (Reuse, Challenge, Ended)
_RECORDED = (Recover, Reuse, CatchUp)
"""Outcomes whose events are kept in the audit trail."""
_ROUTINE = (Rotate, Repeat)
"""Outcomes whose events are only logged. Of the others, an end has been recorded, and a browser's first request has no proof."""


def _find_row_to_write(outcome: Outcome) -> Session | None:
    match outcome:
        case Rotate(session) | Recover(session) | Reuse(session) | CatchUp(session):
            return session
        case Repeat() | Challenge() | Ended():
            return None
        case _:
            assert_never(outcome)


def _find_kind(outcome: Rotate | Repeat | Recover | Reuse | CatchUp) -> EventKind:
    is_renewal = isinstance(outcome, Rotate) and outcome.session.bound_key is not None
    return "device_renewed" if is_renewal else _EVENT_KINDS[type(outcome)]


def _make_event(outcome: Rotate | Repeat | Recover | Reuse | CatchUp, claims: RefreshClaims, caller: Caller) -> Event:
    caller = caller.acting_in(outcome.session)
    detail = {"presented": claims.gen, "generation": outcome.session.generation}
    kind = _find_kind(outcome)
    actor: Actor = "visitor" if kind == "reuse_detected" else caller.actor  # it may be the thief
    return caller.event(kind, subject=claims.sub, sid=claims.sid, actor=actor, detail=detail)
